/** The steps of `openme setup` in their order, and the way back from each. */

import type { ServerConfig } from "../../config/server.ts";
import { DEFAULT_UDP_PORT } from "../../config/fields.ts";
import { establishedConnections } from "../../firewall/host/sockets.ts";
import type { HistoryEntry } from "../../state/read.ts";
import { formatAddress } from "../../values/address.ts";
import { OpenmeError } from "../../values/errors.ts";
import {
  expandPortSpec,
  includesPortRanges,
  parsePortSpec,
  shownPorts,
} from "../../values/ports.ts";
import { escapeUnprintable } from "../../values/text.ts";
import { type Arguments, type Context, flagError, textFlag } from "../context.ts";
import { loadServerConfig } from "../load.ts";
import { findCaller, groupsToName, introduce, type Introduction } from "../setup/client.ts";
import { keep } from "../setup/ends.ts";
import {
  type Found,
  isSetUp,
  isThere,
  lockSetup,
  lookAround,
  lookAtUnits,
  startWatch,
  toBeMade,
} from "../setup/host.ts";
import { findHostNames } from "../setup/host_name.ts";
import { findListeners, sshPorts } from "../setup/listeners.ts";
import { perform, type Tools } from "../setup/perform.ts";
import { beginRecord, confirmRecord, readRecord } from "../setup/record.ts";
import { type Made, PLACES, preparingSteps, SERVER_UNIT, trialSteps } from "../setup/steps.ts";
import { ownTerminal, stoppedError } from "../setup/terminal.ts";
import { noKnockError, spanOf, waitForKnock, waitForServer, waitUntil } from "../setup/wait.ts";
import { type Guesses, readClientWishes, readServerWishes, type Wishes } from "../setup/wishes.ts";
import { sshConnections } from "../serve/start_checks.ts";
import { toolsFor } from "./setup_tools.ts";
import { endHalfSetup, giveUp } from "./setup_undo.ts";

/** What the whole of it goes by. */
interface Run {
  readonly context: Context;
  readonly tools: Tools;
  /** Aborts where a person, a dead session or a shutdown ends setup. */
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
}

export async function setUp(
  args: Arguments,
  given: Context,
  { program, timeoutMs }: { program: string; timeoutMs: number },
): Promise<number> {
  // Ctrl-C and a closed terminal reach setup, and none of the programs that it runs.
  const context = {
    ...given,
    run: (what) => given.run({ ...what, killsChildren: true }),
  } as Context;
  using _lock = await lockSetup();
  const signal = stopSignal(context);
  const tools = toolsFor(context, context.stderr);
  await endHalfSetup(context, tools);
  const found = await lookAround(context.run);
  if (isSetUp(found)) {
    context.stderr("openme: this host is set up already: nothing has changed");
    context.stderr(
      "openme: hint: another client: openme add NAME; the way back: openme setup --undo",
    );
    return 0;
  }
  if (found.config) requireSame(args, found.config);
  const { wishes, introduction } = await decide(args, found, { context, signal });
  signal.throwIfAborted();
  context.stderr("");
  const made = toBeMade(
    found,
    introduction?.file === undefined ? [] : [absolute(introduction.file)],
  );

  // From here on the watch puts everything back if this process is killed.
  await startWatch(program, context.run);
  const record = await beginRecord(made, await readRecord());
  const run = { context, tools, signal, timeoutMs };
  let knock: HistoryEntry | undefined;
  try {
    await perform(preparingSteps(made, wishes), tools);
    if (!made.ranBefore) {
      const waits = args.values["no-wait"] !== true;
      knock = await tryOut(introduction, { ...run, made, stateDir: found.stateDir, waits });
    }
    signal.throwIfAborted();
  } catch (cause) {
    throw await giveUp(record, signal.aborted ? signal.reason : cause, context);
  }
  await keep(await confirmRecord(record), tools);
  await tellDone(knock, context);
  return 0;
}

/** Aborts on SIGINT, SIGTERM and SIGHUP. None of them ends this process: what it has begun, it ends itself. */
function stopSignal({ stopSignal }: Context): AbortSignal {
  const controller = new AbortController();
  const stop = () => controller.abort(stoppedError());
  stopSignal(() => true).addEventListener("abort", stop);
  Deno.addSignalListener("SIGHUP", stop);
  // Ctrl-Z would leave everything as it is in the middle.
  Deno.addSignalListener("SIGTSTP", () => {});
  return controller.signal;
}

/** Asks, or takes flags and defaults. */
async function decide(
  args: Arguments,
  { config, units }: Found,
  { context, signal }: Pick<Run, "context" | "signal">,
): Promise<{ wishes: Pick<Wishes, "host" | "ports">; introduction: Introduction | undefined }> {
  const terminal = args.values["yes"] === true ? undefined : ownTerminal(signal);
  terminal?.show("openme: some questions; Enter takes what is in brackets\n");
  const guesses = await guess(context);
  const wishes = config
    ? { host: hostOf(config), ports: [] }
    : await readServerWishes(args, guesses, terminal);
  const name = textFlag(args, "client");
  const clients = config?.clients ?? [];
  const isKnown = clients.some((client) => client.name === name);
  if (clients.length > 0 && (name === undefined || isKnown)) {
    return { wishes, introduction: undefined };
  }
  if (units.get(SERVER_UNIT)?.isActive) {
    throw new OpenmeError(
      "STATE",
      "the server runs already, so setup cannot try it with a client",
      {
        hint: "openme add NAME, then run openme setup again",
      },
    );
  }
  const client = await readClientWishes(args, terminal);
  const [sshPort = "22/tcp"] = sshPorts(guesses.listeners, guesses.ownPort);
  const caller = await findCaller(context, guesses.ownPort ?? parseInt(sshPort));
  return {
    wishes,
    introduction: introduce({ ...wishes, ...client }, caller, groupsToName(config)),
  };
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

/** Starts the server on trial, and confirms it once a client's knock has opened. */
async function tryOut(
  introduction: Introduction | undefined,
  { made, stateDir, waits, ...run }: Run & { made: Made; stateDir: string; waits: boolean },
): Promise<HistoryEntry | undefined> {
  const { context, tools, signal, timeoutMs } = run;
  if (introduction) await introduceClient(introduction, run);
  signal.throwIfAborted();
  const sinceMs = Date.now();
  await perform(trialSteps(spanOf(timeoutMs), made), tools);
  const isActive = async () => (await lookAtUnits(context.run)).get(SERVER_UNIT)?.isActive === true;
  await waitForServer(stateDir, { isActive, signal });
  let knock: HistoryEntry | undefined;
  if (waits) {
    context.stderr(
      "openme: the ports are closed now, but for the sessions that are open: waiting for a knock",
    );
    if (!introduction?.atClient) context.stderr("openme: at a client: openme knock --check");
    knock = await waitForKnock(stateDir, { sinceMs, timeoutMs, signal });
  }
  signal.throwIfAborted();
  await perform([{ kind: "openme", argv: ["confirm"] }], tools);
  return knock;
}

/** Registers the client, or waits until it has done so and has its profile. */
async function introduceClient(
  { add, atClient, file }: Introduction,
  { context, tools, signal, timeoutMs }: Run,
): Promise<void> {
  const { config: { udpPort, clients } } = await loadServerConfig(PLACES.config);
  context.stderr(
    `openme: knocks come to UDP port ${udpPort}: open it in your provider's firewall (security group), if there is one`,
  );
  if (add) await perform([{ kind: "openme", argv: add }], tools);
  if (atClient === undefined) return;
  context.stderr(`openme: type this at the client, within ${spanOf(timeoutMs)}:\n`);
  context.stderr(`${escapeUnprintable(atClient)}\n`);
  context.stderr("openme: waiting for it; Ctrl-C puts everything back");
  const known = clients.length;
  const hasProfile = async () => {
    if (file !== undefined) return isThere(file) ? undefined : true;
    const loaded = await loadServerConfig(PLACES.config).catch(() => undefined);
    return loaded && loaded.config.clients.length > known ? true : undefined;
  };
  if (await waitUntil(hasProfile, { timeoutMs, signal })) return;
  throw noKnockError(timeoutMs, "no client fetched its profile");
}

async function tellDone(knock: HistoryEntry | undefined, { stderr }: Context): Promise<void> {
  const { config } = await loadServerConfig(PLACES.config);
  if (knock) {
    const ports = shownPorts(knock.ports, config.healthPort).join(" ");
    const who = escapeUnprintable(`${knock.client} was let in from ${knock.address} to ${ports}`);
    stderr(`openme: it works: ${who}. It stays, also after a reboot`);
  } else stderr("openme: it stays, also after a reboot");
  stderr("openme: the way back: openme setup --undo");
}

function absolute(path: string): string {
  return path.startsWith("/") ? path : `${Deno.cwd()}/${path}`;
}
