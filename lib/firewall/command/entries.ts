/**
 * Runs the user's programs one at a time, entry by entry: an entry is an address and ports that are to be open until a
 * time, or closed. Programs such as ufw cannot run twice at once, and report success for what they did not do: where
 * there is a `list`, what it prints decides.
 */

import type { OpenmeError } from "../../values/errors.ts";
import { errorFields, type Log } from "../../system/log.ts";
import type { Journal } from "./journal.ts";
import { type Entry, entryKey } from "./line.ts";
import type { Programs } from "./programs.ts";
import { Slot } from "./slot.ts";
import { Turns } from "./turns.ts";

/** Changes that share one run of `list`, at most. */
const MOST_UNVERIFIED = 8;

/** A change whose program has ended, and that no listing has shown yet. */
interface Unverified {
  readonly opened: boolean;
  /** Whether a knock waits for it. */
  readonly fresh: boolean;
  readonly error: OpenmeError | undefined;
  readonly waiters: Slot["waiters"];
}

/** What a listing shows, against what is wanted. */
export interface Look {
  readonly standing: ReadonlyMap<string, Entry>;
  /** Wanted, and not there. */
  readonly missing: readonly Entry[];
  /** There, and not wanted. */
  readonly stray: readonly Entry[];
}

/** What is wanted, what may stand, and the one program that runs. */
export class Entries {
  readonly #programs: Programs;
  readonly #journal: Journal;
  readonly #log: Log;
  readonly #slots = new Map<string, Slot>();
  readonly #turns = new Turns();
  #unverified = new Map<string, Unverified>();
  #lookers: PromiseWithResolvers<Look>[] = [];
  /** The entry whose program runs. */
  #active: string | undefined;
  #isWorking = false;

  constructor(
    { programs, journal, log }: { programs: Programs; journal: Journal; log: Log },
  ) {
    this.#programs = programs;
    this.#journal = journal;
    this.#log = log;
  }

  /** Everything that is wanted, or may stand. */
  keys(): string[] {
    return [...this.#slots.keys()];
  }

  /** What is known of one. */
  get(key: string): Readonly<Slot> | undefined {
    return this.#slots.get(key);
  }

  /** What could not be closed so far. */
  failing(): Entry[] {
    return [...this.#slots.values()].filter(({ failedCloses }) => failedCloses > 0)
      .map(({ entry }) => entry);
  }

  /** Whether nothing is under way for it. */
  isSettled(key: string): boolean {
    return !this.#turns.has(key) && !this.#unverified.has(key) && this.#active !== key;
  }

  /** Takes over an entry that may stand and is not wanted so far. */
  adopt(entry: Entry): void {
    const key = entryKey(entry);
    if (this.#slots.has(key)) return;
    const slot = new Slot(entry);
    slot.mayStand = true;
    this.#slots.set(key, slot);
  }

  /** Opens it, or renews it. Resolves once it stands; `fresh` for a knock, which goes before repairs and closings. */
  open(entry: Entry, endsAtMs: number, { fresh }: { fresh: boolean }): Promise<void> {
    return this.#enqueue(this.#want(entry, endsAtMs), fresh);
  }

  /** It is settled and stands already: from now on it is wanted until then. */
  keep(entry: Entry, endsAtMs: number): void {
    const slot = this.#slots.get(this.#want(entry, endsAtMs))!;
    slot.mayStand = slot.isOpen = true;
  }

  /**
   * Closes it. Resolves once it is closed. While that fails it is tried again, with pauses: then this rejects at once,
   * but for `now`.
   */
  close(key: string, { now = false } = {}): Promise<void> {
    const slot = this.#slots.get(key);
    if (!slot) return Promise.resolve();
    const error = slot.unwant();
    if (error && !now) return Promise.reject(error);
    slot.stopRetry();
    return this.#enqueue(key, false);
  }

  /** Runs `list`, before anything else that waits. Rejects where that fails. */
  look(): Promise<Look> {
    const looker = Promise.withResolvers<Look>();
    this.#lookers.push(looker);
    this.#work();
    return looker.promise;
  }

  /** Tries nothing further by itself: the process ends. */
  giveUp(): void {
    for (const slot of this.#slots.values()) slot.stopTimers();
  }

  #want(entry: Entry, endsAtMs: number): string {
    const key = entryKey(entry);
    let slot = this.#slots.get(key);
    if (!slot) this.#slots.set(key, slot = new Slot(entry));
    slot.want(entry, endsAtMs, () => this.close(key).catch(() => {})); // logged, and tried again
    return key;
  }

  #enqueue(key: string, fresh: boolean): Promise<void> {
    const waiter = Promise.withResolvers<void>();
    this.#slots.get(key)!.waiters.push(waiter);
    this.#turns.add(key, { fresh });
    this.#work();
    return waiter.promise;
  }

  async #work(): Promise<void> {
    if (this.#isWorking) return;
    this.#isWorking = true;
    for (;;) {
      if (this.#mustLook()) {
        await this.#lookNow();
        continue;
      }
      const key = this.#active = this.#turns.next();
      if (key === undefined) break;
      await this.#takeTurn(key, this.#slots.get(key)!);
      this.#active = undefined;
    }
    this.#isWorking = false;
  }

  /** Closings and repairs share a run of `list`; a knock is told as soon as no other knock waits. */
  #mustLook(): boolean {
    if (this.#lookers.length > 0) return true;
    const { size } = this.#unverified;
    if (size === 0) return false;
    return size >= MOST_UNVERIFIED || this.#turns.isEmpty ||
      (!this.#turns.hasFresh && [...this.#unverified.values()].some(({ fresh }) => fresh));
  }

  async #takeTurn(key: string, slot: Slot): Promise<void> {
    const leftMs = (slot.endsAtMs ?? -Infinity) - performance.now();
    const opened = leftMs > 0;
    const fresh = this.#turns.wasFresh;
    const waiters = [...this.#unverified.get(key)?.waiters ?? [], ...slot.waiters.splice(0)];
    this.#unverified.delete(key);
    let error: OpenmeError | undefined;
    if (opened && !slot.mayStand) {
      slot.mayStand = true;
      this.#write();
    }
    // One that was overtaken before its turn was never opened.
    if (slot.mayStand) {
      const { entry } = slot;
      const run = opened ? this.#programs.open(entry, leftMs) : this.#programs.close(entry);
      error = await run.then(() => undefined, (error: OpenmeError) => error);
    }
    const change: Unverified = { opened, fresh, error, waiters };
    // An open that failed is tried again, also where it stands. A close may fail because there was nothing to close.
    if (this.#programs.canList && slot.mayStand && !(opened && error)) {
      this.#unverified.set(key, change);
    } else this.#settle(key, change, error);
  }

  async #lookNow(): Promise<void> {
    const lookers = this.#lookers.splice(0);
    const standing = await this.#programs.list().catch((error: OpenmeError) => error);
    const unverified = this.#unverified;
    this.#unverified = new Map();
    const shows = standing instanceof Map ? standing : undefined;
    for (const [key, change] of unverified) {
      const { opened, error } = change;
      if (!shows) this.#settle(key, change, error);
      else if (shows.has(key) === opened) this.#settle(key, change, undefined);
      else this.#settle(key, change, error ?? this.#programs.contradiction(key, change));
    }
    if (!shows) return lookers.forEach(({ reject }) => reject(standing));
    const look = this.#compare(shows);
    lookers.forEach(({ resolve }) => resolve(look));
  }

  /** Entries whose turn is yet to come are neither missing nor stray. */
  #compare(standing: ReadonlyMap<string, Entry>): Look {
    const isWanted = (key: string) => this.#slots.get(key)?.endsAtMs !== undefined;
    const waits = (key: string) => this.#turns.has(key);
    return {
      standing,
      missing: [...this.#slots].filter(([key]) =>
        isWanted(key) && !waits(key) && !standing.has(key)
      ).map(([, { entry }]) => entry),
      stray: [...standing].filter(([key]) => !isWanted(key) && !waits(key))
        .map(([, entry]) => entry),
    };
  }

  #settle(key: string, { opened, waiters }: Unverified, error: OpenmeError | undefined): void {
    const slot = this.#slots.get(key)!;
    slot.isOpen = opened && !error;
    if (!opened && error) this.#retryClose(key, slot, error);
    if (!opened && !error) {
      slot.mayStand = false;
      slot.forgetFailures();
      if (!this.#turns.has(key)) {
        slot.stopTimers();
        this.#slots.delete(key);
      }
      this.#write();
    }
    for (const { resolve, reject } of waiters) error ? reject(error) : resolve();
  }

  /** A close that fails is never given up: the port would stay open. */
  #retryClose(key: string, slot: Slot, error: OpenmeError): void {
    // A knock may want it open by now.
    if (slot.endsAtMs !== undefined) return;
    const retry = () => this.close(key, { now: true }).catch(() => {}); // logged, and tried again
    const pauseMs = slot.closeFailed(error, retry);
    this.#log.error("close_failed", {
      backend: "command",
      entry: key,
      doing: `trying again in ${pauseMs / 1000} s; until then it may be open`,
      ...errorFields(error),
    });
  }

  #write(): void {
    this.#journal.write(
      [...this.#slots.values()].filter(({ mayStand }) => mayStand).map(({ entry }) => entry),
    );
  }
}
