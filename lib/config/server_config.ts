/**
 * The server's configuration: unknown YAML -> `ServerConfig`, or an error that names the key's path. The keys are the
 * deployed reference server's; docs/configuration.md describes them.
 */

import {
  type Bytes,
  bytesToHex,
  hexToBytes,
  KEY_SIZE,
  signingKeyFlaw,
  type VerifySignature,
} from "../crypto.ts";
import { fingerprint, publicKeyOf, signatureVerifier } from "../crypto_sync.ts";
import { type PrefixLengths, SINGLE } from "../network.ts";
import { expandPortSpec, mergePortRanges, parsePortSpec, type PortRange } from "../ports.ts";
import { EXPIRY_EXPECTED, parseExpiry } from "./expiry.ts";
import { CLOSED_AS, type ClosedAs, type FirewallName } from "./firewall_names.ts";
import { type CommandLines, readFirewall, requireClosing } from "./firewall_config.ts";
import {
  ConfigError,
  DEFAULT_UDP_PORT,
  listOf,
  loadingFrom,
  mismatch,
  namedEntries,
  Section,
} from "./reader.ts";
import { parseYaml } from "./yaml.ts";

export const DEFAULT_STATE_DIR = "/var/lib/openme";
export const DEFAULT_PROFILE = "default";

/** What a stop leaves of the guard. */
export const ON_STOP = ["open", "closed"] as const;

/** Everything `serve` needs to know, checked. */
export interface ServerConfig {
  /** The name or address by which clients reach this server, where the file gives it. */
  readonly host: string | undefined;
  readonly udpPort: number;
  readonly healthPort: number;
  readonly firewall: FirewallName;
  /** What the backend `command` runs; there exactly where `firewall` says so. */
  readonly command: CommandLines | undefined;
  /** The bit of the packet mark for let-in traffic. */
  readonly mark: number;
  readonly knockTimeoutMs: number;
  readonly replayWindowMs: number;
  /** X25519, 32 bytes each. */
  readonly privateKey: Bytes;
  readonly publicKey: Bytes;
  /** The key before this one, while a rotation is under way: knocks that are sealed to it are taken as well. */
  readonly previousPrivateKey: Bytes | undefined;
  readonly openKnockPort: boolean;
  readonly dropPorts: boolean;
  readonly closedAs: ClosedAs;
  readonly onStop: typeof ON_STOP[number];
  /** The one network interface to guard; all of them where it is `undefined`. */
  readonly interface: string | undefined;
  readonly defaultProfile: string;
  readonly stateDir: string;
  /** A program and its arguments, run at each grant. */
  readonly notify: readonly [program: string, ...args: string[]] | undefined;
  /** Port groups by name. */
  readonly groups: ReadonlyMap<string, readonly PortRange[]>;
  readonly clients: readonly ClientEntry[];
  /** Every port that openme keeps closed: all groups, all clients' ports, the health port. Disjoint. */
  readonly guardedPorts: readonly PortRange[];
  /** The guarded ports that are guarded in forwarded traffic as well. Disjoint. */
  readonly forwardedPorts: readonly PortRange[];
}

/** One registered client. */
export interface ClientEntry {
  readonly name: string;
  /** Ed25519, 32 bytes. */
  readonly publicKey: Bytes;
  /** The public key in hex: what this client is called where its name may change. */
  readonly key: string;
  readonly verify: VerifySignature;
  /** The key before this one, as long as it is good. */
  readonly previous: PreviousKey | undefined;
  /** What a knock opens, the health port included unless it is disabled. Disjoint. */
  readonly ports: readonly PortRange[];
  /** Wall clock, ms since 1970; from then on the key is no good. */
  readonly expiresAtMs: number | undefined;
  /** How wide its grants are; single addresses unless the file says otherwise. */
  readonly prefix: PrefixLengths;
}

/** A client's key that was replaced, and when it ends. */
export interface PreviousKey {
  readonly key: string;
  readonly verify: VerifySignature;
  /** ms since 1970. */
  readonly untilMs: number;
}

const SERVER_KEYS = [
  "host",
  "udp_port",
  "health_port",
  "firewall",
  "command",
  "mark",
  "closed_as",
  "on_stop",
  "knock_timeout",
  "replay_window",
  "private_key",
  "public_key",
  "open_knock_port",
  "drop_ports",
  "interface",
  "default_profile",
  "state_dir",
  "previous_private_key",
  "notify",
];
const CLIENT_KEYS = [
  "ed25519_pubkey",
  "allowed_ports",
  "expires",
  "disable_health_port",
  "previous_pubkey",
  "previous_until",
  "prefix",
];

/** Prefix lengths that a client may have: wider is not one carrier's pool of addresses, but half the world. */
export const PREFIX_BOUNDS = {
  v4: { least: 16, most: SINGLE.v4 },
  v6: { least: 48, most: SINGLE.v6 },
} as const;

const PORT_EXPECTED = `a port such as "22/tcp"`;
/** What Linux takes as a name (15 bytes), less what a firewall would read as a pattern. */
export const INTERFACE_PATTERN = /^[A-Za-z0-9][A-Za-z0-9_.:@-]{0,14}$/;

/** Parses a server configuration. `file` is only for the errors. Throws `OpenmeError` with code `CONFIG`. */
export function parseServerConfig(text: string, file: string): ServerConfig {
  return loadingFrom(file, () => readServerConfig(parseYaml(text)));
}

function readServerConfig(root: unknown): ServerConfig {
  const top = new Section(root, "", ["server", "ports", "clients"]);
  const server = new Section(top.required("server", "a map"), "server", SERVER_KEYS);
  const udpPort = server.optional("udp_port", (key) => server.port(key)) ?? DEFAULT_UDP_PORT;
  const healthPort = server.optional("health_port", (key) => server.port(key)) ?? udpPort;
  const { groups, forwardedPorts } = readGroups(top.raw("ports"));
  const healthRange: PortRange = { protocol: "tcp", first: healthPort, last: healthPort };
  const clients = readClients(top.raw("clients"), groups, healthRange);
  const config: ServerConfig = {
    host: server.optional("host", (key) => server.host(key)),
    udpPort,
    healthPort,
    ...readFirewall(server),
    knockTimeoutMs:
      server.optional("knock_timeout", (key) => server.durationMs(key, 1000, 86_400_000)) ?? 30_000,
    replayWindowMs:
      server.optional("replay_window", (key) => server.durationMs(key, 1000, 3_600_000)) ?? 60_000,
    ...readServerKeys(server),
    previousPrivateKey: server.optional(
      "previous_private_key",
      (key) => server.key(key, "the server's X25519 private key before this one", [KEY_SIZE]),
    ),
    openKnockPort: server.optional("open_knock_port", (key) => server.flag(key)) ?? true,
    // Absent means false, as in deployed files, which leave the closing to the host's own firewall.
    dropPorts: server.optional("drop_ports", (key) => server.flag(key)) ?? false,
    closedAs: server.optional("closed_as", (key) => server.choice(key, CLOSED_AS)) ?? "drop",
    onStop: server.optional("on_stop", (key) => server.choice(key, ON_STOP)) ?? "open",
    interface: server.optional(
      "interface",
      (key) =>
        server.string(key, `the name of a network interface, such as "eth0"`, INTERFACE_PATTERN),
    ),
    defaultProfile: server.optional("default_profile", (key) => server.name(key)) ??
      DEFAULT_PROFILE,
    stateDir:
      server.optional("state_dir", (key) => server.string(key, "an absolute path", /^\/[^\0]*$/)) ??
        DEFAULT_STATE_DIR,
    notify: server.optional("notify", () => readNotify(server)),
    groups,
    clients,
    guardedPorts: mergePortRanges([
      ...[...groups.values()].flat(),
      ...clients.flatMap(({ ports }) => ports),
      healthRange,
    ]),
    forwardedPorts,
  };
  requireClosing(server, config);
  return config;
}

/** The guarded ports that stay so whatever becomes of the clients: all groups and the health port. Disjoint. */
export function lastingPorts({ groups, healthPort }: ServerConfig): PortRange[] {
  const health: PortRange = { protocol: "tcp", first: healthPort, last: healthPort };
  return mergePortRanges([...[...groups.values()].flat(), health]);
}

function readNotify(server: Section): [program: string, ...args: string[]] {
  const [program, ...args] = listOf(server.raw("notify"), server.path("notify")).map(
    ([item, path]) => {
      // A byte of zero ends an argument for the kernel, whatever follows it.
      if (typeof item === "string" && !item.includes("\0")) return item;
      throw mismatch(path, "a program's name or an argument, as text", item);
    },
  );
  if (program) return [program, ...args];
  throw mismatch(server.path("notify"), "a list: a program and its arguments", undefined);
}

function readServerKeys(server: Section): { privateKey: Bytes; publicKey: Bytes } {
  const privateKey = server.key("private_key", "the server's X25519 private key", [KEY_SIZE]);
  const publicKey = publicKeyOf("X25519", privateKey);
  const given = server.optional(
    "public_key",
    (key) => server.key(key, "the server's X25519 public key", [KEY_SIZE]),
  );
  if (given && bytesToHex(given) !== bytesToHex(publicKey)) {
    throw new ConfigError(
      server.path("public_key"),
      "expected the public key of server.private_key, got another one",
      "one of the two lines is from another server: restore the file, or run openme init again",
    );
  }
  return { privateKey, publicKey };
}

function readGroups(
  value: unknown,
): { groups: Map<string, PortRange[]>; forwardedPorts: PortRange[] } {
  const groups = new Map<string, PortRange[]>();
  const forwarded: PortRange[] = [];
  for (const [name, entry, path] of namedEntries(value, "ports")) {
    const group = entry instanceof Map ? new Section(entry, path, ["ports", "guard"]) : undefined;
    const specsPath = group ? group.path("ports") : path;
    const ranges = listOf(group ? group.raw("ports") : entry, specsPath).flatMap(([spec, at]) => {
      const range = readPortSpec(spec);
      if (!range) throw mismatch(at, PORT_EXPECTED, spec);
      return range;
    });
    if (ranges.length === 0) throw mismatch(specsPath, `a list with ${PORT_EXPECTED}`, undefined);
    groups.set(name, mergePortRanges(ranges));
    if (group?.optional("guard", (key) => readForward(group, key))) forwarded.push(...ranges);
  }
  return { groups, forwardedPorts: mergePortRanges(forwarded) };
}

/** `{forward: true}`: forwarded traffic to these ports is guarded as well. */
function readForward(group: Section, key: string): boolean {
  const guard = new Section(group.raw(key), group.path(key), ["forward"]);
  return guard.optional("forward", (each) => guard.flag(each)) ?? false;
}

function readClients(
  value: unknown,
  groups: ReadonlyMap<string, readonly PortRange[]>,
  healthRange: PortRange,
): ClientEntry[] {
  const nameByKey = new Map<string, string>();
  return namedEntries(value, "clients").map(([name, entry, path]) => {
    const client = readClient(name, new Section(entry, path, CLIENT_KEYS), groups, healthRange);
    const keys = { "ed25519_pubkey": client.key, "previous_pubkey": client.previous?.key };
    for (const [at, key] of Object.entries(keys)) {
      if (key === undefined) continue;
      const other = nameByKey.get(key);
      if (other !== undefined) {
        throw new ConfigError(
          `${path}.${at}`,
          `expected a key of its own, got the key of "${other}" (${fingerprint(hexToBytes(key))})`,
          "a knock could not tell the two apart: give each client its own key",
        );
      }
      nameByKey.set(key, name);
    }
    return client;
  });
}

function readClient(
  name: string,
  client: Section,
  groups: ReadonlyMap<string, readonly PortRange[]>,
  healthRange: PortRange,
): ClientEntry {
  const publicKey = client.key("ed25519_pubkey", "the client's Ed25519 public key", [KEY_SIZE]);
  const ports = listOf(client.raw("allowed_ports"), client.path("allowed_ports")).flatMap(
    ([item, at]) => {
      const ranges = typeof item === "string" && groups.get(item) || readPortSpec(item);
      if (!ranges) throw mismatch(at, `${PORT_EXPECTED} or a group name`, item);
      return ranges;
    },
  );
  const healthDisabled = client.optional("disable_health_port", (key) => client.flag(key)) ?? false;
  return {
    name,
    publicKey,
    key: bytesToHex(publicKey),
    verify: readVerifier(publicKey, client.path("ed25519_pubkey")),
    previous: client.optional("previous_pubkey", (key) => readPreviousKey(client, key)),
    ports: mergePortRanges(healthDisabled ? ports : [...ports, healthRange]),
    expiresAtMs: client.optional("expires", (key) => readTime(client, key)),
    prefix: client.optional("prefix", (key) => readPrefix(client, key)) ?? SINGLE,
  };
}

function readPreviousKey(client: Section, key: string): PreviousKey {
  const publicKey = client.key(key, "the client's Ed25519 public key before this one", [KEY_SIZE]);
  return {
    key: bytesToHex(publicKey),
    verify: readVerifier(publicKey, client.path(key)),
    untilMs: readTime(client, "previous_until"), // a key without an end would be good for ever
  };
}

/** `{v4: 24, v6: 64}`, either of them left out for single addresses. */
function readPrefix(client: Section, key: string): PrefixLengths {
  const lengths = new Section(client.raw(key), client.path(key), Object.keys(PREFIX_BOUNDS));
  const read = (family: keyof typeof PREFIX_BOUNDS) => {
    const { least, most } = PREFIX_BOUNDS[family];
    return lengths.optional(
      family,
      (each) => lengths.integer(each, "a length in bits", least, most),
    ) ??
      SINGLE[family];
  };
  return { v4: read("v4"), v6: read("v6") };
}

function readTime(client: Section, key: string): number {
  const atMs = parseExpiry(client.raw(key));
  if (atMs === undefined) throw mismatch(client.path(key), EXPIRY_EXPECTED, client.raw(key));
  return atMs;
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

function readPortSpec(value: unknown): PortRange[] | undefined {
  // `- 80` is a number to YAML.
  const spec = typeof value === "string" || typeof value === "number"
    ? parsePortSpec(String(value))
    : undefined;
  return spec && expandPortSpec(spec);
}
