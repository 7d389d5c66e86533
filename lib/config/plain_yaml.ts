/**
 * Reads profiles in the form that `openme add` writes, without the YAML library: loading that takes longer than the rest
 * of a knock. Of any other form it returns `undefined`, and the library reads the file. The values are the same as the
 * library's (tests/config/plain_yaml.test.ts compares them).
 */

/** Text in double quotes with nothing escaped in it, a whole number, or a plain word that is text to YAML. */
const VALUE =
  /^(?:"([\x20-\x21\x23-\x5b\x5d-\x7e]*)"|([1-9]\d{0,4})|([A-Za-z][A-Za-z0-9+/=._-]*))$/;

/** Words that are not text to YAML's core schema. */
const NOT_TEXT = /^(?:null|true|false)$/i;

/** The file as the values that `parseYaml` returns, or `undefined` where it takes the library. */
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
