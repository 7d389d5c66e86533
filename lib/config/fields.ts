/**
 * Reading unknown values strictly: every getter either returns what was expected or throws an error that names the
 * key's path, what was expected there and what was found. Key material is never repeated in an error.
 */

import { NAME_PATTERN } from "../values/name.ts";
import { readHost } from "./host.ts";
import { type Bytes, decodeBase64 } from "../crypto/keys.ts";
import { formatDuration, parseDuration } from "../values/duration.ts";
import { OpenmeError } from "../values/errors.ts";
import { quote } from "../values/text.ts";

/** What is wrong, and where in the file. The caller adds which file. */
export class ConfigError extends Error {
  override name = "ConfigError";
  readonly path: string;
  readonly hint: string | undefined;

  constructor(path: string, problem: string, hint?: string) {
    super(hideKeys(`${path}: ${problem}`));
    this.path = path;
    this.hint = hint;
  }
}

/** Whatever looks like a key, wherever it has slipped to, is left out of an error: errors are logged and pasted. */
function hideKeys(text: string): string {
  return text.replaceAll(/[A-Za-z0-9+/]{28,}={0,2}/g, "(hidden: it looks like a key)");
}

const NAME_EXPECTED =
  "a name of letters, digits, dots, hyphens and underscores that starts with a letter";

/** The knock port, unless a file says otherwise. */
export const DEFAULT_UDP_PORT = 54154;

/** Runs a parser; what it finds wrong becomes an {@linkcode OpenmeError} that names the file. */
export function loadingFrom<T>(file: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    if (!(cause instanceof ConfigError)) throw cause;
    throw new OpenmeError("CONFIG", `cannot load ${quote(file, 1000)}: ${cause.message}`, {
      cause,
      ...(cause.hint === undefined ? {} : { hint: cause.hint }),
    });
  }
}

/** A map whose keys are known beforehand. */
export class Section {
  readonly #path: string;
  readonly #values: ReadonlyMap<string, unknown>;

  /** `value` must be a map with no key that is not in `keys`. `path` is empty for the file itself. */
  constructor(value: unknown, path: string, keys: readonly string[]) {
    this.#path = path;
    this.#values = mapOf(value, path);
    for (const key of this.#values.keys()) {
      if (!keys.includes(key)) throw unknownKey(joinPath(path, key), key, keys);
    }
  }

  /** Whether the key is there with a value; `null` and an empty text are as good as absent, as in deployed files. */
  has(key: string): boolean {
    const value = this.#values.get(key);
    return value !== undefined && value !== null && value !== "";
  }

  /** Where the key is, for errors. */
  path(key: string): string {
    return joinPath(this.#path, key);
  }

  raw(key: string): unknown {
    return this.#values.get(key);
  }

  required(key: string, expected: string): unknown {
    if (!this.has(key)) throw mismatch(this.path(key), expected, this.raw(key));
    return this.raw(key);
  }

  optional<T>(key: string, read: (key: string) => T): T | undefined {
    return this.has(key) ? read(key) : undefined;
  }

  string(key: string, expected: string, pattern: RegExp): string {
    const value = this.required(key, expected);
    if (typeof value !== "string" || !pattern.test(value)) {
      throw mismatch(this.path(key), expected, value);
    }
    return value;
  }

  /** As it is dialled: an internationalised name in ASCII, an address without brackets. */
  host(key: string, { zone = false }: { zone?: boolean } = {}): string {
    const expected = "a host name or an address";
    const text = this.string(key, expected, /./);
    const host = readHost(text, { zone });
    if (host === undefined) throw mismatch(this.path(key), expected, text);
    return host;
  }

  name(key: string): string {
    return this.string(key, NAME_EXPECTED, NAME_PATTERN);
  }

  port(key: string): number {
    return this.integer(key, "a port", 1, 65535);
  }

  /** A whole number between the two bounds (both included). */
  integer(key: string, what: string, least: number, most: number): number {
    const expected = `${what} from ${least} to ${most}`;
    const value = this.required(key, expected);
    if (!Number.isInteger(value) || (value as number) < least || (value as number) > most) {
      throw mismatch(this.path(key), expected, value);
    }
    return value as number;
  }

  /** One of a few words. */
  choice<T extends string>(key: string, words: readonly T[]): T {
    const expected = words.map((word) => `"${word}"`).join(" or ");
    const value = this.required(key, expected);
    const found = words.find((word) => word === value);
    if (found === undefined) throw mismatch(this.path(key), expected, value);
    return found;
  }

  flag(key: string): boolean {
    const value = this.required(key, "true or false");
    if (typeof value !== "boolean") throw mismatch(this.path(key), "true or false", value);
    return value;
  }

  /** Milliseconds, between the two bounds (both included). */
  durationMs(key: string, minMs: number, maxMs: number): number {
    const expected = `a duration from ${formatDuration(minMs)} to ${
      formatDuration(maxMs)
    }, such as "30s"`;
    const value = this.required(key, expected);
    const durationMs = typeof value === "string" ? parseDuration(value) : undefined;
    if (durationMs === undefined || durationMs < minMs || durationMs > maxMs) {
      throw mismatch(this.path(key), expected, value);
    }
    return durationMs;
  }

  /** Key bytes of one of the given sizes. What was found is never shown, only how it differs. */
  key(key: string, what: string, sizes: readonly number[]): Bytes {
    const expected = `${what} (${sizes.join(" or ")} bytes in base64)`;
    const value = this.required(key, expected);
    // A mail program or a terminal may have broken the line.
    const text = typeof value === "string" ? value.replaceAll(/\s/g, "") : undefined;
    const bytes = text === undefined ? undefined : decodeBase64(text);
    if (!bytes) {
      throw new ConfigError(this.path(key), `expected ${expected}, got text that is not base64`);
    }
    if (!sizes.includes(bytes.length)) {
      throw new ConfigError(this.path(key), `expected ${expected}, got ${bytes.length} bytes`);
    }
    return bytes;
  }
}

/** The entries of a map from names to anything. An absent map has none. */
export function namedEntries(
  value: unknown,
  path: string,
): [name: string, value: unknown, path: string][] {
  if (value === undefined || value === null) return [];
  return [...mapOf(value, path)].map(([name, each]) => {
    if (!NAME_PATTERN.test(name)) {
      throw new ConfigError(path, `expected ${NAME_EXPECTED}, got ${quote(name)}`);
    }
    return [name, each, joinPath(path, name)];
  });
}

/** The items of a list. An absent list has none. */
export function listOf(value: unknown, path: string): [item: unknown, path: string][] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw mismatch(path, "a list", value);
  return value.map((item, i) => [item, `${path}[${i}]`]);
}

/** The error for a value that is not what was expected. Never for key material. */
export function mismatch(
  path: string,
  expected: string,
  got: unknown,
  hint?: string,
): ConfigError {
  return new ConfigError(path, `expected ${expected}, got ${describe(got)}`, hint);
}

function mapOf(value: unknown, path: string): Map<string, unknown> {
  if (!(value instanceof Map)) throw mismatch(path || "the file", "a map", value);
  for (const key of value.keys()) {
    if (typeof key !== "string") throw mismatch(path || "the file", "keys that are text", key);
  }
  return value;
}

function describe(value: unknown): string {
  if (value === undefined || value === null || value === "") return "nothing";
  if (typeof value === "string") return quote(value);
  if (Array.isArray(value)) return "a list";
  return value instanceof Map ? "a map" : String(value);
}

function unknownKey(path: string, key: string, keys: readonly string[]): ConfigError {
  const similar = nearest(key, keys);
  const hint = similar ? `did you mean "${similar}"?` : `the keys here are ${keys.join(", ")}`;
  return new ConfigError(path, "unknown key", hint);
}

/** The path of a key below another; odd keys are quoted. */
export function joinPath(path: string, key: string): string {
  const shown = /^[\w.-]{1,80}$/.test(key) ? key : quote(key);
  return path ? `${path}.${shown}` : shown;
}

/** The word of the list that `word` is a slip of, if any: at most two letters changed, added or left out. */
export function nearest(word: string, words: readonly string[]): string | undefined {
  let best: { word: string; distance: number } | undefined;
  for (const each of words) {
    const distance = editDistance(word.slice(0, 40), each);
    if (distance <= Math.min(2, each.length - 1) && (!best || distance < best.distance)) {
      best = { word: each, distance };
    }
  }
  return best?.word;
}

/** Levenshtein's distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (const [i, x] of [...a].entries()) {
    const next = [i + 1];
    for (const [j, y] of [...b].entries()) {
      next.push(Math.min(row[j]! + (x === y ? 0 : 1), row[j + 1]! + 1, next[j]! + 1));
    }
    row = next;
  }
  return row.at(-1)!;
}
