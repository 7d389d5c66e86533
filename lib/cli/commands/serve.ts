/** `openme serve`: opens everything in order, runs the server, and closes it all in reverse. */

import { backendOf } from "../backend_of.ts";
import { Confirmation, nothingToConfirm } from "../serve/confirmation.ts";
import { answerHost, fleetControl, joinFleet, openRevokedKeys } from "../serve/fleet.ts";
import { type KnockPort, openKnockPort } from "../serve/knocks.ts";
import { reloadFrom } from "../serve/reload.ts";
import { restartSignal } from "../serve/restart.ts";
import { listenForHangup, lookAtTerminal } from "../serve/terminal.ts";
import { DryState } from "../serve/dry_run.ts";
import { tellOfUnstamped, warnAtStart } from "../serve/start_checks.ts";
import { interfaceFlag, withInterface } from "../flags.ts";
import { loadServerConfig, reloadServerConfig } from "../load.ts";
import {
  type Arguments,
  type Command,
  configPath,
  type Context,
  durationFlag,
  logOf,
  textFlag,
} from "../context.ts";
import type { MetricsAddress } from "../../config/metrics.ts";
import { type ServerConfig, unguardable } from "../../config/server.ts";
import { identifyConfig } from "../../system/config_files.ts";
import { watchConfig } from "../../system/config_watch.ts";
import { bindControl, type ControlSocket, serveControl } from "../../control/socket.ts";
import { controlHandler } from "../../control/requests.ts";
import { openGeneration } from "../../firewall/host/generation.ts";
import { openLegacyRules } from "../../firewall/host/legacy_rules.ts";
import { openKernelSets } from "../../firewall/nft/kernel_sets.ts";
import { messageOf, OpenmeError } from "../../values/errors.ts";
import { requirePrograms } from "../../firewall/command/line.ts";
import { createDryBackend } from "../../firewall/none.ts";
import { keepHealthListener } from "../../health/port.ts";
import { LineWriter } from "../../system/line_writer.ts";
import { errorFields, type Log, withFields } from "../../system/log.ts";
import { notifyOfGrants } from "../../control/notify.ts";
import { readingProc } from "../../system/proc_reader.ts";
import { runServer } from "../../server.ts";
import { makeStateDir } from "../../state/directory.ts";
import { takeLock } from "../../state/lock.ts";
import { bootClock } from "../../system/clock.ts";
import { wildcards } from "../../receive/socket.ts";
import { CurrentStamps } from "../../receive/stamps.ts";

export const serve: Command = {
  about:
    `Guards the ports of this host and takes knocks, until it is stopped (SIGINT, SIGTERM). A changed
configuration is read at once, or on SIGHUP; one that is wrong changes nothing. Where it was
started on a terminal, SIGHUP says that the terminal is gone: it goes on. SIGUSR1 stops it for a
restart: the ports stay closed, whatever on_stop says, and grants go on. Where it can, it lets a
second process, without rights, read what strangers send (server.separate).`,
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
  run: async (args, given) => {
    const context = { ...given, run: readingProc(given.run) };
    const isDry = args.values["dry-run"] === true;
    const confirmMs = durationFlag(args, "confirm", { minMs: 1000, maxMs: 3_600_000 });
    // What is opened is closed in reverse: the lock after the sockets, and last the log is written out.
    await using open = new AsyncDisposableStack();
    const lines = open.adopt(newLineWriter(context), (lines) => lines.flush(FLUSH_MS));
    const log = withFields(
      logOf(args, { stderr: (line, level) => lines.write(context.forStderr(line, level)) }),
      isDry ? { dry_run: true } : {},
    );
    const file = configFile(args, log);
    const read = await file.load();
    if (read.command) requirePrograms(read.command);
    const stateDir = textFlag(args, "state-dir") ?? read.stateDir;

    // Lock and sockets before the firewall: a second `serve` must fail while nothing has been touched.
    makeStateDir(stateDir);
    const hint = `openme plan --config ${file.path} shows what a changed file would do`;
    open.adopt(takeLock(stateDir, isDry ? { hint } : {}), (lock) => lock.release());
    const revoked = await openRevokedKeys(stateDir, read);
    const withoutRevoked = async (config: ServerConfig) => {
      if (!isDry) await revoked?.forgetGone(config);
      return revoked?.without(config) ?? config;
    };
    const config = await withoutRevoked(read);
    const control = bindControlSocket(stateDir, { isNeeded: confirmMs !== undefined, log });
    open.defer(() => control?.close());
    const hostnames = await wildcards(context.run);
    const opening = openKnockPort(config, { context, log, wildcards: hostnames, isDry });
    const port = open.adopt(await opening, (port) => port.close());
    const metrics = config.metrics && !isDry
      ? open.adopt(await openMetrics(config.metrics, port, log), (metrics) => metrics.close())
      : undefined;
    const readGeneration = openGeneration();
    const quickSets = openKernelSets();
    const readLegacyTable = openLegacyRules();
    const { opensSockets } = port;
    await context.keepPermissions([
      ...PERMISSIONS_ONCE_BOUND,
      ...opensSockets || config.fleet && !port.startForFleet ? NET : [],
    ]);
    const dry = isDry ? open.use(new DryState(stateDir)) : undefined;

    const terminal = await lookAtTerminal(context.run);
    const restart = restartSignal();
    const stop = AbortSignal.any([
      context.stopSignal(() => confirmation?.isConfirmed === false),
      restart,
    ]);
    const confirmation: Confirmation | undefined = confirmMs === undefined ? undefined : open.use(
      new Confirmation({
        timeoutMs: confirmMs,
        stop,
        log,
        show: terminal.isWatched ? (text) => lines.showStatus(text) : undefined,
      }),
    );
    const onHangup = listenForHangup(terminal.isControlling, log);

    const clock = await bootClock(context.run);
    const stamps = new CurrentStamps(config, clock.now());
    const backend = await backendOf(config, {
      context,
      log,
      stateDir,
      quickSets,
      readGeneration,
      stamps: () => stamps.list(clock.now()),
      readLegacyTable,
      show: isDry ? context.stdout : undefined,
    });
    await warnAtStart(config, {
      backend,
      log,
      context,
      isDry,
      isTrial: confirmation !== undefined,
    });
    const joining = joinFleet(config, { clock, log, isDry, start: port.startForFleet });
    const fleet = open.adopt(await joining, (fleet) => fleet?.close())?.fleet;
    const signal = confirmation?.signal ?? stop;
    // What runs beside the server ends with it, also where it fails.
    const end = new AbortController();
    open.defer(() => end.abort());
    const beside = AbortSignal.any([signal, end.signal]);
    await runServer({
      config,
      knocks: (sink) => port.knocks(fleet?.over(sink) ?? sink, { stamps, clock, log }),
      backend: isDry ? createDryBackend(backend) : backend,
      stateDir: dry?.dir ?? stateDir,
      stamps,
      clock,
      log,
      signal,
      restart,
      confirmation,
      onListening: (running) => {
        const { run } = context;
        const { log } = running;
        const reload = (config: ServerConfig) => {
          fleet?.reconfigure(config);
          running.reload(config);
        };
        const load: typeof file.load = async (running) =>
          await withoutRevoked(await file.load(running));
        const changes = { started: config, backend, running: { ...running, reload } };
        const changed = () => reloadFrom(load, changes);
        const watch = watchConfig(file.path, file.known, changed, beside);
        onHangup(watch.read);
        if (control) {
          const confirm = () => {
            if (!confirmation) throw nothingToConfirm();
            confirmation.confirm();
          };
          const separation = () => port.separation;
          const handle = controlHandler(running, {
            ...{ stateDir, run, lookAtConfig: watch.look, confirm, separation },
            fleet: fleet && fleetControl(fleet, { config: running.config, clock }),
          });
          if (fleet) {
            const answering = { stateDir, revoked, handle, reload };
            fleet.onAsked((request, by) => answerHost(request, running, answering, by));
          }
          serveControl(control, { handle, log, signal: beside });
        }
        if (fleet) {
          running.onGranted((knock) => fleet.granted(knock));
          fleet.run(beside);
        }
        notifyOfGrants(running, { run, log });
        if (!isDry) {
          tellOfUnstamped(config, { backend, log })
            .catch((error) => log.warn("check_failed", errorFields(error)));
        }
        keepHealthListener({
          ...{ running, clock, log, signal: beside },
          listen: port.listenForHealth(clock),
        });
        metrics?.serve({
          ...{ running, clock, signal: beside },
          fleet: fleet && (() => fleet.figures()),
        });
        confirmation?.begin();
      },
    });
    return confirmation?.hasFailed ? 1 : 0;
  },
};

/** Loaded here: a server without metrics has no use for the library. */
async function openMetrics(address: MetricsAddress, port: KnockPort, log: Log) {
  const { MetricsPort } = await import("../serve/metrics.ts");
  return await MetricsPort.open({ address, start: port.startProcess, log });
}

/** How long a reader of the log that hangs may delay the end. */
const FLUSH_MS = 1000;

/** Foreign functions are for binding, and for opening what reads /proc and the state of the rules. */
const PERMISSIONS_ONCE_BOUND = ["read", "write", "run", "env", "sys"] as const;
const NET = ["net"] as const;

function newLineWriter({ forStderr }: Context): LineWriter {
  return new LineWriter(Deno.stderr, {
    lost: (lines) => forStderr(`openme: warning: ${lines} lines of the log could not be written`),
  });
}

/** The configuration file: how it is read, and its identity before the first read, by which a change is noticed. */
function configFile(args: Arguments, log: Log) {
  const path = configPath(args);
  const interfaceName = interfaceFlag(args);
  const load = async (running?: Parameters<typeof reloadServerConfig>[1]) => {
    const config = running
      ? await reloadServerConfig(path, running)
      : (await loadServerConfig(path)).config;
    for (const why of unguardable(config)) log.warn("never_guarded", { why });
    return withInterface(config, interfaceName);
  };
  return { path, known: identifyConfig(path), load };
}

/** The control socket. Where it cannot be made, openme runs without; throws `OpenmeError` where it `isNeeded`. */
function bindControlSocket(
  stateDir: string,
  { isNeeded, log }: { isNeeded: boolean; log: Log },
): ControlSocket | undefined {
  try {
    return bindControl(stateDir);
  } catch (cause) {
    if (isNeeded) {
      throw new OpenmeError("STATE", messageOf(cause), {
        hint: "openme confirm needs it; choose another folder: openme serve --state-dir DIR",
        cause,
      });
    }
    log.warn("control_unavailable", errorFields(cause));
    return undefined;
  }
}
