/**
 * The server's life: state, guard, socket, and the way back. docs/protocol.md, "What the server does". What happens to
 * a datagram is in `pipeline.ts`. Nothing is ever sent.
 */

import { setImmediate } from "node:timers";
import type { Address } from "./values/address.ts";
import { type Clock, wallMsOf } from "./values/moment.ts";
import type { ServerConfig } from "./config/server.ts";
import { type Backend, isGuarding } from "./firewall/backend.ts";
import type { GuardPlan, Prefix } from "./firewall/plan.ts";
import { CHECK_INTERVAL_MS, Guard, type GuardReport } from "./firewall/guard.ts";
import { parsePlan, printPlan } from "./firewall/stored_plan.ts";
import { type KnockTags } from "./crypto/keys.ts";
import { knockTags, publicKeyOf } from "./crypto/sync.ts";
import { DropLog, limitLog } from "./receive/drop_log.ts";
import { type Grant, Grants } from "./grants.ts";
import { Intake, PACE_BATCHES, PACE_ONE_BY_ONE } from "./receive/scheduler.ts";
import { KnockQueue } from "./receive/queue.ts";
import { OpenmeError } from "./values/errors.ts";
import { KnownKeys } from "./receive/ephemeral_keys.ts";
import { errorFields, type Log, type LogFields } from "./system/log.ts";
import { type Opened, Pipeline } from "./receive/pipeline.ts";
import { formatNetwork, fullLength } from "./values/network.ts";
import { formatPortRange, subtractPortRanges } from "./values/ports.ts";
import type { RecentKnock } from "./values/health_report.ts";
import type { DropCounts } from "./receive/recent_drops.ts";
import { ReplayMemory } from "./replay.ts";
import { StateStore } from "./state/store.ts";
import type { KnockSocket } from "./receive/socket.ts";

/** How often ended grants are cleared away; the kernel has closed them by then. */
const TICK_MS = 1000;
const TEND_MS = 60_000;
const FORGET_GONE_MS = 3_600_000;
/** In how many seconds the kernel is asked what it has dropped, a program run each time: while it drops, and else. */
const KERNEL_DROPS_S = { dropping: 1, quiet: 10 };

/** What a server runs on. All of it is open already; {@linkcode runServer} closes the state and empties the firewall. */
export interface ServerParts {
  readonly config: ServerConfig;
  readonly socket: KnockSocket;
  readonly backend: Backend;
  /** A folder for this server alone. */
  readonly stateDir: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Stops the server. */
  readonly signal: AbortSignal;
  /** Called once knocks are taken; what it starts must end with `signal`. */
  readonly onListening?: (running: Running) => void;
  /** Without it the guard counts as confirmed. */
  readonly confirmation?: {
    /** Asked at the end, a failure too. Where it is `false`, all is put back as before, whatever `on_stop` says. */
    readonly isConfirmed: boolean;
    readonly onConfirmed: (listener: () => void) => void;
  } | undefined;
}

/** A running server, to those who act on it beside the knock port: configuration, control socket, health port. */
export interface Running {
  /** For what they have to say: limited in lines a second, together with the server's own. */
  readonly log: Log;
  /** What is in force now. */
  readonly config: () => ServerConfig;
  readonly grants: () => Iterable<Grant>;
  readonly grantsAt: (address: Address) => readonly Grant[];
  /** Whether the firewall has refused a grant so far. */
  readonly isRefused: (grant: Grant) => boolean;
  /** The latest knocks for the grant, the oldest first. */
  readonly knocksOf: (grant: Grant) => readonly RecentKnock[];
  /** Knocks of the last hour with a wrong or unknown key. */
  readonly recentDrops: () => DropCounts;
  /** What the firewall holds now. */
  readonly firewall: () => Promise<GuardReport>;
  /** Puts another configuration in force. */
  readonly reload: (config: ServerConfig) => void;
  /** Ends grants; resolves once the firewall has closed them. */
  readonly withdraw: (unwanted: (grant: Grant) => boolean, why: string) => Promise<Grant[]>;
  /** From now on `listener` is told of every grant, once the firewall has it. */
  readonly onOpened: (listener: (opened: Opened) => void) => void;
}

/**
 * Runs until `signal` aborts; gives whether a guard is left. Throws where it cannot begin, or where it can no longer
 * receive; then what stands of the guard stays, with the ports closed: only a stop that somebody wants opens them.
 */
export async function runServer(parts: ServerParts): Promise<boolean> {
  const { socket, backend, clock, signal } = parts;
  const { log, tick: renewLines } = limitLog(parts.log);
  const drops = new DropLog(parts.log);
  let config = parts.config;
  const replayWindowNs = () => BigInt(config.replayWindowMs) * 1_000_000n;
  const replay = new ReplayMemory();
  const grants = new Grants();
  const { store, stored } = StateStore.open({
    dir: parts.stateDir,
    replay,
    replayWindowNs: replayWindowNs(),
    clock,
    log,
  });
  const isConfirmed = () => parts.confirmation?.isConfirmed ?? true;
  /** The plan of the guard that a roll-back puts back, as text; "" is none. */
  const former = !isConfirmed() && await isGuarding(backend) ? stored.guard : "";
  const guard = new Guard({ backend, grants, clock, log });
  const listeners: ((opened: Opened) => void)[] = [];
  const opened = (each: Opened) => listeners.forEach((tell) => tell(each));
  const keys = new KnownKeys();
  const pipeline = new Pipeline(config, {
    keys,
    grants,
    replay,
    store,
    guard,
    clock,
    log,
    drops,
    opened,
  });
  const steadyMs = () => clock.now().steadyMs;
  const queue = new KnockQueue({
    tags: tagsOf(config),
    keys,
    steadyMs,
    dropped: (reason, source) => pipeline.drop(reason, source),
  });
  const intake = new Intake({
    queue,
    pace: socket.takesBatches ? PACE_BATCHES : PACE_ONE_BY_ONE,
    judge: (waiting) => pipeline.take(waiting),
    later: (idle) => pipeline.search(idle),
    drop: (reason, source) => pipeline.drop(reason, source),
    steadyMs,
    soon: (turn) => setImmediate(turn),
    afterSleep: (turn) => setTimeout(turn, 0),
  });
  pipeline.resume(stored);
  try {
    await guard.start();
  } catch (cause) {
    store.close();
    throw cause;
  }
  const tend = () => store.tend({ grants: grants.list(), replayWindowNs: replayWindowNs() });
  let summing: ReturnType<typeof setTimeout>;
  const sumUp = () => {
    drops.tick();
    renewLines();
    // An interval that was late makes up for it: here a second has to pass.
    summing = setTimeout(sumUp, TICK_MS);
  };
  summing = setTimeout(sumUp, TICK_MS);
  let kernelAskedIn = KERNEL_DROPS_S.quiet;
  const timers = [
    setInterval(() => {
      const now = clock.now();
      const ended = grants.takeExpired(now);
      for (const { client, address, expiresAtMs } of ended) {
        log.info("expired", { client, address: formatNetwork(address) });
        // The wall clock was set back, and a firewall that ends grants by their date (iptables) does not know.
        if (expiresAtMs > wallMsOf(now) + TICK_MS) guard.changed(address);
      }
      store.forgetGrants(ended);
      if (!store.isSound()) tend();
    }, TICK_MS),
    setInterval(tend, TEND_MS),
    setInterval(() =>
      store.forgetGone({
        isRegistered: (key) => pipeline.isRegistered(key),
        names: config.clients.map(({ name }) => name),
        replayWindowNs: replayWindowNs(),
      }), FORGET_GONE_MS),
    setInterval(() => guard.check(), CHECK_INTERVAL_MS),
    setInterval(() => {
      if (--kernelAskedIn !== 0) return; // below 0, an answer is due
      const ask = backend.kernelDrops?.().then((totals) => drops.kernelHas(totals));
      // Where it cannot be told, the guard's own check is about to say why.
      ask?.catch(() => false).then((dropping) => {
        kernelAskedIn = dropping ? KERNEL_DROPS_S.dropping : KERNEL_DROPS_S.quiet;
      });
    }, TICK_MS),
  ];
  const record = () => {
    if (isConfirmed()) store.recordGuard(printPlan(guardPlanOf(config)));
  };
  let leavesClosed = false;
  /** Whether what is granted stands in the firewall when this process has ended. */
  let grantsStand = true;
  try {
    store.settleFailures(wallMsOf(clock.now()));
    if (!backend.endsByKernel) {
      log.warn("grants_outlive_a_crash", {
        backend: backend.name,
        why: "this firewall ends nothing by itself; the next serve closes what a dead one left",
      });
    }
    const reload = (changed: ServerConfig) => {
      const [oldPlan, newPlan] = [guardPlanOf(config), guardPlanOf(changed)];
      warnOfPortsLeft(oldPlan, newPlan, log);
      config = changed;
      pipeline.reconfigure(changed);
      queue.retag(tagsOf(changed));
      if (JSON.stringify(oldPlan) !== JSON.stringify(newPlan)) guard.reconfigure(newPlan);
      record();
      log.info("reloaded", {
        ...portFields(changed, backend),
        clients: changed.clients.length,
        grants: grants.size,
      });
    };
    record();
    parts.confirmation?.onConfirmed(record);
    parts.onListening?.({
      log,
      config: () => config,
      grants: () => grants.list(),
      grantsAt: (address) => grants.at(address),
      firewall: () => guard.report(),
      isRefused: (grant) => pipeline.isRefused(grant),
      knocksOf: (grant) => pipeline.knocksOf(grant),
      recentDrops: () => pipeline.recentDrops(),
      reload,
      withdraw: (unwanted, why) => pipeline.withdraw(unwanted, why),
      onOpened: (listener) => void listeners.push(listener),
    });
    await warnOfOpenPorts(backend, log);
    log.info("listening", {
      udp_port: config.udpPort,
      backend: backend.name,
      drop_ports: config.dropPorts,
      ...portFields(config, backend),
      clients: config.clients.length,
      grants: grants.size,
    });
    await socket.listen({
      take: (datagram, source) => intake.offer(datagram, source),
      drained: () => intake.judgeNow(),
    }, signal);
    if (!signal.aborted) {
      throw new OpenmeError("SOCKET", "the knock socket was closed from elsewhere");
    }
  } catch (cause) {
    if (!signal.aborted) log.error("failed", { backend: backend.name, ...errorFields(cause) });
    throw cause;
  } finally {
    // The firewall comes first: nothing that fails in what else is to be closed may leave a guard that nobody confirmed.
    try {
      intake.stop();
      if (isConfirmed()) {
        leavesClosed = !signal.aborted || config.onStop === "closed";
        await guard.stop({ closed: leavesClosed });
        grantsStand = leavesClosed && backend.endsByKernel;
      } else {
        leavesClosed = await putBack(guard, former, log);
        grantsStand = false;
      }
      if (!leavesClosed) store.recordGuard("");
    } finally {
      timers.forEach(clearInterval);
      clearTimeout(summing);
      socket.close();
      store.close({ grantsStand });
    }
  }
  const closing = leavesClosed ? "left closed" : "removed";
  log.info("stopped", { backend: backend.name, guard: backend.name === "none" ? "none" : closing });
  return leavesClosed;
}

/** Puts back what stood before; gives whether that is a guard. What could not be put back is told only afterwards. */
async function putBack(guard: Guard, former: string, log: Log): Promise<boolean> {
  const plan = former === "" ? undefined : parsePlan(former);
  const stands = await guard.putBack(plan);
  if (former !== "" && plan === undefined) {
    log.error("former_guard_unreadable", {
      why: "what stood before was not written down as this openme writes it",
      did: "removed the guard instead",
    });
  }
  return stands;
}

/** The tags of the server's key, and of the one before it while a rotation is under way. */
function tagsOf({ publicKey, previousPrivateKey }: ServerConfig): KnockTags[] {
  const keys = previousPrivateKey
    ? [publicKey, publicKeyOf("X25519", previousPrivateKey)]
    : [publicKey];
  return keys.map(knockTags);
}

/** What of a configuration concerns the firewall. */
export function guardPlanOf(config: ServerConfig): GuardPlan {
  const { udpPort: knockPort, guardedPorts, forwardedPorts, dropPorts, closedAs } = config;
  const { openKnockPort, mark, interface: interfaceName } = config;
  return {
    knockPort,
    guardedPorts,
    forwardedPorts,
    dropPorts,
    closedAs,
    openKnockPort,
    interface: interfaceName,
    mark,
    prefixes: prefixesOf(config),
    lifetimeMs: config.knockTimeoutMs,
  };
}

/** For the log: what openme keeps closed, or else the ports that are others' to close. */
function portFields({ dropPorts, guardedPorts }: ServerConfig, { name }: Backend): LogFields {
  const ports = guardedPorts.map(formatPortRange).join(",");
  return dropPorts && name !== "none" ? { guarded: ports } : { ports };
}

/** Ports that openme has kept closed and closes no longer: whoever edits the file may not mean that. */
function warnOfPortsLeft(before: GuardPlan, after: GuardPlan, log: Log): void {
  if (!before.dropPorts) return;
  const left = subtractPortRanges(before.guardedPorts, after.dropPorts ? after.guardedPorts : []);
  if (left.length === 0) return;
  log.warn("ports_no_longer_guarded", {
    ports: left.map(formatPortRange).join(","),
    hint: after.dropPorts
      ? "to keep them closed, put them into a group under ports in the configuration"
      : "with drop_ports: false your own firewall has to close them",
  });
}

function prefixesOf({ clients }: ServerConfig): Prefix[] {
  const lengths = (family: 4 | 6, all: number[]) =>
    [...new Set(all)].filter((length) => length < fullLength(family)).sort((a, b) => a - b)
      .map((length) => ({ family, length }));
  return [
    ...lengths(4, clients.map(({ prefix }) => prefix.v4)),
    ...lengths(6, clients.map(({ prefix }) => prefix.v6)),
  ];
}

async function warnOfOpenPorts(backend: Backend, log: Log): Promise<void> {
  try {
    const open = await backend.openToEveryone();
    if (!open) return;
    log.warn("ports_open_to_everyone", {
      ports: open.ports.map(formatPortRange).join(","),
      why: open.why,
      hint: open.hint ?? "set drop_ports: true in the configuration, and openme closes them itself",
    });
  } catch (error) {
    log.warn("check_failed", errorFields(error));
  }
}
