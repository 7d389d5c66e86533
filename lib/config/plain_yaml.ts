/**
 * Reads profiles as `openme add` writes them, and nothing else: loading the YAML library costs a knock more than all
 * the rest of it together. What is not exactly of that shape gives `undefined`, and the library reads it; what is
 * gives the same values as the library (tests/plain_yaml.test.ts holds the two against each other).
 */

/** Text in double quotes with nothing escaped in it, a whole number, or a plain word that is text to YAML. */
const VALUE =
  /^(?:"([\x20-\x21\x23-\x5b\x5d-\x7e]*)"|([1-9]\d{0,4})|([A-Za-z][A-Za-z0-9+/=._-]*))$/;

/** Words that are not text to YAML's core schema. */
const NOT_TEXT = /^(?:null|true|false)$/i;

/** The whole file as values, as `parseYaml` gives them, or `undefined` where only the library can tell. */
export function readPlainProfiles(text: string): Map<string, unknown> | undefined {
  const lines = text.split("\n").filter((line) => !/^(?: *#[\x20-\x7e]*)?$/.test(line));
  if (lines.shift() !== "profiles:") return undefined;
  const profiles = new Map<string, Map<string, unknown>>();
  let current: Map<string, unknown> | undefined;
  for (const line of lines) {
    const [, quote, head] = /^ {2}("?)([A-Za-z][A-Za-z0-9._-]{0,63})\1:$/.exec(line) ?? [];
    if (head !== undefined) {
      if (quote === "" && NOT_TEXT.test(head)) return undefined;
      // A profile with no keys is null to YAML, and a second one of the same name is an error.
      if (profiles.has(head) || current?.size === 0) return undefined;
      profiles.set(head, current = new Map());
      continue;
    }
    const [, key, rest] = /^ {4}([a-z][a-z_]{0,31}): (.*)$/.exec(line) ?? [];
    const value = rest === undefined ? undefined : readValue(rest);
    if (!current || key === undefined || value === undefined) return undefined;
    if (NOT_TEXT.test(key) || current.has(key)) return undefined;
    current.set(key, value);
  }
  return current && current.size > 0 ? new Map([["profiles", profiles]]) : undefined;
}

function readValue(text: string): string | number | undefined {
  const [, quoted, digits, word] = VALUE.exec(text) ?? [];
  if (quoted !== undefined) return quoted;
  if (digits !== undefined) return Number(digits);
  return word === undefined || NOT_TEXT.test(word) ? undefined : word;
}
