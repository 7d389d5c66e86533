/**
 * What must outlive the process: nonces, grants, history, in one SQLite database that is in WAL mode with
 * `synchronous=NORMAL`: whole after any death of the process. docs/protocol.md, "After a restart", says what holds when
 * more than the process died.
 */

import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import type { Clock } from "../clock.ts";
import { hexToBytes } from "../crypto.ts";
import { messageOf, OpenmeError } from "../errors.ts";
import type { Grant } from "../grants.ts";
import { errorFields, type Log } from "../log.ts";
import { formatNetwork } from "../network.ts";
import { formatPortRange } from "../ports.ts";
import { quote } from "../quote.ts";
import type { ReplayMemory } from "../replay.ts";
import {
  connectDatabase,
  connectToRead,
  isDamage,
  moveAside,
  readDatabase,
  type StoredState,
} from "./database.ts";
import { type Outcome, outcomeToRow } from "./outcomes.ts";
import { diskFault } from "./disk_fault.ts";
import { type Mark, readMark, removeMark, writeMark } from "./mark.ts";
import { type Row, SCHEMA_VERSION, textOf } from "./schema.ts";
import { clearSealed, Seal, SealedRows } from "./sealed_rows.ts";
import { prepareStatements, type Statements } from "./statements.ts";
import { readWitness, Witness } from "./witness.ts";

/** The database, in the state directory. */
export const DATABASE_NAME = "state.db";
/** The witness: taken away when a write fails, so that the next start knows. */
const INTACT_NAME = "intact";

/** How soon after a knock its history is on disk: at once for a person, in batches for a flood. */
const TELL_AFTER_MS = 50;

/** An authenticated knock whose nonce is to be remembered, with the grant that it opened, if any. */
export interface KnockRecord {
  readonly key: string;
  readonly randomNonce: Uint8Array;
  readonly timestampNs: bigint;
  readonly client: string;
  readonly atMs: number;
  /** Where the datagram came from, as text. */
  readonly source: string;
  readonly opened: { readonly grant: Grant; readonly renewed: boolean } | undefined;
}

/** A registered client's knock that was refused, as the history tells it. */
export interface RefusalRecord {
  readonly atMs: number;
  readonly client: string;
  readonly source: string;
  readonly reason: string;
  /** How far the client's clock is ahead, where that was the reason. */
  readonly aheadMs: number | undefined;
}

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
}

/** What to write in one transaction. */
type Change = (run: Statements, rows: SealedRows) => void;

/** The state of one running `serve`. Writes never throw: while the disk refuses, memory goes on, and the log says so. */
export class StateStore {
  #database: DatabaseSync | undefined;
  #statements: Statements | undefined;
  #rows: SealedRows | undefined;
  #seal = new Seal();
  #witness: Witness | undefined;
  /** Whether the firewall had kept the grants that were stored at the start. */
  #grantsStand = false;
  /** Whether memory holds all that the database held at the start. */
  #isRestored = false;
  /** Which file is open: another may come to stand under its name. */
  #file: string | undefined;
  readonly #dir: string;
  readonly #replay: ReplayMemory;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #storedMarks = new Map<string, bigint>();
  /** What tells the story and is not written yet, in its order. */
  readonly #untold: ((run: Statements) => void)[] = [];
  #tellTimer: ReturnType<typeof setTimeout> | undefined;

  private constructor(dir: string, replay: ReplayMemory, clock: Clock, log: Log) {
    this.#dir = dir;
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
    const path = join(dir, DATABASE_NAME);
    const existed = exists(path);
    const testimony = readWitness(join(dir, INTACT_NAME));
    const sealed = existed && testimony?.sequence !== undefined;
    const mark = readMark(dir);
    let stored: StoredState;
    try {
      stored = this.#load(path, { sealed });
    } catch (cause) {
      if (!isDamage(cause)) throw cause;
      this.#close();
      log.warn("state_unreadable", {
        moved_to: moveAside(path, startNs),
        error: messageOf(cause),
        refusing_knocks_until: timeText(startNs + replayWindowNs),
      });
      replay.raiseFloor(startNs + replayWindowNs);
      stored = this.#load(path, { sealed: false });
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
    return { grants: stored.grants, sameBoot };
  }

  /** What can still be read counts; whatever else there was, the floor stands in for it. */
  #startFromMemory({ dir, replay, replayWindowNs, clock, log }: Opening, why: unknown) {
    this.#close();
    const floorNs = clock.now().wallNs + replayWindowNs;
    replay.raiseFloor(floorNs);
    log.warn("state_not_written", {
      ...errorFields(why),
      doing: "starting from memory, trying again every second",
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
    return { grants: stored?.grants ?? [], sameBoot };
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
    this.#tellSoon((run) => this.#writeStory(run, record));
  }

  /** Adds a refusal to the history, a moment later. */
  recordRefusal({ atMs, client, source, reason, aheadMs }: RefusalRecord): void {
    this.#tellSoon((run) =>
      run.insertRefusal.run(Math.trunc(atMs), client, source, reason, aheadMs ?? null)
    );
  }

  /** Adds to the history what became of a grant, a moment later. */
  recordOutcome(outcome: Outcome): void {
    this.#tellSoon((run) => run.insertOutcome.run(...outcomeToRow(outcome)));
  }

  /** The firewall has every grant that is stored, whatever became of it under an earlier process. */
  settleFailures(atMs: number): void {
    this.#write((run) => run.settleFailures.run(Math.trunc(atMs)));
  }

  #tellSoon(write: (run: Statements) => void): void {
    this.#untold.push(write);
    this.#tellTimer ??= setTimeout(() => this.tellHistory(), TELL_AFTER_MS);
  }

  /** Puts the history on disk that is not there yet. */
  tellHistory(): void {
    clearTimeout(this.#tellTimer);
    this.#tellTimer = undefined;
    const writes = this.#untold.splice(0);
    if (writes.length === 0) return;
    this.#write((run) => {
      for (const write of writes) write(run);
    });
  }

  #writeStory(run: Statements, record: KnockRecord): void {
    run.upsertLastSeen.run(record.client, Math.trunc(record.atMs));
    if (record.opened) {
      const { grant, renewed } = record.opened;
      run.insertHistory.run(
        Math.trunc(record.atMs),
        renewed ? "renewed" : "granted",
        grant.client,
        record.source,
        formatNetwork(grant.address),
        grant.ports.map(formatPortRange).join(" "),
        grant.expiresAtMs,
      );
    }
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

  /** Takes ended or withdrawn grants out. */
  forgetGrants(grants: readonly Grant[]): void {
    if (grants.length === 0) return;
    this.#write((_, rows) => grants.forEach((grant) => rows.deleteGrant(grant)));
  }

  /** Once a minute or so: forgets old nonces and history; where the disk refused, tries to write everything anew. */
  tend({ grants, replayWindowNs }: { grants: Iterable<Grant>; replayWindowNs: bigint }): void {
    const moved = this.#replay.prune({ nowNs: this.#clock.now().wallNs, replayWindowNs });
    if (!this.isSound()) return this.#rewrite([...grants]);
    this.#write((run, rows) => {
      for (const key of moved) this.#writeMark(rows, key);
      run.pruneHistory.run();
      run.pruneRefusals.run();
      run.pruneOutcomes.run();
    });
    try {
      this.#database?.exec("PRAGMA wal_checkpoint(PASSIVE)");
    } catch {
      // The next one will do; what cannot be written at all shows at the next write.
    }
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

  /** Whether the database is open and still the file that its name leads to. */
  isSound(): boolean {
    return this.#database !== undefined &&
      identify(join(this.#dir, DATABASE_NAME)) === this.#file &&
      exists(join(this.#dir, INTACT_NAME));
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
    try {
      this.#database?.exec("PRAGMA synchronous = FULL; PRAGMA wal_checkpoint(TRUNCATE)");
    } catch {
      // The write-ahead log itself holds everything.
    }
    if (this.isSound()) removeMark(this.#dir);
    this.#close();
  }

  /** Reads the database into memory, all of it or nothing. */
  #load(path: string, { sealed }: { sealed: boolean }): StoredState {
    const stored = readDatabase(this.#connect(path), { sealed });
    this.#seal = stored.seal;
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
    this.#isRestored = true;
  }

  #connect(path: string): DatabaseSync {
    this.#database = connectDatabase(path);
    this.#file = identify(path);
    return this.#database;
  }

  /** From here on this process is the one that runs. The floor is on disk before the first knock is judged. */
  #begin(): void {
    const failure = this.#attempt((_, rows) => this.#writeMeta(rows));
    if (failure) throw failure;
    this.#markIntact();
  }

  #writeMeta(rows: SealedRows): void {
    rows.putMeta("version", String(SCHEMA_VERSION));
    rows.putMeta("boot_id", this.#clock.bootId ?? "");
    rows.putMeta("clean_stop", "0");
    rows.putMeta("grants_stand", this.#grantsStand ? "1" : "0");
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
    if (!this.#database) return;
    const failure = this.#attempt(change);
    if (!failure) return;
    this.#log.error("state_not_written", {
      ...errorFields(failure),
      doing: "going on from memory, trying again every second",
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
    this.#witness = new Witness(join(this.#dir, INTACT_NAME));
    this.#witness.tell(this.#seal.sequence);
    try {
      writeMark(this.#dir, "running");
    } catch {
      // No such folder on this system, or not for this user: `intact` alone has to do.
    }
  }

  /** One transaction; gives back why it failed. Once it has returned, a kill takes nothing of it back. */
  #attempt(change: Change): unknown {
    const database = this.#database;
    if (!database) return new Error("the database is closed");
    try {
      const run = this.#statements ??= prepareStatements(database);
      const rows = this.#rows ??= new SealedRows(run, this.#seal);
      run.begin.run();
      change(run, rows);
      const sequence = rows.seal();
      run.commit.run();
      if (sequence !== undefined) this.#witness?.tell(sequence);
      return undefined;
    } catch (cause) {
      try {
        database.exec("ROLLBACK");
      } catch {
        // There was nothing to roll back.
      }
      return cause ?? new Error("unknown failure");
    }
  }

  /** After the disk refused, or somebody took the folder away: writes all that memory holds into a sound database. */
  #rewrite(grants: readonly Grant[]): void {
    this.#close();
    try {
      Deno.mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
      const path = join(this.#dir, DATABASE_NAME);
      try {
        // A start from memory may not have read what is there.
        if (this.#isRestored) this.#connect(path);
        else this.#load(path, { sealed: exists(path) });
      } catch (cause) {
        this.#close();
        if (!isDamage(cause)) throw cause;
        moveAside(path, this.#clock.now().wallNs);
        this.#connect(path);
      }
      this.#seal = new Seal(this.#seal.sequence);
      const failure = this.#attempt((_, rows) => {
        if (this.#database) clearSealed(this.#database);
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
    try {
      this.#database?.close();
    } catch {
      // Closed already.
    }
    this.#witness?.close();
    this.#witness = undefined;
    this.#database = undefined;
    this.#statements = undefined;
    this.#rows = undefined;
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

/** Names the file that a path leads to, `undefined` where there is none. */
function identify(path: string): string | undefined {
  try {
    const { dev, ino } = Deno.statSync(path);
    return `${dev} ${ino}`;
  } catch {
    return undefined;
  }
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
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
