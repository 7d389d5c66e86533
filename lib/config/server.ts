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
import type { ClientEntry, ClientKeys } from "./client_keys.ts";
import type { CodeAt } from "./codes.ts";
import { ClientReader } from "./clients.ts";
import { requireExtending } from "./extend.ts";
import { readFirewall, requireClosing } from "./firewall.ts";
import {
  CLOSED_AS,
  type ClosedAs,
  type CommandLines,
  type FirewallName,
  INTERFACE_PATTERN,
} from "../firewall/plan.ts";
import { type FleetConfig, readFleet } from "./fleet.ts";
import { type MetricsAddress, readMetricsAddress } from "./metrics.ts";
import { readGroups } from "./port_groups.ts";
import {
  ConfigError,
  DEFAULT_UDP_PORT,
  Field,
  missing,
  type Section,
  stepsOfLoading,
} from "./fields.ts";
import { atOnce } from "../values/steps.ts";
import { NotPlain, type ReadApart, readApart } from "./plain_yaml.ts";
import { parseYaml } from "./yaml.ts";

export const DEFAULT_STATE_DIR = "/var/lib/openme";
export const DEFAULT_PROFILE = "default";

/** Whether guarded ports are open or closed after a stop. */
export const ON_STOP = ["open", "closed"] as const;

/** Whether `serve` is several processes: where it has the rights to be (`auto`), or never. */
export const SEPARATE = ["auto", "off"] as const;

/** Everything `serve` needs to know, checked. */
export interface ServerConfig {
  /** The name or address by which clients reach this server. */
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
  /** Whether only knocks of openme's own client are taken. */
  readonly onlyStampedKnocks: boolean;
  readonly dropPorts: boolean;
  readonly closedAs: ClosedAs;
  readonly onStop: typeof ON_STOP[number];
  readonly separate: typeof SEPARATE[number];
  /** The hosts that it shares its knocks with, where there are any. */
  readonly fleet: FleetConfig | undefined;
  /** The one network interface to guard; all of them where it is `undefined`. */
  readonly interface: string | undefined;
  readonly defaultProfile: string;
  readonly stateDir: string;
  /** A program and its arguments, run at each grant. */
  readonly notify: readonly [program: string, ...args: string[]] | undefined;
  /** Where the metrics are served; nowhere where it is `undefined`. */
  readonly metrics: MetricsAddress | undefined;
  readonly metricsClientNames: boolean;
  /** Port groups by name. */
  readonly groups: ReadonlyMap<string, readonly PortRange[]>;
  readonly clients: readonly ClientEntry[];
  readonly keys: ClientKeys;
  /** Makes codes: loaded where a client has `totp`. */
  readonly codeAt?: CodeAt | undefined;
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
  "separate",
  "fleet",
  "knock_timeout",
  "replay_window",
  "private_key",
  "public_key",
  "open_knock_port",
  "only_stamped_knocks",
  "drop_ports",
  "interface",
  "default_profile",
  "state_dir",
  "previous_private_key",
  "notify",
  "metrics",
  "metrics_client_names",
];

/** A file's text, and its name for errors. */
export interface SourceFile {
  readonly file: string;
  readonly text: string;
}

/** What is given beside the text of the server's file. */
export interface ParseOptions {
  /** The knock port of the server that runs, in place of the file's; the health port follows it by default. */
  readonly boundPort?: number | undefined;
  /** The files of `clients.d`. */
  readonly people?: readonly SourceFile[];
  /** The configuration before this one: what was found out about its keys is not found out again. */
  readonly former?: Pick<ServerConfig, "keys"> | undefined;
}

/** Parses a server configuration. `file` is only for the errors. Throws `OpenmeError` with code `CONFIG`. */
export function parseServerConfig(
  text: string,
  file: string,
  options: ParseOptions = {},
): ServerConfig {
  return atOnce(parsingServerConfig(text, file, options));
}

/** {@linkcode parseServerConfig} in steps of some µs, where the YAML library is not needed. */
export function parsingServerConfig(
  text: string,
  file: string,
  options: ParseOptions = {},
): Generator<void, ServerConfig> {
  return stepsOfLoading(file, readServerConfig(text, options));
}

function* readServerConfig(text: string, options: ParseOptions): Generator<void, ServerConfig> {
  try {
    const document = readApart(text, "clients");
    yield; // the text is long
    return yield* readDocument(document, options);
  } catch (thrown) {
    if (!(thrown instanceof NotPlain)) throw thrown;
    return yield* readDocument({ root: parseYaml(text), entries: undefined }, options);
  }
}

/** `entries`: the clients, where they are read apart. */
function* readDocument(
  { root, entries }: { root: unknown; entries: ReadApart["entries"] },
  { boundPort, people = [], former }: ParseOptions,
): Generator<void, ServerConfig> {
  const top = new Field(root).section(["server", "ports", "clients"]);
  const server = top.field("server").section(SERVER_KEYS);
  const namedUdpPort = server.optional("udp_port")?.port() ?? DEFAULT_UDP_PORT;
  const udpPort = boundPort ?? namedUdpPort;
  const healthPort = server.optional("health_port")?.port() ?? udpPort;
  const { groups, forwardedPorts, extensions } = readGroups(top.field("ports"));
  const healthRange = healthRangeOf({ healthPort });
  const reader = new ClientReader({ groups, extensions, healthRange, former: former?.keys });
  yield* reader.readClients(top.field("clients").entries(entries));
  for (const { file, text } of people) {
    yield* stepsOfLoading(file, reader.readPerson(text));
  }
  const config: ServerConfig = {
    host: server.optional("host")?.host(),
    udpPort,
    namedUdpPort,
    healthPort,
    ...readFirewall(server),
    knockTimeoutMs: server.optional("knock_timeout")?.durationMs(1000, 86_400_000) ?? 30_000,
    replayWindowMs: server.optional("replay_window")?.durationMs(1000, 3_600_000) ?? 60_000,
    ...readServerKeys(server),
    openKnockPort: server.optional("open_knock_port")?.flag() ?? true,
    onlyStampedKnocks: server.optional("only_stamped_knocks")?.flag() ?? false,
    // Absent means false, as in deployed files, which leave the closing to the host's own firewall.
    dropPorts: server.optional("drop_ports")?.flag() ?? false,
    closedAs: server.optional("closed_as")?.choice(CLOSED_AS) ?? "drop",
    onStop: server.optional("on_stop")?.choice(ON_STOP) ?? "open",
    separate: server.optional("separate")?.choice(SEPARATE) ?? "auto",
    fleet: readFleet(server.optional("fleet")),
    interface: server.optional("interface")
      ?.string(`the name of a network interface, such as "eth0"`, INTERFACE_PATTERN),
    defaultProfile: server.optional("default_profile")?.name() ?? DEFAULT_PROFILE,
    stateDir: server.optional("state_dir")?.string("an absolute path", /^\/[^\0]*$/) ??
      DEFAULT_STATE_DIR,
    notify: readNotify(server.optional("notify")),
    metrics: readMetricsAddress(server.optional("metrics")),
    metricsClientNames: server.optional("metrics_client_names")?.flag() ?? false,
    groups,
    clients: reader.clients,
    keys: reader.keys,
    guardedPorts: mergePortRanges([
      ...[...groups.values()].flat(),
      ...reader.ports,
      healthRange,
    ]),
    forwardedPorts,
  };
  requireClosing(config);
  requireExtending(config);
  return config;
}

function readNotify(field: Field | undefined): ServerConfig["notify"] {
  if (!field) return undefined;
  const [program, ...args] = field.items().map((item) => {
    // For the kernel a NUL ends the argument.
    if (typeof item.value === "string" && !item.value.includes("\0")) return item.value;
    throw item.mismatch("a program's name or an argument, as text");
  });
  if (program) return [program, ...args];
  throw missing(field.path, "a list: a program and its arguments");
}

function readServerKeys(
  server: Section,
): Pick<ServerConfig, "privateKey" | "publicKey" | "previousPrivateKey"> {
  const privateKey = server.field("private_key").key("the server's X25519 private key", [KEY_SIZE]);
  const publicKey = publicKeyOf("X25519", privateKey);
  const given = server.optional("public_key")?.key("the server's X25519 public key", [KEY_SIZE]);
  if (given && bytesToHex(given) !== bytesToHex(publicKey)) {
    throw new ConfigError(
      "server.public_key",
      "expected the public key of server.private_key, got another one",
      "one of the two lines is from another server: restore the file, or run openme init again",
    );
  }
  const previousPrivateKey = server.optional("previous_private_key")
    ?.key("the server's X25519 private key before this one", [KEY_SIZE]);
  return { privateKey, publicKey, previousPrivateKey };
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
export function unguardable(
  { udpPort, groups, clients, guardedPorts }: ServerConfig,
): string[] {
  const knock: PortRange = { protocol: "udp", first: udpPort, last: udpPort };
  const has = (ports: readonly PortRange[]) => intersectPortRanges(ports, [knock]).length > 0;
  if (!has(guardedPorts)) return [];
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
