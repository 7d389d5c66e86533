/**
 * The server's configuration: unknown YAML -> `ServerConfig`, or an error that names the key's path. The keys are the
 * deployed reference server's; docs/configuration.md describes them.
 */

import { type Bytes, bytesToHex, KEY_SIZE } from "../crypto/keys.ts";
import { publicKeyOf } from "../crypto/sync.ts";
import {
  formatPortRange,
  intersectPortRanges,
  mergePortRanges,
  type PortRange,
} from "../values/ports.ts";
import { type ClientContext, type ClientEntry, readClients, readPerson } from "./clients.ts";
import { readFirewall, requireClosing } from "./firewall.ts";
import {
  CLOSED_AS,
  type ClosedAs,
  type CommandLines,
  type FirewallName,
  INTERFACE_PATTERN,
} from "../firewall/plan.ts";
import { readGroups } from "./port_groups.ts";
import { ConfigError, DEFAULT_UDP_PORT, listOf, loadingFrom, mismatch, Section } from "./fields.ts";
import { parseYaml } from "./yaml.ts";

export const DEFAULT_STATE_DIR = "/var/lib/openme";
export const DEFAULT_PROFILE = "default";

/** What a stop leaves of the guard. */
export const ON_STOP = ["open", "closed"] as const;

/** Everything `serve` needs to know, checked. */
export interface ServerConfig {
  /** The name or address by which clients reach this server, where the file gives it. */
  readonly host: string | undefined;
  /** The knock port, and the one that the file names: a running server keeps the port that it is bound to. */
  readonly udpPort: number;
  readonly namedUdpPort: number;
  readonly healthPort: number;
  readonly firewall: FirewallName;
  /** What the backend `command` runs; `undefined` with any other. */
  readonly command: CommandLines | undefined;
  /** The bit of the packet mark that a hole looks at. */
  readonly mark: number;
  readonly knockTimeoutMs: number;
  readonly replayWindowMs: number;
  /** X25519, 32 bytes each. */
  readonly privateKey: Bytes;
  readonly publicKey: Bytes;
  /** The key before this one, while a rotation is under way: knocks that are sealed to it are accepted too. */
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

/** One file's text, and the name by which errors call it. */
export interface SourceFile {
  readonly file: string;
  readonly text: string;
}

/** What is known beside the text of the server's file. */
export interface ParseOptions {
  /** The knock port of the server that runs, in place of the file's; the health port follows it by default. */
  readonly boundPort?: number | undefined;
  /** The files of `clients.d`. */
  readonly people?: readonly SourceFile[];
}

/** Parses a server configuration. `file` is only for the errors. Throws `OpenmeError` with code `CONFIG`. */
export function parseServerConfig(
  text: string,
  file: string,
  options: ParseOptions = {},
): ServerConfig {
  return loadingFrom(file, () => readServerConfig(parseYaml(text), options));
}

function readServerConfig(
  root: unknown,
  { boundPort, people = [] }: ParseOptions,
): ServerConfig {
  const top = new Section(root, "", ["server", "ports", "clients"]);
  const server = new Section(top.required("server", "a map"), "server", SERVER_KEYS);
  const namedUdpPort = server.optional("udp_port", (key) => server.port(key)) ?? DEFAULT_UDP_PORT;
  const udpPort = boundPort ?? namedUdpPort;
  const healthPort = server.optional("health_port", (key) => server.port(key)) ?? udpPort;
  const { groups, forwardedPorts } = readGroups(top.raw("ports"));
  const healthRange = healthRangeOf({ healthPort });
  const context: ClientContext = { groups, healthRange, nameByKey: new Map(), names: new Set() };
  const clients = [
    ...readClients(top.raw("clients"), context),
    ...people.flatMap(({ file, text }) =>
      loadingFrom(file, () => readPerson(parseYaml(text), context))
    ),
  ];
  const config: ServerConfig = {
    host: server.optional("host", (key) => server.host(key)),
    udpPort,
    namedUdpPort,
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

/** The guarded ports that need no client to be guarded: all groups and the health port. Disjoint. */
export function lastingPorts(config: ServerConfig): PortRange[] {
  return mergePortRanges([...[...config.groups.values()].flat(), healthRangeOf(config)]);
}

/** The health port as a range. */
export function healthRangeOf({ healthPort }: Pick<ServerConfig, "healthPort">): PortRange {
  return { protocol: "tcp", first: healthPort, last: healthPort };
}

/** A sentence for each place where the configuration asks to guard the knock port, which is always open. */
export function unguardable({ udpPort, groups, clients }: ServerConfig): string[] {
  const knock: PortRange = { protocol: "udp", first: udpPort, last: udpPort };
  const has = (ports: readonly PortRange[]) => intersectPortRanges(ports, [knock]).length > 0;
  const inGroups = [...groups].filter(([, ports]) => has(ports)).map(([name]) => `ports.${name}`);
  // Most clients have it from a group: then that is the place to mend.
  const places = inGroups.length > 0
    ? inGroups
    : clients.filter(({ ports }) => has(ports)).map(({ name }) => `clients.${name}`);
  return places.map((place) =>
    `${place}: ${
      formatPortRange(knock)
    } takes knocks, and is never guarded; a service there needs another port`
  );
}

function readNotify(server: Section): [program: string, ...args: string[]] {
  const [program, ...args] = listOf(server.raw("notify"), server.path("notify")).map(
    ([item, path]) => {
      // For the kernel a NUL ends the argument.
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
