/**
 * The server's life: state, guard, socket, and the way back. docs/protocol.md, "What the server does". What happens to
 * a datagram begins in `receive/intake.ts`.
 */

import type { Address } from "./values/address.ts";
import { OpenmeError } from "./values/errors.ts";
import type { RecentKnock } from "./values/health_report.ts";
import type { Clock } from "./values/moment.ts";
import { formatPortRange } from "./values/ports.ts";
import { errorFields, type Log, type LogFields } from "./system/log.ts";
import { repeat, type Task } from "./system/repeat.ts";
import { type Backend, isGuarding } from "./firewall/backend.ts";
import { CHECK_INTERVAL_MS, Guard, type GuardReport } from "./firewall/guard.ts";
import { warnOfOpenPorts, warnOfPortsLeft } from "./firewall/open_ports.ts";
import { type GuardPlan, printPlan } from "./firewall/plan.ts";
import { guardPlanOf } from "./config/guard_plan.ts";
import type { ServerConfig } from "./config/server.ts";
import type { SignedKnock } from "./gate.ts";
import { type Grant, Grants } from "./grants.ts";
import { ReplayMemory } from "./replay.ts";
import { StateStore } from "./state/store.ts";
import type { KnockSink, KnockSource } from "./receive/intake.ts";
import { Pipeline } from "./receive/pipeline.ts";
import type { Observer } from "./receive/observer.ts";
import type { DropCounts } from "./receive/recent_drops.ts";
import type { Opened } from "./receive/reporter.ts";
import { ServerLog } from "./receive/server_log.ts";
import type { CurrentStamps } from "./receive/stamps.ts";

const SECOND_MS = 1000;
const TEND_MS = 60_000;
/** Each time a program of the firewall is run, or two: an idle server starts at most six a minute. */
const KERNEL_DROPS_MS = 30_000;

/** What a server runs on. All of it is open already; {@linkcode runServer} closes the state and empties the firewall. */
export interface ServerParts {
  readonly config: ServerConfig;
  /** Where knocks come from. */
  readonly knocks: (sink: KnockSink) => KnockSource;
  readonly backend: Backend;
  /** A folder for this server alone. */
  readonly stateDir: string;
  /** Those that the backend puts into the firewall. */
  readonly stamps: CurrentStamps;
  readonly clock: Clock;
  readonly log: Log;
  /** Stops the server. */
  readonly signal: AbortSignal;
  /** Aborts with `signal` where another server follows at once: the guard stays, whatever `on_stop` says. */
  readonly restart?: AbortSignal;
  /** Called once knocks are taken; what it starts must end with `signal`. */
  readonly onListening?: (running: Running) => void;
  /** Without it the guard counts as confirmed. */
  readonly confirmation?: {
    /** Read at the end, after a failure too. If it is `false`, the former guard is put back and `on_stop` is ignored. */
    readonly isConfirmed: boolean;
    readonly onConfirmed: (listener: () => void) => void;
  } | undefined;
}

/** A running server, as the control socket, the health port and the watch on the configuration see it. */
export interface Running {
  /** Limited in lines a second, together with the server's own. */
  readonly log: Log;
  /** The configuration in force. */
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
  /** From now on `listener` is told of every knock that lets somebody in. */
  readonly onGranted: (listener: (knock: SignedKnock) => void) => void;
  /** From now on this one is told of everything. */
  readonly observe: (observer: Observer) => void;
  /** Whether everything is on disk, and how many changes wait for the firewall. */
  readonly condition: () => { readonly isSound: boolean; readonly waiting: number };
}

/**
 * Runs until `signal` aborts; returns whether a guard is left. Throws where it cannot begin, or where it can no longer
 * receive; then what stands of the guard stays, with the ports closed: only a stop that was asked for opens them.
 */
export async function runServer(parts: ServerParts): Promise<boolean> {
  const { backend, signal, log } = parts;
  const server = new Server(parts);
  await server.start();
  let leavesGuard: boolean;
  try {
    await server.run();
  } catch (cause) {
    if (!signal.aborted) log.error("failed", { backend: backend.name, ...errorFields(cause) });
    throw cause;
  } finally {
    leavesGuard = await server.stop();
  }
  const guard = backend.name === "none" ? "none" : leavesGuard ? "left closed" : "removed";
  log.info("stopped", { backend: backend.name, guard });
  return leavesGuard;
}

class Server {
  readonly #parts: ServerParts;
  readonly #serverLog: ServerLog;
  readonly #log: Log;
  readonly #grants = new Grants();
  readonly #store: StateStore;
  readonly #guard: Guard;
  readonly #pipeline: Pipeline;
  readonly #knocks: KnockSource;
  #config: ServerConfig;
  /** The plan of the guard that was in force, as text; "" for none. */
  readonly #storedPlan: string;
  /** What is put back if this guard is not confirmed. Without a plan it could not be read. */
  #former: { readonly plan: GuardPlan | undefined } | undefined;
  #stopTasks = () => {};

  /** Opens the state, and resumes the grants in it; touches no firewall. */
  constructor(parts: ServerParts) {
    const { config, backend, clock } = parts;
    this.#parts = parts;
    this.#config = config;
    const drops = this.#serverLog = new ServerLog(parts.log);
    const log = this.#log = drops.log;
    const grants = this.#grants;
    const replay = new ReplayMemory();
    const replayWindowNs = this.#replayWindowNs;
    const { store, stored } = StateStore.open({
      ...{ dir: parts.stateDir, replay, replayWindowNs, clock, log },
    });
    this.#store = store;
    this.#storedPlan = stored.guard;
    const guard = this.#guard = new Guard({ backend, grants, clock, log });
    const pipeline = this.#pipeline = new Pipeline(config, {
      ...{ grants, replay, store, guard, clock, log, drops },
      canExtend: backend.activity !== undefined,
      accepted: (key, source) => this.#knocks.accepted(key, source),
    });
    this.#knocks = parts.knocks(pipeline);
    pipeline.resume(stored);
  }

  get #replayWindowNs(): bigint {
    return BigInt(this.#config.replayWindowMs) * 1_000_000n;
  }

  get #isConfirmed(): boolean {
    return this.#parts.confirmation?.isConfirmed ?? true;
  }

  /** Closes the guarded ports. */
  async start(): Promise<void> {
    try {
      if (this.#storedPlan && !this.#isConfirmed && await isGuarding(this.#parts.backend)) {
        // Loaded now: at the end nothing else may fail before the guard is put back.
        const { parsePlan } = await import("./firewall/stored_plan.ts");
        this.#former = { plan: parsePlan(this.#storedPlan) };
      }
      await this.#guard.start();
    } catch (cause) {
      this.#store.close();
      throw cause;
    }
  }

  /** Takes knocks until the signal aborts. */
  async run(): Promise<void> {
    const { backend, signal, confirmation, onListening } = this.#parts;
    const config = this.#config;
    this.#stopTasks = repeat(this.#tasks());
    this.#store.settleFailures();
    if (!backend.endsByKernel) {
      this.#log.warn("grants_outlive_a_crash", {
        backend: backend.name,
        why: "this firewall ends nothing by itself; the next serve closes what a dead one left",
      });
    }
    this.#recordGuard();
    confirmation?.onConfirmed(() => this.#recordGuard());
    onListening?.(this.#running());
    await warnOfOpenPorts(backend, this.#log);
    this.#log.info("listening", {
      udp_port: config.udpPort,
      backend: backend.name,
      drop_ports: config.dropPorts,
      ...this.#countFields(),
    });
    await this.#knocks.listen(signal);
    if (!signal.aborted) {
      throw new OpenmeError("SOCKET", "the knock socket was closed from elsewhere");
    }
  }

  /**
   * The firewall comes first: nothing that fails while the rest is closed may leave a guard that is not confirmed.
   * Returns whether a guard is left.
   */
  async stop(): Promise<boolean> {
    const { backend, signal, restart } = this.#parts;
    /** Whether grants stand in the firewall when this process has ended. */
    let grantsStand = true;
    try {
      this.#knocks.stop();
      let leavesGuard: boolean;
      if (this.#isConfirmed) {
        const isRestart = restart?.aborted ?? false;
        leavesGuard = !signal.aborted || isRestart || this.#config.onStop === "closed";
        await this.#guard.stop({ closed: leavesGuard });
        grantsStand = leavesGuard && backend.endsByKernel;
      } else {
        leavesGuard = await this.#putBack();
        grantsStand = false;
      }
      if (!leavesGuard) this.#store.recordGuard("");
      return leavesGuard;
    } finally {
      this.#stopTasks();
      this.#store.close({ grantsStand });
      await this.#knocks.close();
    }
  }

  /** Puts back the guard of before; returns whether it stands. What could not be put back is told only afterwards. */
  async #putBack(): Promise<boolean> {
    const stands = await this.#guard.putBack(this.#former?.plan);
    if (this.#former && !this.#former.plan) {
      this.#log.error("former_guard_unreadable", {
        why: "what stood before was not written down as this openme writes it",
        did: "removed the guard instead",
      });
    }
    return stands;
  }

  #tasks(): readonly Task[] {
    const { backend } = this.#parts;
    /** Where the backend cannot tell, the guard's own check says why. */
    const kernelDrops = async () => this.#serverLog.kernelHas(await backend.kernelDrops?.() ?? {});
    return [
      { everyMs: SECOND_MS, do: () => this.#serverLog.tick() },
      { everyMs: SECOND_MS, do: () => this.#pipeline.expire() },
      { everyMs: SECOND_MS, do: () => this.#store.isSound() || this.#tend() },
      { everyMs: SECOND_MS, do: () => this.#restamp() },
      { everyMs: TEND_MS, do: () => this.#tend() },
      { everyMs: CHECK_INTERVAL_MS, do: () => this.#guard.check() },
      { everyMs: CHECK_INTERVAL_MS, do: () => this.#learnActivity().catch(() => {}) },
      { everyMs: KERNEL_DROPS_MS, do: () => kernelDrops().catch(() => {}) },
    ];
  }

  async #learnActivity(): Promise<void> {
    if ([...this.#grants.list()].every(({ extended }) => !extended)) return;
    const { learnActivity } = await import("./receive/activity.ts");
    const parts = { ...this.#parts, grants: this.#grants, store: this.#store };
    await learnActivity({ ...parts, activeMs: this.#config.knockTimeoutMs });
  }

  #tend(): void {
    this.#store.tend({ grants: this.#grants.list(), replayWindowNs: this.#replayWindowNs });
  }

  #restamp(): void {
    const { stamps, clock } = this.#parts;
    const now = clock.now();
    if (!stamps.isDue(now)) return;
    stamps.renew(now);
    this.#guard.restamp();
  }

  /** Until it is confirmed, the plan of the guard of before stays on disk. */
  #recordGuard(): void {
    if (this.#isConfirmed) this.#store.recordGuard(printPlan(guardPlanOf(this.#config)));
  }

  #reload(config: ServerConfig): void {
    const [oldPlan, newPlan] = [guardPlanOf(this.#config), guardPlanOf(config)];
    warnOfPortsLeft(oldPlan, newPlan, this.#log);
    this.#config = config;
    this.#parts.stamps.reconfigure(config, this.#parts.clock.now());
    const inForce = this.#knocks.reconfigure(config);
    this.#pipeline.reconfigure(config);
    if (printPlan(oldPlan) !== printPlan(newPlan)) this.#guard.reconfigure(newPlan);
    else this.#guard.restamp();
    this.#recordGuard();
    // Who reads it may count on it: a client that was added is let in from here on.
    inForce.then(() => this.#log.info("reloaded", this.#countFields()));
  }

  /** For the log: what openme keeps closed, or else the ports that are others' to close, and how many use them. */
  #countFields(): LogFields {
    const { dropPorts, guardedPorts, clients } = this.#config;
    const ports = guardedPorts.map(formatPortRange).join(",");
    return {
      ...(dropPorts && this.#parts.backend.name !== "none" ? { guarded: ports } : { ports }),
      clients: clients.length,
      grants: this.#grants.size,
    };
  }

  #running(): Running {
    const pipeline = this.#pipeline;
    return {
      log: this.#log,
      config: () => this.#config,
      grants: () => this.#grants.list(),
      grantsAt: (address) => this.#grants.at(address),
      firewall: () => this.#guard.report(),
      isRefused: (grant) => pipeline.knocks.isRefused(grant),
      knocksOf: (grant) => pipeline.knocks.of(grant),
      recentDrops: () => pipeline.reporter.recentDrops(),
      reload: (config) => this.#reload(config),
      withdraw: (unwanted, why) => pipeline.withdraw(unwanted, why),
      onOpened: (listener) => pipeline.reporter.onOpened(listener),
      onGranted: (listener) => pipeline.onGranted(listener),
      observe: (observer) => this.#serverLog.observer = observer,
      condition: () => ({ isSound: this.#store.isSound(), waiting: this.#guard.waiting }),
    };
  }
}
