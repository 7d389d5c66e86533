/** The open database, written one transaction at a time. */

import type { DatabaseSync } from "node:sqlite";
import { connectDatabase } from "./database.ts";
import { prepareStatements, type Statements } from "./statements.ts";

/** What to write in one transaction. */
export type Change = (run: Statements) => void;

/** One database under its path, open or not. */
export class StateWriter {
  readonly path: string;
  #database: DatabaseSync | undefined;
  #statements: Statements | undefined;
  /** Device and inode of the open file: another file may take its place under the path. */
  #file: string | undefined;

  constructor(path: string) {
    this.path = path;
  }

  /** Opens the database, or makes it; throws as {@linkcode connectDatabase} does. */
  connect(): DatabaseSync {
    this.#database = connectDatabase(this.path);
    this.#statements = prepareStatements(this.#database);
    this.#file = identify(this.path);
    return this.#database;
  }

  get isOpen(): boolean {
    return this.#database !== undefined;
  }

  /** Whether the database is open and still the file under its path. */
  isSound(): boolean {
    return this.isOpen && identify(this.path) === this.#file;
  }

  /** One transaction; returns the error where it failed. Once it has returned, a SIGKILL takes nothing of it back. */
  attempt(change: Change): unknown {
    const [database, run] = [this.#database, this.#statements];
    if (!database || !run) return new Error("the database is closed");
    try {
      run.begin.run();
      change(run);
      run.commit.run();
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

  /** Moves what it can of the write-ahead log into the database. */
  checkpoint(): void {
    this.#tryToExecute("PRAGMA wal_checkpoint(PASSIVE)");
  }

  /** Before the last close: the database file itself holds everything, and is on disk. */
  checkpointAll(): void {
    this.#tryToExecute("PRAGMA synchronous = FULL; PRAGMA wal_checkpoint(TRUNCATE)");
  }

  close(): void {
    try {
      this.#database?.close();
    } catch {
      // Closed already.
    }
    this.#database = undefined;
    this.#statements = undefined;
  }

  /** A checkpoint that fails loses nothing: the log holds everything, and the next write fails on the same disk. */
  #tryToExecute(sql: string): void {
    try {
      this.#database?.exec(sql);
    } catch {
      // Tried again a minute later.
    }
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
