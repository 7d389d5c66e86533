/** `openme serve`: the server. */

import { Confirmation, nothingToConfirm } from "../serve/confirmation.ts";
import { listenForHangup, lookAtTerminal } from "../serve/terminal.ts";
import { DryState, warnOfDroppedKnocks } from "../serve/dry_run.ts";
import { guardsInTheWay, warnOfOwnSession } from "../serve/start_checks.ts";
import { missingInterface } from "../host_fit.ts";
import { interfaceFlag, withInterface } from "../flags.ts";
import { loadServerConfig } from "../load.ts";
import {
  type Arguments,
  type Command,
  configPath,
  type Context,
  flagError,
  logOf,
  textFlag,
} from "../context.ts";
import { type ServerConfig, unguardable } from "../../config/server.ts";
import { parseDuration } from "../../values/duration.ts";
import { identifyConfig } from "../../system/config_files.ts";
import { watchConfig } from "../../system/config_watch.ts";
import { bindControl, type ControlSocket, serveControl } from "../../control/socket.ts";
import { controlHandler } from "../../control/requests.ts";
import { openGeneration } from "../../firewall/host/generation.ts";
import { NftSession } from "../../firewall/nft/session.ts";
import { messageOf, OpenmeError } from "../../values/errors.ts";
import type { Backend } from "../../firewall/backend.ts";
import { chooseBackend, requireClosable } from "../../firewall/choose.ts";
import { requirePrograms } from "../../firewall/command/line.ts";
import { createDryBackend, showingParts } from "../../firewall/none.ts";
import { keepHealthListener } from "../../health/listener.ts";
import { LineWriter } from "../../system/line_writer.ts";
import { errorFields, type Log, withFields } from "../../system/log.ts";
import { notifyOfGrants } from "../../control/notify.ts";
import { runServer } from "../../server.ts";
import { guardPlanOf } from "../../config/guard_plan.ts";
import { makeStateDir } from "../../state/directory.ts";
import { takeLock } from "../../state/lock.ts";
import { bootClock } from "../../system/clock.ts";
import { bindKnockSocket, wildcards } from "../../receive/socket.ts";

export const serve: Command = {
  about:
    `Guards the ports of this host and takes knocks, until it is stopped (SIGINT, SIGTERM). A changed
configuration is read at once, or on SIGHUP; one that is wrong changes nothing. Where it was
started on a terminal, SIGHUP says that the terminal is gone: it goes on.`,
  parameters: {
    "--state-dir DIR": "where nonces, grants and history are kept (default: server.state_dir)",
    "--interface IF": "guard only what arrives on this interface (default: server.interface)",
    "--confirm TIME":
      `put everything back after this time, such as 60s, unless openme confirm is called`,
    "--dry-run":
      `decide and log, but touch no firewall and keep nothing: show what would be run (beside a
      running serve: openme plan)`,
  },
  example: "sudo openme serve --log-level debug",
  run: async (args, context) => {
    const lines = new LineWriter(Deno.stderr, {
      lost: (lines) =>
        context.forStderr(`openme: warning: ${lines} lines of the log could not be written`),
    });
    try {
      return await runServe(args, context, lines);
    } finally {
      await lines.flush(FLUSH_MS);
    }
  },
};

/** What a reader of the log that hangs may take of the end. */
const FLUSH_MS = 1000;

async function runServe(args: Arguments, context: Context, lines: LineWriter): Promise<number> {
  const isDry = args.values["dry-run"] === true;
  const plainLog = logOf(args, {
    stderr: (line, level) => lines.write(context.forStderr(line, level)),
  });
  const log = isDry ? withFields(plainLog, { dry_run: true }) : plainLog;
  const path = configPath(args);
  const interfaceName = interfaceFlag(args);
  const confirmMs = readConfirm(args);
  const load = async (boundPort?: number): Promise<ServerConfig> => {
    const { config } = await loadServerConfig(path, boundPort);
    for (const why of unguardable(config)) log.warn("never_guarded", { why });
    return withInterface(config, interfaceName);
  };
  const known = identifyConfig(path);
  const config = await load();
  if (config.command) requirePrograms(config.command);
  const stateDir = textFlag(args, "state-dir") ?? config.stateDir;
  // Lock and sockets before the firewall: a second `serve` must fail while nothing has been touched.
  makeStateDir(stateDir);
  using cleanup = new DisposableStack();
  cleanup.adopt(
    takeLock(
      stateDir,
      // Whoever tries a file out beside the server that runs need not stop it.
      isDry ? { hint: `openme plan --config ${path} shows what a changed file would do` } : {},
    ),
    (lock) => lock.release(),
  );
  const control = makeControl(stateDir, { isNeeded: confirmMs !== undefined, log });
  cleanup.defer(() => control?.close());
  const socket = cleanup.adopt(
    await bindKnockSocket(config.udpPort, context.run),
    (socket) => socket.close(),
  );
  const readGeneration = openGeneration();
  await context.keepPermissions(PERMISSIONS_ONCE_BOUND);
  const terminal = await lookAtTerminal(context.run);
  const parts = {
    plan: guardPlanOf(config),
    run: context.run,
    log,
    stateDir,
    command: config.command,
    nftSession: new NftSession(),
    readGeneration,
  };
  const backend = await chooseBackend(
    config.firewall,
    isDry ? showingParts(parts, context.stdout) : parts,
  );
  const dry = isDry ? cleanup.use(new DryState(stateDir)) : undefined;
  await warnOfOwnSession(config, { log, context, backend, isTrial: confirmMs !== undefined });
  let mustFinish = () => false;
  const stop = context.stopSignal(() => mustFinish());
  const confirmation = confirmMs === undefined ? undefined : cleanup.use(
    new Confirmation({
      timeoutMs: confirmMs,
      stop,
      log,
      show: terminal.isWatched ? (text) => lines.showStatus(text) : undefined,
    }),
  );
  if (confirmation) mustFinish = () => !confirmation.isConfirmed;
  const signal = confirmation?.signal ?? stop;
  const onHangup = listenForHangup(terminal.isControlling, log);
  for (const { firewall, why, hint } of await guardsInTheWay(backend, context.run)) {
    log.warn("guard_in_the_way", { firewall, why, hint });
  }
  if (isDry) {
    log.warn("dry_run", {
      backend: backend.name,
      doing: "touching no firewall: ports are as they were, and a knock opens nothing",
    });
    await warnOfDroppedKnocks(config, { backend, run: context.run, log });
  }
  const missing = await missingInterface(config, context.run);
  if (missing) log.warn("interface_missing", { interface: config.interface, ...missing });
  const clock = await bootClock(context.run);
  const hostnames = await wildcards(context.run);
  await runServer({
    config,
    socket,
    backend: isDry ? createDryBackend(backend) : backend,
    stateDir: dry?.dir ?? stateDir,
    clock,
    log,
    signal,
    confirmation,
    onListening: (running) => {
      const { log, reload } = running;
      const changed = () => reloadFrom(load, { running: config, backend, reload, log });
      const watch = watchConfig(path, known, changed, signal);
      onHangup(watch.read);
      if (control) {
        const handle = controlHandler(running, {
          stateDir,
          run: context.run,
          lookAtConfig: watch.look,
          confirm: () => {
            if (!confirmation) throw nothingToConfirm();
            confirmation.confirm();
          },
        });
        serveControl(control, { handle, log, signal });
      }
      notifyOfGrants(running, { run: context.run, log });
      keepHealthListener({ running, wildcards: hostnames, clock, log, signal });
      confirmation?.begin();
    },
  });
  return confirmation?.hasFailed ? 1 : 0;
}

/** The control socket. Where it cannot be made, openme runs without, unless it `isNeeded`; then throws `OpenmeError`. */
function makeControl(
  stateDir: string,
  { isNeeded, log }: { isNeeded: boolean; log: Log },
): ControlSocket | undefined {
  try {
    return bindControl(stateDir);
  } catch (cause) {
    if (isNeeded) {
      throw new OpenmeError("STATE", messageOf(cause), {
        hint: "without it nobody could confirm; another folder: openme serve --state-dir DIR",
        cause,
      });
    }
    log.warn("control_unavailable", errorFields(cause));
    return undefined;
  }
}

/** Foreign functions are for binding, and for opening what reads the generation of the rules. */
const PERMISSIONS_ONCE_BOUND = ["net", "read", "write", "run", "env", "sys"] as const;

function readConfirm(args: Arguments): number | undefined {
  const text = textFlag(args, "confirm");
  if (text === undefined) return undefined;
  const durationMs = parseDuration(text);
  if (durationMs === undefined || durationMs < 1000 || durationMs > 3_600_000) {
    throw flagError("confirm", `a time from 1s to 1h, such as "60s"`, text);
  }
  return durationMs;
}

/** Puts the file's configuration in force; a file that is wrong changes nothing. */
async function reloadFrom(
  load: (boundPort: number) => Promise<ServerConfig>,
  { running, backend, reload, log }: {
    running: ServerConfig;
    backend: Backend;
    reload: (config: ServerConfig) => void;
    log: Log;
  },
): Promise<void> {
  try {
    const config = await load(running.udpPort);
    requireClosable(backend.name, config);
    const fixed = FIXED.filter(([key]) =>
      JSON.stringify(config[key]) !== JSON.stringify(running[key])
    );
    if (fixed.length > 0) {
      log.warn("restart_needed", {
        changed: fixed.map(([, name]) => `server.${name}`).join(","),
        doing: "going on with the old value",
      });
    }
    const { namedUdpPort, stateDir, firewall, command, mark } = running;
    reload({ ...config, namedUdpPort, stateDir, firewall, command, mark });
  } catch (error) {
    log.error("config_rejected", {
      ...errorFields(error),
      doing: "going on with the old configuration",
    });
  }
}

/** What a running server keeps, and how the file spells it. */
const FIXED = [
  ["namedUdpPort", "udp_port"],
  ["stateDir", "state_dir"],
  ["firewall", "firewall"],
  ["command", "command"],
  ["mark", "mark"],
] as const;
