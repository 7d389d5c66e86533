/**
 * The connection to the engine by a process without rights: the keeper starts it, and again where it ends. The process
 * reads what the engine sends, so it is trusted with no more: what it says is typed and short, and read only as fast as
 * {@linkcode MESSAGES} allows.
 */

import type { StartedProcess } from "../separate/process.ts";
import { pause } from "../system/clock.ts";
import type { Clock } from "../values/moment.ts";
import { TokenBucket } from "../values/token_bucket.ts";
import {
  CLAIM_MS,
  type Engine,
  type EngineAccess,
  type EngineListener,
  type EngineState,
} from "./engine.ts";
import { EngineFault, FAULTS } from "./faults.ts";
import { lookupFiles } from "./lookup_files.ts";
import { type FleetRole, type FromFleet, readFromFleet, type ToFleet } from "./messages.ts";

/** What is read of the process: entries, answers to claims, and states. */
const MESSAGES = { perSecond: 2000, capacity: 4000 };
const READ_ON_MS = 10;
/** Changes of state, each a line of the log. An honest process waits between its attempts to connect, so has fewer. */
const CHANGES = { perSecond: 2, capacity: 20 };
const MOST_CLAIMS = 256;
/** How long the process may take for its first message, then for each next one, and to end. */
const START_MS = 10_000;
const SILENT_MS = 2000;
const END_MS = 500;
/** How often it is looked whether a process without an engine looks up names by files of before. */
const LOOK_MS = 5000;
/** Before it is started again. */
const RESTART_MS = { first: 500, most: 10_000 };
const LASTED_MS = 60_000;

/** What it takes of a process that was started to connect. */
type Started = Pick<StartedProcess, "channel"> & { kill(): unknown };

type PartsByProcess = Required<EngineParts> & { readonly start: () => Promise<Started> };

type State = Extract<FromFleet, { readonly isUp: boolean }>;

/** What an engine works with. */
export interface EngineParts {
  readonly access: EngineAccess;
  readonly listener: EngineListener;
  readonly clock: Clock;
  /** Starts a process without rights; `undefined` where this one connects. */
  readonly start: (() => Promise<Started>) | undefined;
  /** By which files names are looked up now ({@linkcode lookupFiles}). */
  readonly lookup?: () => string;
}

/** Connects to the engine, and goes on trying until it is closed. */
export async function startEngine(
  { access, listener, clock, start, lookup = lookupFiles }: EngineParts,
): Promise<Engine> {
  if (start) return new EngineByProcess({ access, listener, clock, start, lookup });
  const { connectEngine } = await import("./connection.ts");
  return connectEngine(access, listener, clock);
}

class EngineByProcess implements Engine {
  readonly #parts: PartsByProcess;
  readonly #end = new AbortController();
  readonly #claims = new Map<number, (ours: boolean | null) => void>();
  readonly #running: Promise<void>;
  readonly #changes = new TokenBucket(CHANGES);
  #process: Started | undefined;
  #isKilled = false;
  #asked = 0;
  #state: EngineState;

  constructor(parts: PartsByProcess) {
    this.#parts = parts;
    this.#state = {
      isUp: false,
      why: FAULTS.starting,
      sinceSteadyMs: parts.clock.now().steadyMs,
      roundTripMs: undefined,
    };
    this.#running = this.#run();
  }

  state(): EngineState {
    return this.#state;
  }

  async claim(name: string, forMs: number): Promise<boolean> {
    if (!this.#state.isUp || this.#claims.size >= MOST_CLAIMS) throw new EngineFault("late");
    const claim = ++this.#asked;
    const { promise, resolve } = Promise.withResolvers<boolean | null>();
    this.#claims.set(claim, resolve);
    const timer = setTimeout(() => resolve(null), CLAIM_MS);
    this.#send({ claim, name, forMs });
    const ours = await promise;
    clearTimeout(timer);
    this.#claims.delete(claim);
    if (ours === null) throw new EngineFault("late");
    return ours;
  }

  publish(entry: string): void {
    if (this.#state.isUp) this.#send({ publish: entry });
  }

  async close(): Promise<void> {
    this.#end.abort();
    this.#process?.channel.close();
    const killer = setTimeout(() => this.#kill(), END_MS);
    await this.#running;
    clearTimeout(killer);
  }

  #send(message: ToFleet): void {
    this.#process?.channel.send(message);
  }

  /** What it has sent so far is read at once then, and ignored. */
  #kill(): void {
    this.#isKilled = true;
    this.#process?.kill();
  }

  async #run(): Promise<void> {
    const { signal } = this.#end;
    let restartMs = RESTART_MS.first;
    while (!signal.aborted) {
      const startMs = performance.now();
      const { start, lookup } = this.#parts;
      const lookedUpBy = lookup();
      // Only another process sees the files of now.
      const looking = setInterval(() => {
        if (!this.#state.isUp && lookup() !== lookedUpBy) this.#kill();
      }, LOOK_MS);
      try {
        await this.#serve(await start());
      } catch {
        // It could not be started: as for one that has ended.
      }
      clearInterval(looking);
      this.#process = undefined;
      for (const resolve of this.#claims.values()) resolve(null);
      this.#change({ isUp: false, why: FAULTS.process, roundTripMs: null });
      if (performance.now() - startMs > LASTED_MS) restartMs = RESTART_MS.first;
      await pause(restartMs, signal);
      restartMs = Math.min(2 * restartMs, RESTART_MS.most);
    }
  }

  /** Reads until the process has ended, and ends one that is silent or sends junk. */
  async #serve(process: Started): Promise<void> {
    this.#process = process;
    this.#isKilled = false;
    const { access: { trust, ...access }, clock } = this.#parts;
    const role: FleetRole = { role: "fleet", ...access, trust: trust ?? null };
    process.channel.send(role);
    if (this.#end.signal.aborted) process.channel.close();
    let killer = setTimeout(() => this.#kill(), START_MS);
    const bucket = new TokenBucket(MESSAGES);
    for await (const value of process.channel.messages) {
      if (this.#isKilled) continue;
      clearTimeout(killer);
      const message = readFromFleet(value);
      if (!message) this.#kill();
      else if (!this.#end.signal.aborted) this.#take(message);
      killer = setTimeout(() => this.#kill(), SILENT_MS);
      while (!this.#isKilled && bucket.take(1, clock.now().steadyMs) === 0) {
        await pause(READ_ON_MS);
      }
    }
    clearTimeout(killer);
    process.channel.close();
  }

  #take(message: FromFleet): void {
    if ("claimed" in message) this.#claims.get(message.claimed)?.(message.ours);
    else if ("entry" in message) this.#parts.listener.entry(message.entry);
    else if (
      this.#isKnown(message) || this.#changes.take(1, this.#parts.clock.now().steadyMs) === 1
    ) {
      this.#change(message);
    } else this.#kill();
  }

  #isKnown({ isUp, why }: Pick<State, "isUp" | "why">): boolean {
    return isUp === this.#state.isUp && why === (this.#state.why ?? null);
  }

  #change(
    { isUp, why, roundTripMs }: State,
  ): void {
    const before = this.#state;
    const isSame = this.#isKnown({ isUp, why });
    this.#state = {
      isUp,
      why: why ?? undefined,
      sinceSteadyMs: before.isUp === isUp ? before.sinceSteadyMs : this.#parts.clock.now().steadyMs,
      roundTripMs: roundTripMs ?? before.roundTripMs,
    };
    if (!isSame && !this.#end.signal.aborted) this.#parts.listener.changed(this.#state);
  }
}
