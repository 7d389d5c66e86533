/**
 * The clients of the server's configuration: their keys, when those end, and what their knocks open. One to one with
 * `clients` in docs/configuration.md.
 */

import { type PrefixLengths, SINGLE } from "../values/network.ts";
import {
  formatPortRange,
  mergePortRanges,
  type PortRange,
  subtractPortRanges,
} from "../values/ports.ts";
import { type ClientEntry, type ClientKeys, KeyRegister } from "./client_keys.ts";
import { readRules, RULE_KEYS } from "./client_rules.ts";
import { type Extension, extensionsOf } from "./extend.ts";
import { readPorts } from "./port_groups.ts";
import { ConfigError, Field, type Section } from "./fields.ts";
import { readYaml } from "./yaml.ts";

const CLIENT_KEYS = [
  "ed25519_pubkey",
  "allowed_ports",
  "expires",
  "disable_health_port",
  "previous_pubkey",
  "previous_until",
  "prefix",
  ...RULE_KEYS,
];

/** Prefix lengths that a client may have: enough for the pool of addresses of one carrier. */
export const PREFIX_BOUNDS = {
  v4: { least: 16, most: SINGLE.v4 },
  v6: { least: 48, most: SINGLE.v6 },
} as const;

/** Reads the clients of all files, one after the other. */
export class ClientReader {
  readonly clients: ClientEntry[] = [];
  readonly keys: ClientKeys;
  readonly #keys: KeyRegister;
  readonly #names = new Set<string>();
  readonly #groups: ReadonlyMap<string, readonly PortRange[]>;
  readonly #groupExtensions: ReadonlyMap<string, readonly Extension[]>;
  readonly #healthRange: PortRange;
  /** The ports of each list of `allowed_ports`: most clients have one of a few. */
  readonly #portsOf = new Map<string, readonly PortRange[]>();
  /** What stays open of each of these, where a client's own entry says nothing. */
  readonly #extensionsOf = new Map<readonly PortRange[], readonly Extension[]>();

  constructor(
    { groups, extensions, healthRange, former }: {
      /** The port groups by name. */
      groups: ReadonlyMap<string, readonly PortRange[]>;
      /** What stays open while it is used, by group. */
      extensions: ReadonlyMap<string, readonly Extension[]>;
      healthRange: PortRange;
      /** The keys of the configuration before. */
      former: ClientKeys | undefined;
    },
  ) {
    this.#groups = groups;
    this.#groupExtensions = extensions;
    this.#healthRange = healthRange;
    this.keys = this.#keys = new KeyRegister(former);
  }

  /** All ports that clients may have. */
  get ports(): PortRange[] {
    return [...this.#portsOf.values()].flat();
  }

  /** Reads the section `clients` of the server's file. */
  *readClients(entries: Iterable<[name: string, Field]>): Generator<void, void> {
    for (const [name, entry] of entries) {
      this.#readClient(name, entry);
      yield;
    }
  }

  /**
   * Reads a file of `clients.d`: a map with the one key `clients`. Its clients may open ports of groups only. A port that
   * only such a file named would leave the guard with the file, and be open to everyone.
   */
  *readPerson(text: string): Generator<void, void> {
    const file = new Field(readYaml(text));
    const lasting = [...[...this.#groups.values()].flat(), this.#healthRange];
    for (const [name, entry] of file.section(["clients"]).field("clients").entries()) {
      requireGrouped(this.#readClient(name, entry), entry.path, lasting);
      yield;
    }
  }

  #readClient(name: string, entry: Field): ClientEntry {
    if (this.#names.has(name)) {
      throw new ConfigError(
        entry.path,
        "expected a name of its own, got one that another file has",
        "every client needs its own name: rename one of the two",
      );
    }
    this.#names.add(name);
    const client = entry.section(CLIENT_KEYS);
    const keyField = client.field("ed25519_pubkey");
    const { publicKey, ...key } = this.#keys.check(keyField, "the client's Ed25519 public key");
    const ports = this.#readPorts(client);
    const previousField = client.optional("previous_pubkey");
    const previous = previousField &&
      this.#keys.check(previousField, "the client's Ed25519 public key before this one");
    // A previous key without an end would be good for ever.
    const untilMs = previous && client.field("previous_until").as(EXPIRY_EXPECTED, parseExpiry);
    const expiresAtMs = client.optional("expires")?.as(EXPIRY_EXPECTED, parseExpiry);
    const prefix = readPrefix(client.optional("prefix")?.section(Object.keys(PREFIX_BOUNDS)));
    const rules = readRules(client, name);
    const whole = this.#keys.formerOr({
      name,
      publicKey,
      key: key.key,
      previous: previous && { key: previous.key, untilMs: untilMs! },
      ports,
      expiresAtMs,
      prefix,
      rules,
      extensions: this.#readExtensions(client, ports, rules?.extendMs),
    });
    this.#keys.add(key, whole, { expiresAtMs, path: keyField.path });
    if (previous) {
      const ends = Math.min(untilMs!, expiresAtMs ?? untilMs!);
      this.#keys.add(previous, whole, { expiresAtMs: ends, path: previousField!.path });
    }
    this.clients.push(whole);
    return whole;
  }

  /** What of its ports stays open while it is used. */
  #readExtensions(
    client: Section,
    ports: readonly PortRange[],
    ownMs: number | undefined,
  ): readonly Extension[] {
    const known = ownMs === undefined && this.#extensionsOf.get(ports);
    if (known) return known;
    const groups = client.field("allowed_ports").items()
      .flatMap(({ value }) => this.#groupExtensions.get(String(value)) ?? []);
    const extensions = extensionsOf(ports, ownMs, groups);
    if (ownMs === undefined) this.#extensionsOf.set(ports, extensions);
    return extensions;
  }

  /** What a client's knock opens. */
  #readPorts(client: Section): readonly PortRange[] {
    const items = client.field("allowed_ports").items();
    const healthDisabled = client.optional("disable_health_port")?.flag() ?? false;
    const read = () => {
      const ports = items.flatMap((item) => readPorts(item, this.#groups));
      return mergePortRanges(healthDisabled ? ports : [...ports, this.#healthRange]);
    };
    // A list in the list is an error, and may hold itself.
    if (items.some(({ value }) => typeof value === "object")) return read();
    const list = JSON.stringify([healthDisabled, ...items.map(({ value }) => value)]);
    const ports = this.#portsOf.get(list) ?? read();
    this.#portsOf.set(list, ports);
    return ports;
  }
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

/** `{v4: 24, v6: 64}`, either of them left out for single addresses. */
function readPrefix(lengths: Section | undefined): PrefixLengths {
  const read = (family: keyof typeof PREFIX_BOUNDS) => {
    const { least, most } = PREFIX_BOUNDS[family];
    return lengths?.optional(family)?.integer("a length in bits", least, most) ?? SINGLE[family];
  };
  return { v4: read("v4"), v6: read("v6") };
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
