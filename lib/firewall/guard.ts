/**
 * Keeps a backend in step with the grants. Changes that come during a run are made together in the next one. A run that
 * hangs keeps no other address waiting. After a failure, and where rules were taken away, everything is installed again.
 */

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
import { rollBack } from "./roll_back.ts";

/** How often the guard looks whether its rules are still in place. Half of what is promised (10 s). */
export const CHECK_INTERVAL_MS = 4000;
/** A run that takes longer counts as hanging: others start beside it. */
const PATIENCE_MS = 300;
/** Runs at a time, all but one of which hang. */
const MOST_RUNS = 8;
/** Watchers of knocks at one address; beyond that the oldest are left out. */
const MOST_KNOCKS = 1024;

/** Is told the outcome of a change. */
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
  /** Why the last install failed, or why nothing could be looked at. */
  readonly failure: string | undefined;
}

/** An address whose openings have changed, and the watchers of that change. */
interface Change {
  readonly address: Network;
  readonly watchers: readonly Watcher[];
}

/** Changes by the canonical text of their address. */
type Changes = ReadonlyMap<string, Change>;

interface Run {
  /** What it changes: the next change of the same address waits for it, or the older could come out last. */
  readonly changes: Changes;
  hangs: boolean;
  ended: Promise<void>;
}

/**
 * Whether the firewall is as it should be. `dirty`: everything is to be installed, at once where it is `due`, otherwise
 * with the next knock or check; `damaged` where something went wrong, and the plan did not just change.
 */
type State = "intact" | { readonly is: "dirty"; readonly damaged: boolean; readonly due: boolean };

/** The edge between the grants and one backend. */
export class Guard {
  readonly #backend: Backend;
  readonly #grants: Grants;
  readonly #clock: Clock;
  readonly #log: Log;
  #state: State = "intact";
  /** Grows each time that the state becomes dirty: the result of a check that began before is discarded. */
  #generation = 0;
  readonly #waiting = new Map<string, Change>();
  readonly #runs = new Set<Run>();
  /** While an install runs: what other runs change meanwhile, which the install may overwrite. */
  #besideInstall: Map<string, Change> | undefined;
  #checking: Promise<void> | undefined;
  #stopped = false;
  /** Why the last install failed, until one succeeds. */
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
   * out again, unless a guard stood before, or may have.
   */
  async start(): Promise<void> {
    const mayHaveStood = await this.#backend.list().then((list) => list !== undefined, () => true);
    try {
      await this.#backend.install(this.#allOpenings());
    } catch (cause) {
      this.#stopped = true;
      if (!mayHaveStood && !(cause instanceof LivingOwnerError)) {
        await this.#backend.remove().catch((error) => this.#complain("remove_failed", error));
      }
      throw cause;
    }
  }

  /** Addresses whose change waits for a run. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** The openings of this address or network have changed; `watcher` is told once the firewall has them. */
  changed(address: Network, watcher?: Watcher): void {
    this.#enqueue({ address, watchers: watcher ? [watcher] : [] });
    if (this.#state === "intact") this.#startRuns();
    else this.#reinstall({ damaged: false });
  }

  /** From now on this is guarded; what is established goes on. */
  reconfigure(plan: GuardPlan): void {
    this.#backend.reconfigure(plan);
    this.#reinstall({ damaged: false });
  }

  /** The stamps have changed. Where the firewall does not take them, everything is installed again. */
  restamp(): void {
    if (this.#stopped || !this.#backend.restamp) return;
    const work = this.#backend.restamp().catch((error) => {
      this.#complain("check_failed", error);
      this.#becomeDirty({ damaged: true, due: true });
    });
    this.#start(new Map(), work);
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
    const { name: backend } = this.#backend;
    try {
      const isIntact = await this.#backend.isIntact();
      const examination = await this.#backend.examine();
      const open = await this.#backend.openToEveryone();
      return { backend, isIntact, examination, open, failure: this.#failure };
    } catch (error) {
      const failure = this.#failure ?? messageOf(error);
      return { backend, isIntact: false, examination: undefined, open: undefined, failure };
    }
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

  /** Lets the runs under way end; then {@linkcode rollBack}. */
  async putBack(former: GuardPlan | undefined): Promise<boolean> {
    await this.#quiesce();
    return await rollBack(this.#backend, former, this.#log);
  }

  async #check(): Promise<void> {
    await this.#idle();
    if (this.#stopped) return;
    if (this.#state !== "intact") return this.#reinstall({ damaged: false });
    const generation = this.#generation;
    const isOver = () => this.#stopped || this.#generation !== generation;
    try {
      if (await this.#backend.isIntact() || isOver()) return;
      this.#log.warn("rules_missing", { backend: this.#backend.name, doing: "putting them back" });
    } catch (error) {
      if (isOver()) return;
      this.#complain("check_failed", error);
    }
    this.#reinstall({ damaged: true });
    await this.#idle();
  }

  /** No run starts any more, and those under way have ended: each has a deadline. */
  async #quiesce(): Promise<void> {
    this.#stopped = true;
    await this.#checking?.catch(() => {});
    await this.#idle();
  }

  async #idle(): Promise<void> {
    while (this.#runs.size > 0) await Promise.allSettled([...this.#runs].map((run) => run.ended));
  }

  #reinstall({ damaged }: { damaged: boolean }): void {
    this.#becomeDirty({ damaged, due: true });
    this.#startRuns();
  }

  #becomeDirty({ damaged, due }: { damaged: boolean; due: boolean }): void {
    const before = this.#state === "intact" ? { damaged: false, due: false } : this.#state;
    this.#state = { is: "dirty", damaged: damaged || before.damaged, due: due || before.due };
    this.#generation++;
  }

  /** Starts the next run, where all that are under way hang. */
  #startRuns(): void {
    const mayStart = () =>
      !this.#stopped && this.#runs.size < MOST_RUNS && [...this.#runs].every(({ hangs }) => hangs);
    while (mayStart()) {
      const isInstalling = this.#besideInstall !== undefined;
      if (this.#state !== "intact" && !isInstalling) {
        if (!this.#state.due) return;
        this.#start(new Map(), this.#install());
        continue;
      }
      const changes = this.#take((text) => [...this.#runs].every((run) => !run.changes.has(text)));
      if (changes.size === 0) return;
      for (const [text, { address }] of changes) {
        this.#besideInstall?.set(text, { address, watchers: [] });
      }
      this.#start(changes, this.#apply(changes));
    }
  }

  #start(changes: Changes, work: Promise<void>): void {
    const run: Run = { changes, hangs: false, ended: Promise.resolve() };
    const timer = setTimeout(() => {
      run.hangs = true;
      this.#startRuns();
    }, PATIENCE_MS);
    run.ended = work.finally(() => {
      clearTimeout(timer);
      this.#runs.delete(run);
      this.#startRuns();
    });
    this.#runs.add(run);
  }

  async #apply(changes: Changes): Promise<void> {
    try {
      // The time left is computed when the rule is written, not when the knock came.
      const now = this.#clock.now();
      await this.#backend.apply(
        [...changes.values()].map(({ address }) =>
          this.#withClients(this.#grants.openingsOf(address, now))
        ),
      );
      tellDone(changes);
    } catch (error) {
      this.#log.warn("change_failed", {
        backend: this.#backend.name,
        doing: "installing all rules anew",
        ...errorFields(error),
      });
      for (const each of notDone(changes, error)) this.#enqueue(each, { again: true });
      this.#becomeDirty({ damaged: true, due: true });
    }
  }

  /** Installs every rule from the grants in memory, each with its remaining lifetime. */
  async #install(): Promise<void> {
    const changes = this.#take(() => true);
    const wasDamaged = this.#state !== "intact" && this.#state.damaged;
    this.#state = "intact";
    const meanwhile = this.#besideInstall = new Map();
    try {
      await this.#backend.install(this.#allOpenings());
      this.#failure = undefined;
      if (wasDamaged) {
        const { name: backend } = this.#backend;
        this.#log.info("rules_restored", { backend, grants: this.#grants.size });
      }
      tellDone(changes);
    } catch (error) {
      // The grants stand: the next check or the next knock tries again with all of them.
      this.#becomeDirty({ damaged: true, due: false });
      this.#failure = messageOf(error);
      this.#complain("firewall_failed", error, { reason: "backend" });
      for (const each of notDone(changes, error)) {
        for (const { failed } of each.watchers) failed?.();
        this.#enqueue(each, { again: true });
      }
    } finally {
      this.#besideInstall = undefined;
    }
    for (const each of meanwhile.values()) this.#enqueue(each);
  }

  #take(isWanted: (text: string) => boolean): Changes {
    const taken = new Map([...this.#waiting].filter(([text]) => isWanted(text)));
    for (const text of taken.keys()) this.#waiting.delete(text);
    return taken;
  }

  /** `again`: the change has failed, and is older than those that wait. */
  #enqueue({ address, watchers }: Change, { again = false } = {}): void {
    const text = formatNetwork(address);
    const waiting = this.#waiting.get(text)?.watchers ?? [];
    const all = again ? [...watchers, ...waiting] : [...waiting, ...watchers];
    this.#waiting.set(text, { address, watchers: bounded(all) });
  }

  #complain(event: string, error: unknown, more: { reason?: string } = {}): void {
    this.#log.error(event, { backend: this.#backend.name, ...more, ...errorFields(error) });
  }

  #allOpenings(): ClientOpenings[] {
    return this.#grants.allOpenings(this.#clock.now()).map((each) => this.#withClients(each));
  }

  #withClients(openings: AddressOpenings): ClientOpenings {
    return { ...openings, clients: this.#grants.clientsAt(openings.address) };
  }
}

/** Leaves out the oldest knocks beyond the bound. A watcher of a closing has no `failed`, and stays. */
function bounded(watchers: readonly Watcher[]): readonly Watcher[] {
  let excess = watchers.length - MOST_KNOCKS;
  return excess <= 0 ? watchers : watchers.filter(({ failed }) => !failed || excess-- <= 0);
}

function tellDone(changes: Changes): void {
  for (const { watchers } of changes.values()) for (const { done } of watchers) done();
}

/** The changes of a failed call that have to be tried again; the watchers of the others are told `done`. */
function notDone(changes: Changes, error: unknown): Change[] {
  if (!(error instanceof PartlyFailed)) return [...changes.values()];
  const { addresses } = error;
  tellDone(new Map([...changes].filter(([text]) => !addresses.has(text))));
  return [...changes].flatMap(([text, change]) => addresses.has(text) ? [change] : []);
}
