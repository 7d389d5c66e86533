/**
 * What outlives the process: nonces, grants, history, in one SQLite database. docs/protocol.md, "After a restart". WAL
 * with `synchronous=NORMAL` keeps every commit through any death of the process; a power cut may take the last ones.
 */

import { join } from "node:path";
import type { Clock } from "../values/moment.ts";
import { hexToBytes } from "../crypto/keys.ts";
import { messageOf, OpenmeError } from "../values/errors.ts";
import { formatNetwork } from "../values/network.ts";
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
import { diskFault } from "./disk_fault.ts";
import { DATABASE_NAME } from "./names.ts";
import { grantToRow } from "./schema.ts";
import type { Statements } from "./statements.ts";
import { type HistoryEvent, HistoryWriter, type KnockRecord } from "./history_writer.ts";
import { clearUnwritten, isUnwritten, noteUnwritten } from "./unwritten.ts";
import { type Change, StateWriter } from "./writer.ts";

/** Writing everything anew holds the receiving thread, so it may take a hundredth of the time. */
const REWRITE_PAUSE_FACTOR = 100;

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
  /** The plan of the guard that was in force, as text; `""` where there was none. */
  readonly guard: string;
}

/** How much a start knows of the knocks before it. */
export type Past =
  /** A clean stop, or a death of the process alone: everything. */
  | "complete"
  /** There was no database, or no server has used it. */
  | "new"
  /** Another boot without a clean stop: the last transactions may be missing. */
  | "power_cut"
  /** The disk refused writes: what only memory knew is missing. */
  | "unwritten"
  /** The database was moved aside. */
  | "damaged";

/** The state of one running `serve`. Writes never throw: while the disk refuses, memory goes on, and the log says so. */
export class StateStore {
  readonly #dir: string;
  readonly #writer: StateWriter;
  readonly #history = new HistoryWriter((change) => this.#write(change));
  readonly #replay: ReplayMemory;
  readonly #clock: Clock;
  readonly #log: Log;
  /** The watermarks on disk, by key. */
  readonly #storedMarks = new Map<string, bigint>();
  /** Whether the firewall had kept the grants that were stored at the start. */
  #grantsStand = false;
  /** The plan of the guard in force, as text; `undefined` until it is known. */
  #guard: string | undefined;
  /** Steady clock: when everything may be written anew again. */
  #notBeforeMs = -Infinity;

  private constructor({ dir, replay, clock, log }: Opening) {
    this.#dir = dir;
    this.#writer = new StateWriter(join(dir, DATABASE_NAME));
    this.#replay = replay;
    this.#clock = clock;
    this.#log = log;
  }

  /**
   * Opens or makes the database in `dir`, which must exist, and fills `replay` from it. A damaged database is moved
   * aside, never deleted. What may be missing is replaced by a floor in `replay`. Where the disk itself refuses, the
   * server starts from memory. Throws `OpenmeError`, code `STATE`, where the operator has to act.
   */
  static open(opening: Opening): { store: StateStore; stored: StoredGrants } {
    const store = new StateStore(opening);
    try {
      return { store, stored: store.#start(opening) };
    } catch (cause) {
      const error = cause instanceof OpenmeError ? cause : stateError(store.#writer.path, cause);
      if (diskFault(opening.dir) === undefined) throw error;
      return { store, stored: store.#startFromMemory(opening, cause) };
    }
  }

  #start({ replay, replayWindowNs, clock, log }: Opening): StoredGrants {
    const times = { startNs: clock.now().wallNs, replayWindowNs };
    let stored: StoredState;
    let past: Past;
    try {
      stored = this.#load();
      past = pastOf(stored, { bootId: clock.bootId, unwritten: isUnwritten(this.#dir) });
    } catch (cause) {
      if (!isDamage(cause)) throw cause;
      past = "damaged";
      this.#close();
      // Killed before the new database holds the floor, the next start must not see a first start.
      noteUnwritten(this.#dir);
      log.warn("state_unreadable", {
        moved_to: moveAside(this.#writer.path, times.startNs),
        error: messageOf(cause),
        refusing_knocks_until: timeText(floorAfter(past, times)!),
      });
      stored = this.#load();
    }
    if (past === "unwritten") {
      log.warn("state_incomplete", { why: "the disk could not be written before the last stop" });
    } else if (past === "power_cut") {
      log.warn("unclean_stop", { why: "the machine went down while openme was running" });
    }
    const floorNs = floorAfter(past, times);
    if (floorNs !== undefined) replay.raiseFloor(floorNs);
    const taken = this.#takeOver(stored);
    // The floor is on disk before the first knock is judged.
    const failure = this.#writer.attempt((run) => this.#writeMeta(run));
    if (failure) throw failure;
    clearUnwritten(this.#dir);
    return taken;
  }

  /** What can be read counts; a floor stands in for the rest. */
  #startFromMemory({ dir, replay, replayWindowNs, clock, log }: Opening, why: unknown) {
    this.#close();
    const floorNs = floorAfter("unwritten", { startNs: clock.now().wallNs, replayWindowNs })!;
    replay.raiseFloor(floorNs);
    log.warn("state_not_written", {
      ...errorFields(why),
      doing: "starting from memory, trying again until it works",
      refusing_knocks_until: timeText(floorNs),
    });
    let stored: StoredState | undefined;
    const database = connectToRead(join(dir, DATABASE_NAME));
    try {
      if (database) this.#restore(stored = readDatabase(database));
    } catch {
      // Nothing of it, then.
    } finally {
      database?.close();
    }
    this.#noteUnwritten();
    return this.#takeOver(stored);
  }

  /**
   * Writes down an authenticated knock, nonce and grant or neither, before anything opens. History and last seen follow a
   * moment later, for all knocks of that moment in one transaction.
   */
  recordKnock(record: KnockRecord): void {
    this.#write((run) => {
      run.insertNonce.run(record.key, record.randomNonce, record.timestampNs);
      this.#writeMark(run, record.key);
      if (record.opened) run.upsertGrant.run(...grantToRow(record.opened.grant));
    });
    this.#history.knock(record, this.#clock.now().steadyMs);
  }

  /** Adds an event to the history, a moment later. */
  recordEvent(event: HistoryEvent): void {
    this.#history.add(event);
  }

  /** Writes down that the firewall has every stored grant, also those that it refused an earlier process. */
  settleFailures(): void {
    this.#write((run) => run.settleFailures.run());
  }

  /** Puts the history on disk that is not there yet. */
  flushHistory(): void {
    this.#history.flush();
  }

  /** Writes down that knocks of this client at or before its mark are seen. */
  recordMark(key: string): void {
    if (this.#replay.markOf(key) === this.#storedMarks.get(key)) return;
    this.#write((run) => this.#writeMark(run, key));
  }

  /** Writes down a grant that has changed without a knock. */
  recordGrant(grant: Grant): void {
    this.#write((run) => run.upsertGrant.run(...grantToRow(grant)));
  }

  /** Writes down that these are all the grants there are. */
  replaceGrants(grants: readonly Grant[]): void {
    this.#write((run) => writeGrants(run, grants));
  }

  /** Writes down the plan that is guarded from now on, as text; `""`: nothing is guarded. */
  recordGuard(plan: string): void {
    if (plan === this.#guard) return;
    this.#guard = plan;
    this.#write((run) => run.upsertMeta.run(GUARD, plan));
  }

  /** Removes ended or withdrawn grants. */
  forgetGrants(grants: readonly Grant[]): void {
    if (grants.length === 0) return;
    this.#write((run) => {
      for (const { client, address } of grants) run.deleteGrant.run(client, formatNetwork(address));
    });
  }

  /** Once a minute or so: forgets old nonces and history; where the disk refused, tries to write everything anew. */
  tend({ grants, replayWindowNs }: { grants: Iterable<Grant>; replayWindowNs: bigint }): void {
    const moved = this.#replay.prune({ nowNs: this.#clock.now().wallNs, replayWindowNs });
    if (!this.isSound()) return this.#rewrite([...grants]);
    this.#write((run) => {
      for (const key of moved) this.#writeMark(run, key);
      run.pruneHistory.run();
    });
    this.#writer.checkpoint();
  }

  /** Whether everything is on disk. */
  isSound(): boolean {
    return this.#writer.isSound();
  }

  /**
   * Writes down a clean stop; grants stay, for a restart. `grantsStand` says whether the firewall keeps them until they
   * end; without it, what an earlier process left there still holds.
   */
  close({ grantsStand }: { grantsStand?: boolean } = {}): void {
    this.flushHistory();
    this.#write((run) => {
      run.upsertMeta.run("clean_stop", "1");
      if (grantsStand !== undefined) run.upsertMeta.run("grants_stand", grantsStand ? "1" : "0");
    });
    this.#writer.checkpointAll();
    this.#close();
  }

  /** Reads the database into memory, all of it or nothing. */
  #load(): StoredState {
    const stored = readDatabase(this.#writer.connect());
    this.#restore(stored);
    for (const { key, timestampNs } of stored.marks) this.#storedMarks.set(key, timestampNs);
    return stored;
  }

  #restore({ marks, nonces, floorNs, guard }: StoredState): void {
    for (const { key, timestampNs } of marks) this.#replay.restoreMark(key, timestampNs);
    for (const { key, nonce, timestampNs } of nonces) this.#replay.restore(key, nonce, timestampNs);
    if (floorNs !== undefined) this.#replay.raiseFloor(floorNs);
    this.#guard ??= guard;
  }

  /** What this process continues of the one before. */
  #takeOver(stored: StoredState | undefined): StoredGrants {
    if (!stored) return { grants: [], sameBoot: false, guard: "" };
    const { grants, bootId, cleanStop, grantsStand, guard } = stored;
    const sameBoot = Boolean(bootId) && bootId === this.#clock.bootId;
    this.#grantsStand = sameBoot && (grantsStand || !cleanStop);
    return { grants, sameBoot, guard };
  }

  #writeMeta(run: Statements): void {
    run.upsertMeta.run("boot_id", this.#clock.bootId ?? "");
    run.upsertMeta.run("clean_stop", "0");
    run.upsertMeta.run("grants_stand", this.#grantsStand ? "1" : "0");
    run.upsertMeta.run(GUARD, this.#guard ?? "");
    const { floorNs } = this.#replay;
    if (floorNs !== undefined) run.upsertMeta.run("floor_ns", String(floorNs));
  }

  #writeMark(run: Statements, key: string): void {
    const markNs = this.#replay.markOf(key);
    if (markNs === undefined || markNs === this.#storedMarks.get(key)) return;
    writeMark(run, key, markNs);
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
    this.#noteUnwritten();
  }

  #noteUnwritten(): void {
    const failure = noteUnwritten(this.#dir);
    if (!failure) return;
    this.#log.error("state_not_marked", {
      ...errorFields(failure),
      doing: "going on: if openme is killed now, the next start cannot know what is missing",
    });
  }

  /** After the disk refused, or the folder was deleted: writes all that memory holds into a sound database. */
  #rewrite(grants: readonly Grant[]): void {
    const { steadyMs } = this.#clock.now();
    if (steadyMs < this.#notBeforeMs) return;
    try {
      this.#tryToRewrite(grants);
      this.#log.info("state_written", { dir: this.#dir });
    } catch {
      // Logged when the first write failed; tried again.
      this.#close();
      noteUnwritten(this.#dir);
    }
    const tookMs = this.#clock.now().steadyMs - steadyMs;
    this.#notBeforeMs = steadyMs + REWRITE_PAUSE_FACTOR * tookMs;
  }

  #tryToRewrite(grants: readonly Grant[]): void {
    this.#close();
    Deno.mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
    try {
      this.#load(); // a start from memory may not have read it
    } catch (cause) {
      this.#close();
      if (!isDamage(cause)) throw cause;
      moveAside(this.#writer.path, this.#clock.now().wallNs);
      this.#writer.connect();
    }
    const failure = this.#writer.attempt((run) => {
      run.deleteAllNonces.run();
      for (const [key, nonce, timestampNs] of this.#replay.entries()) {
        run.insertNonce.run(key, hexToBytes(nonce), timestampNs);
      }
      for (const [key, markNs] of this.#replay.marks()) writeMark(run, key, markNs);
      writeGrants(run, grants);
      this.#writeMeta(run);
    });
    if (failure) throw failure;
    clearUnwritten(this.#dir);
  }

  #close(): void {
    this.#writer.close();
    this.#storedMarks.clear();
  }
}

/** How much of the knocks before this start is known, where the database could be read. */
function pastOf(
  { bootId, cleanStop }: StoredState,
  now: { bootId: string | undefined; unwritten: boolean },
): Past {
  if (now.unwritten) return "unwritten";
  if (bootId === undefined) return "new";
  const sameBoot = bootId !== "" && bootId === now.bootId;
  return cleanStop || sameBoot ? "complete" : "power_cut";
}

/** At or before this date knocks count as seen; `undefined`: nothing is missing. */
function floorAfter(
  past: Past,
  { startNs, replayWindowNs }: { startNs: bigint; replayWindowNs: bigint },
): bigint | undefined {
  switch (past) {
    case "complete":
      return undefined;
    case "new":
    case "power_cut":
      return startNs;
    case "unwritten":
    case "damaged":
      return startNs + replayWindowNs;
  }
}

/** Raises a client's watermark, and forgets the nonces at or before it. */
function writeMark(run: Statements, key: string, markNs: bigint): void {
  run.upsertMark.run(key, markNs);
  run.deleteNonces.run(key, markNs);
}

function writeGrants(run: Statements, grants: readonly Grant[]): void {
  run.deleteAllGrants.run();
  for (const grant of grants) run.upsertGrant.run(...grantToRow(grant));
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
