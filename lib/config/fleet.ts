/** The part of the server's configuration that makes it one host of a fleet. docs/fleet.md. */

import { ConfigError, type Field } from "./fields.ts";

/** What a host does while the engine cannot say whether a knock was used elsewhere: goes on by itself, or opens nothing. */
export const WHEN_DOWN = ["alone", "refuse"] as const;

/** The hosts that share this server's key, and what they share it through. */
export interface FleetConfig {
  readonly name: string;
  /** What the others call this host; `undefined` for the machine's own name. */
  readonly host: string | undefined;
  /** Of a server of Redis' protocol; may hold a password. */
  readonly url: string;
  /** The file with the certificates that the engine's is to be signed by; `undefined` for those that the system trusts. */
  readonly trust: string | undefined;
  readonly whenDown: typeof WHEN_DOWN[number];
}

/** Reads `server.fleet`. */
export function readFleet(field: Field | undefined): FleetConfig | undefined {
  if (!field) return undefined;
  const fleet = field.section(["name", "host", "url", "trust", "when_down"]);
  const url = fleet.field("url");
  const trust = fleet.optional("trust");
  const config = {
    name: fleet.field("name").name(),
    host: fleet.optional("host")?.name(),
    url: readUrl(url),
    trust: trust?.string("the absolute path of a file with certificates (PEM)", /^\/[^\0]*$/),
    whenDown: fleet.optional("when_down")?.choice(WHEN_DOWN) ?? "alone",
  };
  if (trust && !config.url.startsWith("rediss:")) {
    throw new ConfigError(
      trust.path,
      "expected a url with TLS beside it, got one without",
      "write rediss:// for TLS, or leave trust out",
    );
  }
  return config;
}

/** The value may hold a password, so no error shows it. */
function readUrl(field: Field): string {
  const wrong = (why: string) =>
    new ConfigError(
      field.path,
      `expected a URL such as "rediss://:PASSWORD@valkey.example.org:6379", got ${why}`,
    );
  const { value } = field;
  if (typeof value !== "string") throw wrong("something else than text");
  let url: URL;
  try {
    url = new URL(value);
  } catch {
    throw wrong("text that is no URL");
  }
  if (url.protocol !== "redis:" && url.protocol !== "rediss:") throw wrong("another protocol");
  if (url.hostname === "") throw wrong("one without a host");
  if (url.search || url.hash) throw wrong("one with a query or a fragment");
  try {
    decodeURIComponent(`${url.username}${url.password}`);
  } catch {
    throw wrong("a % that stands for no character: write %25 for it");
  }
  if (!/^(\/\d{0,4})?$/.test(url.pathname)) throw wrong("a path that is no database's number");
  return value;
}
