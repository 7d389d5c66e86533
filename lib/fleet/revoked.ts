/**
 * Keys that were revoked for the whole fleet, and that this host's files still have. A key stays revoked here until it is
 * gone from the files, which whatever manages them takes care of.
 */

import { join } from "node:path";
import { REVOKED_KEYS_NAME } from "../state/names.ts";
import type { ServerConfig } from "../config/server.ts";
import { replaceFile } from "../system/write_file.ts";
import { OpenmeError } from "../values/errors.ts";
import { quote } from "../values/text.ts";

const KEY = /^[0-9a-f]{64}$/;

/** The keys in a state directory, in hex. */
export class RevokedKeys {
  readonly #path: string;
  #keys: ReadonlySet<string>;
  #written = Promise.resolve();

  private constructor(path: string, keys: ReadonlySet<string>) {
    this.#path = path;
    this.#keys = keys;
  }

  /** Throws `OpenmeError`, `STATE`, where the file is not as openme writes it: a revoked key must not come back. */
  static open(stateDir: string): RevokedKeys {
    const path = join(stateDir, REVOKED_KEYS_NAME);
    const keys = parseRevokedKeys(readText(path));
    if (keys) return new RevokedKeys(path, new Set(keys));
    throw new OpenmeError("STATE", `${quote(path, 1000)} expected a key in hex on each line`, {
      hint: "take these clients out of the configuration, then delete the file",
    });
  }

  /** What the file says. */
  get text(): string {
    return [...this.#keys].map((key) => `${key}\n`).join("");
  }

  has(key: string): boolean {
    return this.#keys.has(key);
  }

  /** From now on, and on disk before it returns. */
  async add(keys: readonly string[]): Promise<void> {
    await this.#write(new Set([...this.#keys, ...keys]));
  }

  /** The configuration without them. */
  without(config: ServerConfig): ServerConfig {
    const { keys: { byKey, byHint } } = config;
    const isGood = ({ key }: { key: string }) => !this.#keys.has(key);
    if ([...this.#keys].every((key) => !byKey.has(key))) return config;
    return {
      ...config,
      clients: config.clients.filter(isGood),
      keys: {
        byKey: new Map([...byKey].filter(([key]) => !this.#keys.has(key))),
        byHint: new Map([...byHint].map(([hint, keys]) => [hint, keys.filter(isGood)])),
      },
    };
  }

  /** Forgets keys that the configuration, as its files have it, no longer has. */
  async forgetGone({ keys: { byKey } }: ServerConfig): Promise<void> {
    const left = new Set([...this.#keys].filter((key) => byKey.has(key)));
    if (left.size < this.#keys.size) await this.#write(left).catch(() => {}); // later, then
  }

  /** One after the other, so that the last one stays. */
  async #write(keys: ReadonlySet<string>): Promise<void> {
    this.#keys = keys; // also where the disk is full
    const written = this.#written.then(() => replaceFile(this.#path, this.text, { mode: 0o600 }));
    this.#written = written.catch(() => {});
    await written;
  }
}

/** The keys in the text of such a file; `undefined` where openme has not written it. */
export function parseRevokedKeys(text: string): string[] | undefined {
  const lines = text.split("\n").filter(Boolean);
  return lines.every((line) => KEY.test(line)) ? lines : undefined;
}

function readText(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return "";
    throw cause;
  }
}
