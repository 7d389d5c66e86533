/**
 * The clients of the server's configuration: their keys, when those end, and what their knocks open. One to one with
 * `clients` in docs/configuration.md.
 */

import {
  type Bytes,
  bytesToHex,
  hexToBytes,
  KEY_SIZE,
  signingKeyFlaw,
  type VerifySignature,
} from "../crypto/keys.ts";
import { fingerprint, signatureVerifier } from "../crypto/sync.ts";
import { type PrefixLengths, SINGLE } from "../values/network.ts";
import {
  formatPortRange,
  mergePortRanges,
  type PortRange,
  subtractPortRanges,
} from "../values/ports.ts";
import { readPorts } from "./port_groups.ts";
import { ConfigError, type Field, type Section } from "./fields.ts";

/** One registered client. */
export interface ClientEntry {
  readonly name: string;
  /** Ed25519, 32 bytes. */
  readonly publicKey: Bytes;
  /** The public key in hex, which names the client also where it is renamed. */
  readonly key: string;
  readonly verify: VerifySignature;
  /** The key before this one, good until its end. */
  readonly previous: PreviousKey | undefined;
  /** The ports that a knock opens; the health port is one unless disabled. Disjoint. */
  readonly ports: readonly PortRange[];
  /** When the key ends: wall clock, ms since 1970. */
  readonly expiresAtMs: number | undefined;
  /** How wide its grants are; by default a single address. */
  readonly prefix: PrefixLengths;
}

/** A client's key that was replaced, and when it ends. */
export interface PreviousKey {
  readonly key: string;
  readonly verify: VerifySignature;
  /** ms since 1970. */
  readonly untilMs: number;
}

const CLIENT_KEYS = [
  "ed25519_pubkey",
  "allowed_ports",
  "expires",
  "disable_health_port",
  "previous_pubkey",
  "previous_until",
  "prefix",
];

/** Prefix lengths that a client may have: enough for the pool of addresses of one carrier. */
export const PREFIX_BOUNDS = {
  v4: { least: 16, most: SINGLE.v4 },
  v6: { least: 48, most: SINGLE.v6 },
} as const;

/** What is shared by the entries of all files. */
export interface ClientContext {
  /** The port groups by name. */
  readonly groups: ReadonlyMap<string, readonly PortRange[]>;
  readonly healthRange: PortRange;
  /** The clients read so far: each name and each key may be there once. Names by key in hex. */
  readonly nameByKey: Map<string, string>;
  readonly names: Set<string>;
}

/** Reads the section `clients` of the server's file. */
export function readClients(section: Field, context: ClientContext): ClientEntry[] {
  return section.entries().map(([name, entry]) => readUnique(name, entry, context));
}

/**
 * Reads a file of `clients.d`: a map with the one key `clients`. Its clients may open ports of groups only. A port that
 * only such a file named would leave the guard with the file, and be open to everyone.
 */
export function readPerson(file: Field, context: ClientContext): ClientEntry[] {
  const lasting = [...[...context.groups.values()].flat(), context.healthRange];
  return file.section(["clients"]).field("clients").entries().map(([name, entry]) => {
    const client = readUnique(name, entry, context);
    requireGrouped(client, entry.path, lasting);
    return client;
  });
}

function readUnique(name: string, entry: Field, context: ClientContext): ClientEntry {
  const { nameByKey, names } = context;
  if (names.has(name)) {
    throw new ConfigError(
      entry.path,
      "expected a name of its own, got one that another file has",
      "every client needs its own name: rename one of the two",
    );
  }
  names.add(name);
  const client = readClient(name, entry.section(CLIENT_KEYS), context);
  const keys = { "ed25519_pubkey": client.key, "previous_pubkey": client.previous?.key };
  for (const [at, key] of Object.entries(keys)) {
    if (key === undefined) continue;
    const other = nameByKey.get(key);
    if (other !== undefined) {
      throw new ConfigError(
        `${entry.path}.${at}`,
        `expected a key of its own, got the key of "${other}" (${fingerprint(hexToBytes(key))})`,
        "a knock could not tell the two apart: give each client its own key",
      );
    }
    nameByKey.set(key, name);
  }
  return client;
}

function requireGrouped({ ports }: ClientEntry, path: string, lasting: readonly PortRange[]): void {
  const [outside] = subtractPortRanges(ports, lasting);
  if (!outside) return;
  throw new ConfigError(
    `${path}.allowed_ports`,
    `expected ports of groups, got ${formatPortRange(outside)}, which no group has`,
    "put it into a group under ports in the server's configuration: it stays closed then when this file goes",
  );
}

function readClient(
  name: string,
  client: Section,
  { groups, healthRange }: ClientContext,
): ClientEntry {
  const keyField = client.field("ed25519_pubkey");
  const publicKey = keyField.key("the client's Ed25519 public key", [KEY_SIZE]);
  const ports = client.field("allowed_ports").items().flatMap((item) => readPorts(item, groups));
  const healthDisabled = client.optional("disable_health_port")?.flag() ?? false;
  const previousKey = client.optional("previous_pubkey");
  return {
    name,
    publicKey,
    key: bytesToHex(publicKey),
    verify: readVerifier(publicKey, keyField.path),
    // A previous key without an end would be good for ever.
    previous: previousKey && readPreviousKey(previousKey, client.field("previous_until")),
    ports: mergePortRanges(healthDisabled ? ports : [...ports, healthRange]),
    expiresAtMs: client.optional("expires")?.as(EXPIRY_EXPECTED, parseExpiry),
    prefix: readPrefix(client.optional("prefix")?.section(Object.keys(PREFIX_BOUNDS))),
  };
}

function readPreviousKey(key: Field, until: Field): PreviousKey {
  const publicKey = key.key("the client's Ed25519 public key before this one", [KEY_SIZE]);
  return {
    key: bytesToHex(publicKey),
    verify: readVerifier(publicKey, key.path),
    untilMs: until.as(EXPIRY_EXPECTED, parseExpiry),
  };
}

/** `{v4: 24, v6: 64}`, either of them left out for single addresses. */
function readPrefix(lengths: Section | undefined): PrefixLengths {
  const read = (family: keyof typeof PREFIX_BOUNDS) => {
    const { least, most } = PREFIX_BOUNDS[family];
    return lengths?.optional(family)?.integer("a length in bits", least, most) ?? SINGLE[family];
  };
  return { v4: read("v4"), v6: read("v6") };
}

function readVerifier(publicKey: Bytes, path: string): VerifySignature {
  const flaw = signingKeyFlaw(publicKey);
  const expected = "expected the client's Ed25519 public key";
  if (flaw === "small order") {
    throw new ConfigError(
      path,
      `${expected}, got a point of small order, under which anyone can sign`,
    );
  }
  if (flaw) throw new ConfigError(path, `${expected}, got an encoding that is not canonical`);
  try {
    return signatureVerifier(publicKey);
  } catch {
    throw new ConfigError(path, `${expected}, got bytes that are not a point of the curve`);
  }
}

export const EXPIRY_EXPECTED =
  `a date such as "2027-12-31" or a time such as "2027-12-31T18:00:00Z"`;

/** Reads a date (its first moment, UTC) or an RFC 3339 time: ms since 1970, `undefined` for anything else. */
export function parseExpiry(value: unknown): number | undefined {
  if (typeof value !== "string") return undefined;
  const match =
    /^(\d{4}-\d\d-\d\d)(?:[Tt ](?:[01]\d|2[0-3]):\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d))?$/
      .exec(value);
  if (!match) return undefined;
  // Date.parse rolls "2027-02-30" over into March; that day must exist.
  const dayMs = Date.parse(`${match[1]}T00:00:00Z`);
  if (Number.isNaN(dayMs) || new Date(dayMs).toISOString().slice(0, 10) !== match[1]) {
    return undefined;
  }
  const atMs = match[0] === match[1] ? dayMs : Date.parse(value.toUpperCase().replace(" ", "T"));
  return Number.isNaN(atMs) ? undefined : atMs;
}
