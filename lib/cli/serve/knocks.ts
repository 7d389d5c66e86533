/** Where `serve` takes knocks from: a process of its own without rights where that can be had, otherwise this one. */

import type { Context } from "../context.ts";
import type { ServerConfig } from "../../config/server.ts";
import { SEPARATE_OFF, type Separation } from "../../control/requests.ts";
import { bindHealthPort, serveHealth } from "../../health/listener.ts";
import type { Listen } from "../../health/port.ts";
import { Intake, type KnockSink, type KnockSource } from "../../receive/intake.ts";
import { bindSoon } from "../../receive/socket.ts";
import type { CurrentStamps } from "../../receive/stamps.ts";
import { listenInProcess } from "../../separate/health.ts";
import { beginTaker } from "../../separate/knocks.ts";
import { networkNamespace } from "../../separate/namespace.ts";
import {
  fleetOriginOf,
  type Origin,
  originOf,
  type StartedProcess,
  startProcess,
  thisProgram,
} from "../../separate/process.ts";
import { messageOf, OpenmeError } from "../../values/errors.ts";
import type { Clock } from "../../values/moment.ts";
import { TokenBucket } from "../../values/token_bucket.ts";
import type { Log } from "../../system/log.ts";

/** How long a process that could not be used may still have the port. */
const FORMER_MS = 1000;

/** Lines that the processes write to standard error and the log has: those of one crash, and then a few a minute. */
const WORDS = { perSecond: 0.1, capacity: 20 };

/** The knock port, bound. Datagrams wait in the kernel. */
export interface KnockPort {
  readonly separation: Separation;
  /** Whether this process still has to open sockets, later. */
  readonly opensSockets: boolean;
  /** Starts another process without rights; `undefined` where this one does everything. */
  readonly startProcess: (() => Promise<StartedProcess>) | undefined;
  /** The same for a process that connects to the engine of a fleet; its messages may have so many bytes. */
  readonly startForFleet: ((mostBytes: number) => Promise<StartedProcess>) | undefined;
  /** Listens for requests on the health port, in the same way. */
  readonly listenForHealth: (clock: Clock) => Listen;
  readonly knocks: (
    sink: KnockSink,
    parts: { readonly stamps: CurrentStamps; readonly clock: Clock; readonly log: Log },
  ) => KnockSource;
  close(): Promise<void>;
}

/** What it takes to open the port. */
export interface KnockPortParts {
  readonly context: Pick<Context, "env" | "run">;
  readonly log: Log;
  readonly wildcards: readonly string[];
  /** A dry run is one process. */
  readonly isDry: boolean;
}

/** Binds the port; throws where another program has it. */
export async function openKnockPort(
  config: ServerConfig,
  { context, log, wildcards, isDry }: KnockPortParts,
): Promise<KnockPort> {
  const isOff = config.separate === "off" || isDry;
  const off = isDry ? "a dry run is one process" : SEPARATE_OFF;
  const origin = isOff ? { why: off } : await originOf(context);
  if (!("why" in origin)) {
    try {
      return await openInProcess(config, origin, { context, log, wildcards });
    } catch (cause) {
      if (cause instanceof OpenmeError && cause.code === "SOCKET") throw cause;
      return await openHere(config, wildcards, tellWhy(messageOf(cause), log));
    }
  }
  return await openHere(config, wildcards, isOff ? origin.why : tellWhy(origin.why, log));
}

async function openInProcess(
  config: ServerConfig,
  origin: Origin,
  { context, log, wildcards }: Omit<KnockPortParts, "isDry">,
): Promise<KnockPort> {
  const words = new TokenBucket(WORDS);
  const said = (line: string) => {
    if (words.take(1, performance.now()) === 1) log.warn("taker_said", { line });
  };
  const command = thisProgram();
  const fleet = config.fleet && fleetOriginOf(origin, context.env);
  const start = () => startProcess(origin, { said, command });
  const process = await start();
  const enlarged = process.enlargeBuffer();
  const begun = beginTaker(process.channel, {
    ...{ port: config.udpPort, wildcards, config },
    namespace: networkNamespace(),
  });
  const [knocks] = await Promise.all([begun, enlarged]).catch(async (cause) => {
    await process.kill();
    throw cause;
  });
  const isFleetHere = fleet === undefined || "why" in fleet;
  if (fleet && isFleetHere) {
    tellWhy(fleet.why, log, "connecting to the fleet's engine in this process");
  }
  return {
    separation: { separated: true, why: undefined },
    opensSockets: "socketPath" in origin, // to systemd, for the health port
    startProcess: start,
    startForFleet: isFleetHere
      ? undefined
      : (mostBytes) => startProcess(fleet, { said, command, mostBytes }),
    listenForHealth: (clock) => listenInProcess({ start, wildcards, clock }),
    knocks,
    close: async () => {
      process.channel.close();
      await process.kill();
    },
  };
}

async function openHere(
  config: ServerConfig,
  wildcards: readonly string[],
  why: string,
): Promise<KnockPort> {
  const socket = await bindSoon(FORMER_MS, config.udpPort, wildcards);
  return {
    separation: { separated: false, why },
    opensSockets: true,
    startProcess: undefined,
    startForFleet: undefined,
    listenForHealth: () => (port, source) => serveHealth(bindHealthPort(port, wildcards), source),
    knocks: (sink, { stamps, clock }) => new Intake(config, { socket, stamps, clock, sink }),
    close: () => Promise.resolve(socket.close()),
  };
}

function tellWhy(why: string, log: Log, doing = "reading datagrams in this process"): string {
  log.info("not_separated", { why, doing: `${doing}, which may change the firewall` });
  return why;
}
