/**
 * What must outlive the process: nonces, grants, history, in one SQLite database that is in WAL mode with
 * `synchronous=NORMAL`: whole after any death of the process. docs/protocol.md, "After a restart", says what holds when
 * more than the process died.
 */

import { join } from "node:path";
import type { Clock } from "../values/moment.ts";
import { hexToBytes } from "../crypto/keys.ts";
import { messageOf, OpenmeError } from "../values/errors.ts";
import type { Grant } from "../grants.ts";
import { errorFields, type Log } from "../system/log.ts";
import { quote } from "../values/text.ts";
import type { ReplayMemory } from "../replay.ts";
import {
  connectToRead,
  GUARD,
  isDamage,
  moveAside,
  readDatabase,
  type StoredState,
} from "./database.ts";
import type { Outcome } from "./outcomes.ts";
import { diskFault } from "./disk_fault.ts";
import {
  type Mark,
  readMark,
  refreshMark,
  removeMark,
  removeStaleMarks,
  writeMark,
} from "./mark.ts";
import { DATABASE_NAME, INTACT_NAME } from "./names.ts";
import { type Row, SCHEMA_VERSION, textOf } from "./schema.ts";
import type { SealedRows } from "./sealed_rows.ts";
import { type KnockRecord, type RefusalRecord, Story } from "./history_writer.ts";
import { readWitness } from "./witness.ts";
import { type Change, exists, StateWriter } from "./writer.ts";

/** How long after an attempt to write everything anew there is none, in times of what it took. */
const REWRITES_SHARE = 100;

/** What a state is opened with. */
export interface Opening {
  /** The state directory; it exists, and is this server's alone. */
  readonly dir: string;
  /** Is filled. */
  readonly replay: ReplayMemory;
  readonly replayWindowNs: bigint;
  readonly clock: Clock;
  readonly log: Log;
}

/** What was on disk when the process came up. */
export interface StoredGrants {
  readonly grants: readonly Grant[];
  /** Whether their steady times count from this boot. */
  readonly sameBoot: boolean;
  /** The plan of the guard that was in force, as text; "" where there was none. */
  readonly guard: string;
}

/** The state of one running `serve`. Writes never throw: while the disk refuses, memory goes on, and the log says so. */
export class StateStore {
  /** Whether the firewall had kept the grants that were stored at the start. */
  #grantsStand = false;
  /** Whether memory holds all that the database held at the start. */
  #isRestored = false;
  /** The plan of the guard in force, as text; `undefined` until it is known. */
  #guard: string | undefined;
  readonly #dir: string;
  readonly #writer: StateWriter;
  readonly #story = new Story((write) => this.#write(write));
  readonly #replay: ReplayMemory;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #storedMarks = new Map<string, bigint>();
  /** Steady clock: not before then is all of it written anew. */
  #notBeforeMs = -Infinity;

  private constructor(dir: string, replay: ReplayMemory, clock: Clock, log: Log) {
    this.#dir = dir;
    this.#writer = new StateWriter(join(dir, DATABASE_NAME), join(dir, INTACT_NAME));
    this.#replay = replay;
    this.#clock = clock;
    this.#log = log;
  }

  /**
   * Opens or makes the database in `dir`, which must exist, and fills `replay` from it. A database that cannot be read
   * is moved aside, never deleted; then, and after a power cut, `replay` gets the floor that stands in for what is lost.
   * Where the disk itself refuses, the server starts from memory, with that floor.
   */
  static open(opening: Opening): { store: StateStore; stored: StoredGrants } {
    const { dir, replay, clock, log } = opening;
    const store = new StateStore(dir, replay, clock, log);
    try {
      return { store, stored: store.#start(opening) };
    } catch (cause) {
      const path = join(dir, DATABASE_NAME);
      const error = cause instanceof OpenmeError ? cause : stateError(path, cause);
      if (diskFault(dir) === undefined) throw error;
      return { store, stored: store.#startFromMemory(opening, cause) };
    }
  }

  #start({ dir, replay, replayWindowNs, clock, log }: Opening): StoredGrants {
    const startNs = clock.now().wallNs;
    const { path } = this.#writer;
    const existed = exists(path);
    const testimony = readWitness(join(dir, INTACT_NAME));
    const sealed = existed && testimony?.sequence !== undefined;
    const mark = readMark(dir);
    removeStaleMarks(dir);
    let stored: StoredState;
    try {
      stored = this.#load({ sealed });
    } catch (cause) {
      if (!isDamage(cause)) throw cause;
      this.#close();
      log.warn("state_unreadable", {
        moved_to: moveAside(path, startNs),
        error: messageOf(cause),
        refusing_knocks_until: timeText(startNs + replayWindowNs),
      });
      replay.raiseFloor(startNs + replayWindowNs);
      stored = this.#load({ sealed: false });
    }
    const isNew = stored.bootId === undefined;
    const sameBoot = !isNew && stored.bootId === clock.bootId;
    const powerCut = !isNew && !stored.cleanStop && !sameBoot;
    const incomplete = whyIncomplete({ existed, wasIntact: testimony !== undefined, mark }) ??
      // A power cut may take the end of the log, and what it takes has its own floor.
      (!isNew && !powerCut && (testimony?.sequence ?? 0) > stored.seal.sequence
        ? "the newest of it is gone"
        : undefined);
    if (incomplete !== undefined) {
      log.warn("state_incomplete", { why: incomplete });
      replay.raiseFloor(startNs + replayWindowNs);
    } else if (powerCut) {
      log.warn("unclean_stop", { why: "the machine went down while openme was running" });
      replay.raiseFloor(startNs);
    }
    this.#grantsStand = sameBoot && (stored.grantsStand || !stored.cleanStop);
    this.#begin();
    return { grants: stored.grants, sameBoot, guard: stored.guard };
  }

  /** What can still be read counts; whatever else there was, the floor stands in for it. */
  #startFromMemory({ dir, replay, replayWindowNs, clock, log }: Opening, why: unknown) {
    this.#close();
    const floorNs = clock.now().wallNs + replayWindowNs;
    replay.raiseFloor(floorNs);
    log.warn("state_not_written", {
      ...errorFields(why),
      doing: "starting from memory, trying again until it works",
      refusing_knocks_until: timeText(floorNs),
    });
    let stored: StoredState | undefined;
    const database = connectToRead(join(dir, DATABASE_NAME));
    try {
      if (database) this.#restore(stored = readDatabase(database, { sealed: true }));
    } catch {
      // Nothing of it, then.
    } finally {
      database?.close();
    }
    this.#markIncomplete();
    const sameBoot = stored?.bootId !== undefined && stored.bootId === clock.bootId;
    this.#grantsStand = sameBoot && (stored?.grantsStand || !stored?.cleanStop);
    return { grants: stored?.grants ?? [], sameBoot, guard: stored?.guard ?? "" };
  }

  /**
   * Writes down an authenticated knock, nonce and grant or neither, before anything opens. What only tells the story,
   * history and last seen, follows a moment later, for all knocks of that moment in one go.
   */
  recordKnock(record: KnockRecord): void {
    this.#write((_, rows) => {
      rows.insertNonce(record.key, record.randomNonce, record.timestampNs);
      this.#writeMark(rows, record.key);
      if (record.opened) rows.putGrant(record.opened.grant);
    });
    this.#story.knock(record, this.#clock.now().steadyMs);
  }

  /** Adds a refusal to the history, a moment later. */
  recordRefusal(record: RefusalRecord): void {
    this.#story.refusal(record);
  }

  /** Adds to the history what became of a grant, a moment later. */
  recordOutcome(outcome: Outcome): void {
    this.#story.outcome(outcome);
  }

  /** The firewall has every grant that is stored, whatever became of it under an earlier process. */
  settleFailures(atMs: number): void {
    this.#write((run) => run.settleFailures.run(Math.trunc(atMs)));
  }

  /** Puts the history on disk that is not there yet. */
  tellHistory(): void {
    this.#story.tell();
  }

  /** Writes down that knocks of this client at or before its mark are seen. */
  recordMark(key: string): void {
    if (this.#replay.markOf(key) === this.#storedMarks.get(key)) return;
    this.#write((_, rows) => this.#writeMark(rows, key));
  }

  /** Writes down a grant that has changed without a knock. */
  recordGrant(grant: Grant): void {
    this.#write((_, rows) => rows.putGrant(grant));
  }

  /** Writes down that these are all the grants there are. */
  replaceGrants(grants: readonly Grant[]): void {
    this.#write((_, rows) => rows.replaceGrants(grants));
  }

  /** What is guarded from now on, as text; "" is nothing. */
  recordGuard(plan: string): void {
    if (plan === this.#guard) return;
    this.#guard = plan;
    this.#write((_, rows) => rows.putMeta(GUARD, plan));
  }

  /** Takes ended or withdrawn grants out. */
  forgetGrants(grants: readonly Grant[]): void {
    if (grants.length === 0) return;
    this.#write((_, rows) => grants.forEach((grant) => rows.deleteGrant(grant)));
  }

  /** Once a minute or so: forgets old nonces and history; where the disk refused, tries to write everything anew. */
  tend({ grants, replayWindowNs }: { grants: Iterable<Grant>; replayWindowNs: bigint }): void {
    refreshMark(this.#dir);
    const moved = this.#replay.prune({ nowNs: this.#clock.now().wallNs, replayWindowNs });
    if (!this.isSound()) return this.#rewrite([...grants]);
    this.#write((run, rows) => {
      for (const key of moved) this.#writeMark(rows, key);
      run.pruneHistory.run();
      run.pruneRefusals.run();
      run.pruneOutcomes.run();
    });
    this.#writer.checkpoint();
  }

  /** Once an hour or so: forgets what is kept of clients that are registered no more, when that is safe. */
  forgetGone(
    { isRegistered, names, replayWindowNs }: {
      /** By its key. */
      isRegistered: (key: string) => boolean;
      names: Iterable<string>;
      replayWindowNs: bigint;
    },
  ): void {
    if (!this.isSound()) return;
    const { wallNs: nowNs, steadyMs } = this.#clock.now();
    const keys = this.#replay.forgetGone({ isRegistered, nowNs, steadyMs, replayWindowNs });
    const known = new Set(names);
    this.#write((run, rows) => {
      for (const key of keys) {
        rows.deleteMark(key);
        this.#storedMarks.delete(key);
      }
      for (const row of run.listLastSeen.all() as Row[]) {
        const client = textOf(row, "client");
        if (!known.has(client)) run.deleteLastSeen.run(client);
      }
    });
  }

  /** Whether what is written is on disk, and the truth. */
  isSound(): boolean {
    return this.#writer.isSound();
  }

  /**
   * Leaves the mark of a clean stop; grants stay, for a restart. `grantsStand` says whether they stand in the firewall,
   * too, until they end; without it what an earlier process has left there is still so.
   */
  close({ grantsStand }: { grantsStand?: boolean } = {}): void {
    this.tellHistory();
    this.#write((_, rows) => {
      rows.putMeta("clean_stop", "1");
      if (grantsStand !== undefined) rows.putMeta("grants_stand", grantsStand ? "1" : "0");
    });
    this.#writer.checkpointAll();
    if (this.isSound()) removeMark(this.#dir);
    this.#close();
  }

  /** Reads the database into memory, all of it or nothing. */
  #load({ sealed }: { sealed: boolean }): StoredState {
    const stored = readDatabase(this.#writer.connect(), { sealed });
    this.#writer.seal = stored.seal;
    this.#restore(stored);
    for (const { key, timestampNs } of stored.marks) this.#storedMarks.set(key, timestampNs);
    return stored;
  }

  #restore(stored: StoredState): void {
    for (const { key, timestampNs } of stored.marks) {
      this.#replay.restoreMark(key, timestampNs);
    }
    for (const { key, nonce, timestampNs } of stored.nonces) {
      this.#replay.restore(key, nonce, timestampNs);
    }
    if (stored.floorNs !== undefined) this.#replay.raiseFloor(stored.floorNs);
    this.#guard ??= stored.guard;
    this.#isRestored = true;
  }

  /** From here on this process is the one that runs. The floor is on disk before the first knock is judged. */
  #begin(): void {
    const failure = this.#writer.attempt((_, rows) => this.#writeMeta(rows));
    if (failure) throw failure;
    this.#markIntact();
  }

  #writeMeta(rows: SealedRows): void {
    rows.putMeta("version", String(SCHEMA_VERSION));
    rows.putMeta("boot_id", this.#clock.bootId ?? "");
    rows.putMeta("clean_stop", "0");
    rows.putMeta("grants_stand", this.#grantsStand ? "1" : "0");
    rows.putMeta(GUARD, this.#guard ?? "");
    const { floorNs } = this.#replay;
    if (floorNs !== undefined) rows.putMeta("floor_ns", String(floorNs));
  }

  #writeMark(rows: SealedRows, key: string): void {
    const markNs = this.#replay.markOf(key);
    if (markNs === undefined || markNs === this.#storedMarks.get(key)) return;
    rows.putMark(key, markNs);
    this.#storedMarks.set(key, markNs);
  }

  #write(change: Change): void {
    if (!this.#writer.isOpen) return;
    const failure = this.#writer.attempt(change);
    if (!failure) return;
    this.#log.error("state_not_written", {
      ...errorFields(failure),
      doing: "going on from memory, trying again until it works",
    });
    this.#close();
    this.#markIncomplete();
  }

  /** From here on the database is not the whole truth. */
  #markIncomplete(): void {
    try {
      Deno.removeSync(join(this.#dir, INTACT_NAME));
      // A power cut brings back a file whose folder was not written.
      syncFolder(this.#dir);
      return;
    } catch {
      // Gone with its folder, or on a disk that has become read-only.
      if (!exists(this.#dir)) return;
    }
    try {
      writeMark(this.#dir, "unsound");
    } catch (cause) {
      this.#log.error("state_not_marked", {
        ...errorFields(cause),
        doing: "going on: if openme is killed now, the next start cannot know what is missing",
      });
    }
  }

  /** From here on the database is the whole truth. */
  #markIntact(): void {
    this.#writer.tellWitness();
    try {
      writeMark(this.#dir, "running");
    } catch {
      // No such folder on this system, or not for this user: `intact` alone has to do.
    }
  }

  /** After the disk refused, or somebody took the folder away: writes all that memory holds into a sound database. */
  #rewrite(grants: readonly Grant[]): void {
    const { steadyMs } = this.#clock.now();
    if (steadyMs < this.#notBeforeMs) return;
    this.#tryToRewrite(grants);
    // It holds the thread that receives: a hundredth of the time at most.
    this.#notBeforeMs = steadyMs + REWRITES_SHARE * (this.#clock.now().steadyMs - steadyMs);
  }

  #tryToRewrite(grants: readonly Grant[]): void {
    this.#close();
    try {
      Deno.mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
      const { path } = this.#writer;
      try {
        // A start from memory may not have read what is there.
        if (this.#isRestored) this.#writer.connect();
        else this.#load({ sealed: exists(path) });
      } catch (cause) {
        this.#close();
        if (!isDamage(cause)) throw cause;
        moveAside(path, this.#clock.now().wallNs);
        this.#writer.connect();
      }
      const failure = this.#writer.attemptAnew((_, rows) => {
        for (const [key, nonce, timestampNs] of this.#replay.entries()) {
          rows.insertNonce(key, hexToBytes(nonce), timestampNs);
        }
        for (const [key, markNs] of this.#replay.marks()) rows.putMark(key, markNs);
        for (const grant of grants) rows.putGrant(grant);
        this.#writeMeta(rows);
      });
      if (failure) throw failure;
      this.#markIntact();
      this.#log.info("state_written", { dir: this.#dir });
    } catch {
      this.#close(); // still refused: told once, tried again
    }
  }

  #close(): void {
    this.#writer.close();
    if (this.#storedMarks.size > 0) this.#storedMarks.clear();
  }
}

/** Puts on disk what a folder has in it; throws where the file system cannot. */
function syncFolder(path: string): void {
  using folder = Deno.openSync(path, { read: true });
  folder.syncSync();
}

/** Why what is on disk is not all that was known, as far as the marks say. */
function whyIncomplete(
  { existed, wasIntact, mark }: { existed: boolean; wasIntact: boolean; mark: Mark | undefined },
): string | undefined {
  if (existed !== wasIntact || mark === "unsound" || (mark === "running" && !existed)) {
    return existed ? "the disk could not be written before the last stop" : "the database is gone";
  }
  return undefined;
}

function timeText(ns: bigint): string {
  return new Date(Number(ns / 1_000_000n)).toISOString();
}

function stateError(path: string, cause: unknown): OpenmeError {
  return new OpenmeError(
    "STATE",
    `cannot open the state database ${quote(path, 1000)}: ${messageOf(cause)}`,
    {
      hint:
        "openme must be able to write there: run it as root, or choose another folder with --state-dir",
      cause,
    },
  );
}
