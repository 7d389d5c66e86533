/**
 * Keeps a backend in step with the grants: changes are gathered while a run is under way and made in one go, a run that
 * hangs keeps nobody else waiting, what fails is repaired whole, and what somebody else took away is put back. Knows
 * grants, not knocks.
 */

import { pause } from "../system/clock.ts";
import type { Clock } from "../values/moment.ts";
import type { AddressOpenings, Grants } from "../grants.ts";
import { messageOf } from "../values/errors.ts";
import { errorFields, type Log } from "../system/log.ts";
import { formatNetwork, type Network } from "../values/network.ts";
import {
  type Backend,
  type ClientOpenings,
  type Examination,
  LivingOwnerError,
  type OpenPorts,
  PartlyFailed,
} from "./backend.ts";
import type { GuardPlan } from "./plan.ts";

/** How often the guard looks whether its rules are still in place. Half of what is promised (10 s). */
export const CHECK_INTERVAL_MS = 4000;
/** A run that takes longer than this hangs, for all that others can tell: they no longer wait for it. */
const PATIENCE_MS = 300;
/** How often the removal of an unconfirmed guard is tried, and how long to wait in between. */
const REMOVE_TRIES = 3;
const RETRY_MS = 1000;
/** Runs at a time, all but one of which hang. */
const MOST_RUNS = 8;
/** Whose knocks at one address are told what becomes of them; while a firewall fails for long, the oldest are not. */
const MOST_KNOCKS = 1024;

/** Who asked for a change, and wants to know what became of it. */
export interface Watcher {
  /** The firewall has it. */
  readonly done: () => void;
  /** The firewall refused it; it is tried again, and `failed` may be called each time, until `done` is. */
  readonly failed?: () => void;
}

/** What the firewall holds at a moment, for people. */
export interface GuardReport {
  readonly backend: string;
  /** Whether all is as the guard put it; `true` also where the backend cannot tell. */
  readonly isIntact: boolean;
  readonly examination: Examination | undefined;
  /** Guarded ports that everyone can reach in spite of the guard, as far as the backend can tell. */
  readonly open: OpenPorts | undefined;
  /** What went wrong and has not been made up for, or why nothing could be looked at. */
  readonly failure: string | undefined;
}

interface Waiting {
  readonly address: Network;
  readonly watchers: Watcher[];
}

/** The edge between the grants and one backend. */
export class Guard {
  readonly #backend: Backend;
  readonly #grants: Grants;
  readonly #clock: Clock;
  readonly #log: Log;
  /** Addresses whose openings are not in the firewall yet, and whom to tell when they are. */
  #waiting = new Map<string, Waiting>();
  /** Addresses that a run is busy with: the next change of one waits for that run, or the older could come out last. */
  readonly #busy = new Set<string>();
  readonly #runs = new Set<Promise<void>>();
  #mostRuns = 1;
  /** Whether the firewall may not be as it should: then all of it is put in place anew. */
  #broken = false;
  /** Whether it is time to try that (again). */
  #repairDue = false;
  /** Whether that is because something went wrong, and not because another plan is in force. */
  #damaged = false;
  /** Counts what puts the whole in place anew: what was seen before says nothing of what stands after it. */
  #renewals = 0;
  /** While a repair runs: what other runs changed meanwhile, and the repair may have overwritten. */
  #duringRepair: Map<string, Network> | undefined;
  #checking: Promise<void> | undefined;
  #stopped = false;
  /** Why the last repair failed, until one succeeds. */
  #failure: string | undefined;

  constructor(
    { backend, grants, clock, log }: { backend: Backend; grants: Grants; clock: Clock; log: Log },
  ) {
    this.#backend = backend;
    this.#grants = grants;
    this.#clock = clock;
    this.#log = log;
  }

  /**
   * Puts the guard in place with all grants in force. Throws where the backend cannot; then what it got done is taken
   * out again, unless there was a guard before: that one stays, or what has become of it.
   */
  async start(): Promise<void> {
    // Where nobody can tell, nothing is opened.
    const stood = await this.#backend.list().then((list) => list !== undefined, () => true);
    try {
      await this.#backend.install(this.#allOpenings());
    } catch (cause) {
      this.#stopped = true;
      if (!stood && !(cause instanceof LivingOwnerError)) await this.#takeBack();
      throw cause;
    }
  }

  async #takeBack(): Promise<void> {
    try {
      await this.#backend.remove();
    } catch (error) {
      this.#log.error("remove_failed", { backend: this.#backend.name, ...errorFields(error) });
    }
  }

  /** The openings of this address or network have changed; `watcher` is told once the firewall has them. */
  changed(address: Network, watcher?: Watcher): void {
    this.#enqueue(formatNetwork(address), { address, watchers: watcher ? [watcher] : [] });
    this.#repairDue = this.#broken;
    this.#pump();
  }

  /** From now on this is guarded; what is established goes on. */
  reconfigure(plan: GuardPlan): void {
    this.#backend.reconfigure(plan);
    this.#renewals++;
    this.#renewSoon();
  }

  /** Looks whether everything is in place, and puts it back where not. One look at a time: a program may hang. */
  check(): Promise<void> {
    return this.#checking ??= this.#check().finally(() => {
      this.#checking = undefined;
    });
  }

  /** Looks at the firewall, and changes nothing. */
  async report(): Promise<GuardReport> {
    await this.#idle();
    const backend = this.#backend;
    const nothing = { backend: backend.name, examination: undefined, open: undefined };
    try {
      const isIntact = await backend.isIntact();
      const examination = await backend.examine();
      const open = await backend.openToEveryone();
      return { backend: backend.name, isIntact, examination, open, failure: this.#failure };
    } catch (error) {
      return { ...nothing, isIntact: false, failure: this.#failure ?? messageOf(error) };
    }
  }

  async #check(): Promise<void> {
    await this.#idle();
    if (this.#stopped) return;
    if (this.#broken) return this.#renewSoon();
    const renewals = this.#renewals;
    const isOver = () => this.#stopped || this.#renewals !== renewals;
    try {
      if (await this.#backend.isIntact() || isOver()) return;
      this.#log.warn("rules_missing", { backend: this.#backend.name, doing: "putting them back" });
    } catch (error) {
      if (isOver()) return;
      this.#log.error("check_failed", { backend: this.#backend.name, ...errorFields(error) });
    }
    this.#damaged = true;
    this.#renewSoon();
    await this.#idle();
  }

  /**
   * Lets the runs under way end; then takes everything out or, with `closed`, leaves the guard as it stands. Throws where
   * the backend cannot.
   */
  async stop({ closed = false }: { closed?: boolean } = {}): Promise<void> {
    await this.#quiesce();
    if (closed) await this.#backend.leave();
    else await this.#backend.remove();
  }

  /**
   * Puts back what stood before this guard: `former` or, where that is `undefined` or cannot be put back, nothing at all.
   * Gives whether `former` stands. Throws where not even the removal works.
   */
  async putBack(former: GuardPlan | undefined): Promise<boolean> {
    await this.#quiesce();
    let failure: unknown;
    if (former) {
      try {
        this.#backend.reconfigure(former);
        await this.#backend.install([]);
        await this.#backend.leave();
        return true;
      } catch (cause) {
        failure = cause;
      }
    }
    await this.#removeSurely();
    if (former) {
      this.#log.error("former_guard_failed", {
        ...errorFields(failure),
        did: "removed the guard instead",
      });
    }
    return false;
  }

  /** A guard that nobody confirmed must go: a program that failed once, as beside a busy host, is run again. */
  async #removeSurely(): Promise<void> {
    for (let tries = 1;; tries++) {
      try {
        return await this.#backend.remove();
      } catch (cause) {
        if (tries === REMOVE_TRIES) throw cause;
        this.#log.error("remove_failed", {
          backend: this.#backend.name,
          ...errorFields(cause),
          doing: "trying again",
        });
        await pause(RETRY_MS);
      }
    }
  }

  /** No run starts any more, and those under way have ended: each has a deadline. */
  async #quiesce(): Promise<void> {
    this.#stopped = true;
    await this.#checking?.catch(() => {});
    await this.#idle();
  }

  async #idle(): Promise<void> {
    while (this.#runs.size > 0) await Promise.allSettled(this.#runs);
  }

  #renewSoon(): void {
    this.#broken = true;
    this.#repairDue = true;
    this.#pump();
  }

  /** Starts a run, where there is something to do and none that can be waited for. */
  #pump(): void {
    while (!this.#stopped && this.#runs.size < this.#mostRuns) {
      const work = this.#next();
      if (!work) return;
      const run = this.#watch(work).finally(() => {
        this.#runs.delete(run);
        this.#pump();
      });
      this.#runs.add(run);
    }
  }

  #next(): (() => Promise<void>) | undefined {
    const repairing = this.#duringRepair !== undefined;
    if (this.#broken && !repairing) {
      return this.#repairDue ? () => this.#repair() : undefined;
    }
    const taken = this.#take((address) => !this.#busy.has(address));
    return taken.size > 0 ? () => this.#change(taken) : undefined;
  }

  /** While a run hangs, there may be one more. */
  async #watch(work: () => Promise<void>): Promise<void> {
    let hangs = false;
    const timer = setTimeout(() => {
      if (this.#mostRuns === MOST_RUNS) return;
      hangs = true;
      this.#mostRuns++;
      this.#pump();
    }, PATIENCE_MS);
    try {
      await work();
    } finally {
      clearTimeout(timer);
      if (hangs) this.#mostRuns--;
    }
  }

  async #change(taken: Map<string, Waiting>): Promise<void> {
    for (const [text, { address }] of taken) {
      this.#busy.add(text);
      this.#duringRepair?.set(text, address);
    }
    try {
      // The time left is reckoned when the rule is written, not when the knock came.
      const now = this.#clock.now();
      await this.#backend.apply(
        [...taken.values()].map(({ address }) =>
          this.#withClients(this.#grants.openingsOf(address, now))
        ),
      );
      tellDone(taken);
    } catch (error) {
      this.#log.warn("change_failed", {
        backend: this.#backend.name,
        doing: "installing all rules anew",
        ...errorFields(error),
      });
      for (const [text, waiting] of notDone(taken, error)) this.#enqueueAgain(text, waiting);
      this.#damaged = true;
      this.#broken = true;
      this.#repairDue = true;
    } finally {
      for (const text of taken.keys()) this.#busy.delete(text);
    }
  }

  /**
   * Whatever failed, or is to be otherwise from now on, the whole is known: puts it all in place anew, with the time that
   * every grant has left.
   */
  async #repair(): Promise<void> {
    const taken = this.#take(() => true);
    this.#repairDue = false;
    this.#broken = false;
    const wasDamaged = this.#damaged;
    this.#damaged = false;
    this.#renewals++;
    const meanwhile = this.#duringRepair = new Map<string, Network>();
    try {
      await this.#backend.install(this.#allOpenings());
      this.#failure = undefined;
      if (wasDamaged) {
        this.#log.info("rules_restored", {
          backend: this.#backend.name,
          grants: this.#grants.size,
        });
      }
      tellDone(taken);
    } catch (error) {
      this.#broken = true;
      this.#damaged = true;
      this.#failure = messageOf(error);
      this.#log.error("firewall_failed", {
        backend: this.#backend.name,
        reason: "backend",
        ...errorFields(error),
      });
      // Their grants stand: the next check or the next knock tries again with all of them.
      for (const [text, waiting] of notDone(taken, error)) {
        for (const { failed } of waiting.watchers) failed?.();
        this.#enqueueAgain(text, waiting);
      }
    } finally {
      this.#duringRepair = undefined;
    }
    for (const [text, address] of meanwhile) this.#enqueue(text, { address, watchers: [] });
  }

  #take(wanted: (address: string) => boolean): Map<string, Waiting> {
    const taken = new Map([...this.#waiting].filter(([text]) => wanted(text)));
    for (const text of taken.keys()) this.#waiting.delete(text);
    return taken;
  }

  #enqueue(text: string, { address, watchers }: Waiting): void {
    const before = this.#waiting.get(text)?.watchers ?? [];
    this.#waiting.set(text, { address, watchers: bounded([...before, ...watchers]) });
  }

  /** What failed is older than what has come meanwhile. */
  #enqueueAgain(text: string, { address, watchers }: Waiting): void {
    const meanwhile = this.#waiting.get(text)?.watchers ?? [];
    this.#waiting.set(text, { address, watchers: bounded([...watchers, ...meanwhile]) });
  }

  #allOpenings(): ClientOpenings[] {
    return this.#grants.allOpenings(this.#clock.now()).map((each) => this.#withClients(each));
  }

  #withClients(openings: AddressOpenings): ClientOpenings {
    return { ...openings, clients: this.#grants.clientsAt(openings.address) };
  }
}

/** Without the oldest knocks, where there are too many; whoever waits for a closing has no `failed`, and stays. */
function bounded(watchers: Watcher[]): Watcher[] {
  let excess = watchers.length - MOST_KNOCKS;
  return excess <= 0 ? watchers : watchers.filter(({ failed }) => !failed || excess-- <= 0);
}

function tellDone(taken: ReadonlyMap<string, Waiting>): void {
  for (const { watchers } of taken.values()) for (const { done } of watchers) done();
}

/** What of a failed call has to be tried again; all else is done, and told so. */
function notDone(taken: Map<string, Waiting>, error: unknown): Map<string, Waiting> {
  if (!(error instanceof PartlyFailed)) return taken;
  const { addresses } = error;
  tellDone(new Map([...taken].filter(([text]) => !addresses.has(text))));
  return new Map([...taken].filter(([text]) => addresses.has(text)));
}
