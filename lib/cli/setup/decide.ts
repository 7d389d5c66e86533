/** What setup will do, decided from what it found, from flags and from answers; nothing is changed yet. */

import { DEFAULT_UDP_PORT } from "../../config/fields.ts";
import type { ServerConfig } from "../../config/server.ts";
import { establishedConnections } from "../../firewall/host/sockets.ts";
import { formatAddress } from "../../values/address.ts";
import { OpenmeError } from "../../values/errors.ts";
import { expandPortSpec, includesPortRanges, parsePortSpec } from "../../values/ports.ts";
import { type Arguments, type Context, flagError, textFlag } from "../context.ts";
import { sshConnections } from "../serve/start_checks.ts";
import { findCaller, groupsToName, introduce, type Introduction } from "./client.ts";
import type { Found } from "./host.ts";
import { findHostNames } from "./host_name.ts";
import { findListeners, sshPorts } from "./listeners.ts";
import { SERVER_UNIT } from "./steps.ts";
import { ownTerminal } from "./terminal.ts";
import { type Guesses, readClientWishes, readServerWishes, type Wishes } from "./wishes.ts";

/** What is decided. */
export interface Decision {
  /** For a new configuration; `undefined` where there is one. */
  readonly server: Pick<Wishes, "host" | "ports"> | undefined;
  /** `undefined` where there are clients already, and one of them is to knock. */
  readonly introduction: Introduction | undefined;
}

/**
 * Asks, or takes flags and defaults. Throws where the flags want another configuration than the one that is there, or what
 * setup cannot do.
 */
export async function decide(
  args: Arguments,
  { config, units }: Found,
  { context, signal }: { context: Context; signal: AbortSignal },
): Promise<Decision> {
  if (config) requireSame(args, config);
  const name = textFlag(args, "client");
  const names = config?.clients.map((client) => client.name) ?? [];
  if (names.length > 0 && (name === undefined || names.includes(name))) {
    return { server: undefined, introduction: undefined };
  }
  if (units.get(SERVER_UNIT)?.isActive) {
    const why = "the server runs already, so setup cannot try it with a client";
    throw new OpenmeError("STATE", why, { hint: "openme add NAME, then run openme setup again" });
  }
  const terminal = args.values["yes"] === true ? undefined : ownTerminal(signal);
  terminal?.show("openme: some questions; Enter takes what is in brackets\n");
  const guesses = await guess(context);
  const server = config ? undefined : await readServerWishes(args, guesses, terminal);
  const host = server?.host ?? hostOf(config!);
  const client = await readClientWishes(args, terminal);
  const [sshPort = "22/tcp"] = sshPorts(guesses.listeners, guesses.ownPort);
  const caller = await findCaller(context, guesses.ownPort ?? parseInt(sshPort));
  return { server, introduction: introduce({ host, ...client }, caller, groupsToName(config)) };
}

async function guess(context: Context): Promise<Guesses> {
  const listeners = (await findListeners(context.run))
    .filter(({ protocol, port }) => protocol !== "udp" || port !== DEFAULT_UDP_PORT);
  const [own] = await sshConnections(context);
  const ports = own
    ? [{ protocol: "tcp", first: own.localPort, last: own.localPort } as const]
    : [];
  const session = (await establishedConnections(ports, context.run)).find((each) =>
    formatAddress(each.remote) === own?.remote && each.remotePort === own.remotePort
  );
  const names = await findHostNames(session && formatAddress(session.local), context.run);
  return { listeners, names, ownPort: own?.localPort };
}

function hostOf({ host }: ServerConfig): string {
  if (host !== undefined) return host;
  throw new OpenmeError("CONFIG", "the configuration does not say how clients reach this server", {
    hint: "add server.host: the server's name or address",
  });
}

/** A configuration that is there stays as it is: flags that want another one are a mistake. */
function requireSame(args: Arguments, config: ServerConfig): void {
  const hint =
    "the configuration is there already and stays as it is: edit it, or leave the flag out";
  const host = textFlag(args, "server");
  if (host !== undefined && host !== config.host) {
    throw flagError("server", config.host ?? "none", host, hint);
  }
  const ports = textFlag(args, "ports");
  const specs = (ports ?? "").split(",").flatMap((item) => parsePortSpec(item.trim()) ?? []);
  if (!includesPortRanges(config.guardedPorts, specs.flatMap(expandPortSpec))) {
    throw flagError("ports", "ports that it has", ports!, hint);
  }
}
