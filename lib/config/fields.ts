/**
 * Reads unknown values strictly: every method returns what was expected, or throws an error that names the key's path,
 * what was expected there and what was found. Errors never repeat key material.
 */

import { NAME_PATTERN } from "../values/name.ts";
import { readHost } from "./host.ts";
import { type Bytes, decodeBase64 } from "../crypto/keys.ts";
import { formatDuration, parseDuration } from "../values/duration.ts";
import { OpenmeError } from "../values/errors.ts";
import { quote } from "../values/text.ts";

/** What is wrong, and where in the file. {@linkcode loadingFrom} adds which file. */
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

/** Takes out what may hold a key or a password, at any place of an error: errors are logged and pasted. */
function hideKeys(text: string): string {
  return text.replaceAll(/[A-Za-z0-9+/]{28,}={0,2}/g, "(hidden: it looks like a key)")
    .replaceAll(/(rediss?:\/\/)(?!:PASSWORD@)(?:\\.|[^"\\])+/gi, "$1(hidden)");
}

const NAME_EXPECTED =
  "a name of letters, digits, dots, hyphens and underscores that starts with a letter";

/** The knock port, unless a file says otherwise. */
export const DEFAULT_UDP_PORT = 54154;

/** Runs a parser; its `ConfigError` becomes an {@linkcode OpenmeError} that names the file. */
export function loadingFrom<T>(file: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw loadErrorOf(file, cause);
  }
}

/** {@linkcode loadingFrom} for a parser that works in steps. */
export function* stepsOfLoading<T>(
  file: string,
  steps: Generator<void, T>,
): Generator<void, T> {
  try {
    return yield* steps;
  } catch (cause) {
    throw loadErrorOf(file, cause);
  }
}

function loadErrorOf(file: string, cause: unknown): unknown {
  if (!(cause instanceof ConfigError)) return cause;
  return new OpenmeError("CONFIG", `cannot load ${quote(file, 1000)}: ${cause.message}`, {
    cause,
    hint: cause.hint,
  });
}

/** A value of the file, and where it stands. */
export class Field {
  readonly value: unknown;
  /** For errors; empty for the file itself. */
  readonly path: string;

  constructor(value: unknown, path = "") {
    this.value = value;
    this.path = path;
  }

  /** Whether there is a value; `null` and an empty text are as good as absent, as in deployed files. */
  get isThere(): boolean {
    return isThere(this.value);
  }

  /** The error for a value that is not what was expected. Never for key material. */
  mismatch(expected: string, hint?: string): ConfigError {
    const path = this.path || "the file";
    return new ConfigError(path, `expected ${expected}, got ${describe(this.value)}`, hint);
  }

  /** The value as `read` returns it; `undefined` is a mismatch. */
  as<T>(expected: string, read: (value: unknown) => T | undefined): T {
    const value = this.isThere ? read(this.value) : undefined;
    if (value === undefined) throw this.mismatch(expected);
    return value;
  }

  string(expected: string, pattern: RegExp): string {
    return this.as(
      expected,
      (value) => typeof value === "string" && pattern.test(value) ? value : undefined,
    );
  }

  /** As it is dialled: an internationalised name in ASCII, an address without brackets. */
  host(options: { zone?: boolean } = {}): string {
    return this.as(
      "a host name or an address",
      (value) => typeof value === "string" ? readHost(value, options) : undefined,
    );
  }

  name(): string {
    return this.string(NAME_EXPECTED, NAME_PATTERN);
  }

  port(): number {
    return this.integer("a port", 1, 65535);
  }

  /** A whole number between the two bounds (both included). */
  integer(what: string, least: number, most: number): number {
    return this.as(`${what} from ${least} to ${most}`, (value) => {
      const number = Number.isInteger(value) ? value as number : NaN;
      return least <= number && number <= most ? number : undefined;
    });
  }

  /** One of a few words. */
  choice<T extends string>(words: readonly T[]): T {
    const expected = words.map((word) => `"${word}"`).join(" or ");
    return this.as(expected, (value) => words.find((word) => word === value));
  }

  flag(): boolean {
    return this.as("true or false", (value) => typeof value === "boolean" ? value : undefined);
  }

  /** Milliseconds, between the two bounds (both included). */
  durationMs(minMs: number, maxMs: number): number {
    const bounds = `from ${formatDuration(minMs)} to ${formatDuration(maxMs)}`;
    return this.as(`a duration ${bounds}, such as "30s"`, (value) => {
      const ms = typeof value === "string" ? parseDuration(value) : undefined;
      return ms !== undefined && minMs <= ms && ms <= maxMs ? ms : undefined;
    });
  }

  /** Key bytes of one of the given sizes. The error says how the value differs, and never shows it. */
  key(what: string, sizes: readonly number[]): Bytes {
    const expected = `${what} (${sizes.join(" or ")} bytes in base64)`;
    if (!this.isThere) throw this.mismatch(expected);
    // A mail program or a terminal may have broken the line.
    const text = typeof this.value === "string" ? this.value.replaceAll(/\s/g, "") : undefined;
    const bytes = text === undefined ? undefined : decodeBase64(text);
    if (!bytes) {
      throw new ConfigError(this.path, `expected ${expected}, got text that is not base64`);
    }
    if (!sizes.includes(bytes.length)) {
      throw new ConfigError(this.path, `expected ${expected}, got ${bytes.length} bytes`);
    }
    return bytes;
  }

  /** The items of a list. An absent list has none. */
  items(): Field[] {
    if (this.value === undefined || this.value === null) return [];
    if (!Array.isArray(this.value)) throw this.mismatch("a list");
    return this.value.map((item, i) => new Field(item, `${this.path}[${i}]`));
  }

  /** The entries of a map from names to anything, or those that are given for it. An absent map has none. */
  *entries(
    given?: Iterable<readonly [name: string, value: unknown]>,
  ): Generator<[name: string, Field], undefined> {
    if (this.value === undefined || this.value === null) return;
    for (const [name, each] of given ?? this.#map()) {
      if (!NAME_PATTERN.test(name)) {
        throw new ConfigError(this.path, `expected ${NAME_EXPECTED}, got ${quote(name)}`);
      }
      yield [name, new Field(each, joinPath(this.path, name))];
    }
  }

  /** A map with these keys and no others. */
  section(keys: readonly string[]): Section {
    const values = this.#map();
    for (const key of values.keys()) {
      if (keys.includes(key)) continue;
      const similar = nearest(key, keys);
      const hint = similar ? `did you mean "${similar}"?` : `the keys here are ${keys.join(", ")}`;
      throw new ConfigError(joinPath(this.path, key), "unknown key", hint);
    }
    return new Section(values, this.path);
  }

  #map(): ReadonlyMap<string, unknown> {
    if (!(this.value instanceof Map)) throw this.mismatch("a map");
    for (const key of this.value.keys()) {
      if (typeof key !== "string") throw new Field(key, this.path).mismatch("keys that are text");
    }
    return this.value;
  }
}

/** A map whose keys are known beforehand. */
export class Section {
  readonly #values: ReadonlyMap<string, unknown>;
  readonly #path: string;

  constructor(values: ReadonlyMap<string, unknown>, path: string) {
    this.#values = values;
    this.#path = path;
  }

  /** The field of a key, also of one that is absent. */
  field(key: string): Field {
    return new Field(this.#values.get(key), joinPath(this.#path, key));
  }

  /** The field of a key that has a value. */
  optional(key: string): Field | undefined {
    return isThere(this.#values.get(key)) ? this.field(key) : undefined;
  }
}

/** The error for a value that has to be there. */
export function missing(path: string, expected: string): ConfigError {
  return new Field(undefined, path).mismatch(expected);
}

function isThere(value: unknown): boolean {
  return value !== undefined && value !== null && value !== "";
}

function describe(value: unknown): string {
  if (!isThere(value)) return "nothing";
  if (typeof value === "string") return quote(value);
  if (Array.isArray(value)) return "a list";
  return value instanceof Map ? "a map" : String(value);
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
