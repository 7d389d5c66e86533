/**
 * The open database, written one transaction at a time. While the disk refuses, memory goes on: the log says so once, a
 * trace tells the next start, and everything is written anew as soon as that works.
 */

import type { DatabaseSync } from "node:sqlite";
import { dirname } from "node:path";
import type { Clock } from "../values/moment.ts";
import { errorFields, type Log } from "../system/log.ts";
import {
  connectDatabase,
  isDamage,
  moveAside,
  readDatabase,
  type StoredState,
} from "./database.ts";
import { prepareStatements, type Statements } from "./statements.ts";
import { clearUnwritten, noteUnwritten } from "./unwritten.ts";

/** Writing everything anew holds the receiving thread, so it may take a hundredth of the time. */
const REWRITE_PAUSE_FACTOR = 100;

/** What to write in one transaction. */
export type Change = (run: Statements) => void;

/** One database under its path, open or not. */
export class StateWriter {
  readonly path: string;
  readonly #dir: string;
  readonly #clock: Clock;
  readonly #log: Log;
  #database: DatabaseSync | undefined;
  #statements: Statements | undefined;
  /** Device and inode of the open file: another file may take its place under the path. */
  #file: string | undefined;
  /** Steady clock: when everything may be written anew again. */
  #notBeforeMs = -Infinity;

  constructor(path: string, { clock, log }: { clock: Clock; log: Log }) {
    this.path = path;
    this.#dir = dirname(path);
    this.#clock = clock;
    this.#log = log;
  }

  /** Opens the database, or makes it, and reads all of it; throws as {@linkcode connectDatabase} does. */
  load(): StoredState {
    this.close();
    try {
      this.#database = connectDatabase(this.path);
      this.#statements = prepareStatements(this.#database);
      this.#file = identify(this.path);
      return readDatabase(this.#database);
    } catch (cause) {
      this.close();
      throw cause;
    }
  }

  /** Whether everything is on disk: the database is open, and still the file under its path. */
  isSound(): boolean {
    return this.#database !== undefined && identify(this.path) === this.#file;
  }

  /** One transaction. Once it has returned, a SIGKILL takes nothing of it back. Throws where the disk refuses. */
  commit(change: Change): void {
    const run = this.#statements;
    if (!run) throw new Error("the database is closed");
    try {
      run.begin.run();
      change(run);
      run.commit.run();
    } catch (cause) {
      try {
        this.#database?.exec("ROLLBACK");
      } catch {
        // There was nothing to roll back.
      }
      throw cause;
    }
  }

  /** One transaction, which never throws; nothing is written while the disk refuses. */
  write(change: Change): void {
    if (!this.#database) return;
    try {
      this.commit(change);
    } catch (cause) {
      this.#log.error("state_not_written", {
        ...errorFields(cause),
        doing: "going on from memory, trying again until it works",
      });
      this.close();
      this.noteUnwritten();
    }
  }

  /** Tells the next start that memory knows more than the disk. */
  noteUnwritten(): void {
    const failure = noteUnwritten(this.#dir);
    if (!failure) return;
    this.#log.error("state_not_marked", {
      ...errorFields(failure),
      doing: "going on: if openme is killed now, the next start cannot know what is missing",
    });
  }

  /**
   * After the disk refused, or the directory was deleted: tries to write everything that memory holds, once `restore` has
   * been given what a readable database still holds. Seldom, where a try takes long.
   */
  rewrite(restore: (stored: StoredState) => void, everything: Change): void {
    const { steadyMs } = this.#clock.now();
    if (steadyMs < this.#notBeforeMs) return;
    try {
      this.close();
      Deno.mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
      restore(this.#loadOrReplace());
      this.commit(everything);
      clearUnwritten(this.#dir);
      this.#log.info("state_written", { dir: this.#dir });
    } catch {
      // Logged when the first write failed.
      this.close();
      noteUnwritten(this.#dir);
    }
    const tookMs = this.#clock.now().steadyMs - steadyMs;
    this.#notBeforeMs = steadyMs + REWRITE_PAUSE_FACTOR * tookMs;
  }

  #loadOrReplace(): StoredState {
    try {
      return this.load();
    } catch (cause) {
      if (!isDamage(cause)) throw cause;
      moveAside(this.path, this.#clock.now().wallNs);
      return this.load();
    }
  }

  /** Moves what it can of the write-ahead log into the database. */
  checkpoint(): void {
    try {
      this.#database?.exec("PRAGMA wal_checkpoint(PASSIVE)");
    } catch {
      // Nothing is lost: the log holds everything, and the next write fails on the same disk.
    }
  }

  /** SQLite moves the whole log into the database, and syncs it, where no other process reads. */
  close(): void {
    try {
      this.#database?.close();
    } catch {
      // Closed already.
    }
    this.#database = undefined;
    this.#statements = undefined;
  }
}

function identify(path: string): string | undefined {
  try {
    const { dev, ino } = Deno.statSync(path);
    return `${dev} ${ino}`;
  } catch {
    return undefined;
  }
}
