/**
 * The open database, written one transaction after the other: each under the digest, and told to the witness beside the
 * file. What was written and what must be thought of it is for `store.ts`.
 */

import type { DatabaseSync } from "node:sqlite";
import { connectDatabase } from "./database.ts";
import { clearSealed, Seal, SealedRows } from "./sealed_rows.ts";
import { prepareStatements, type Statements } from "./statements.ts";
import { Witness } from "./witness.ts";

/** What to write in one transaction. */
export type Change = (run: Statements, rows: SealedRows) => void;

/** One database under its path, open or not. */
export class StateWriter {
  readonly path: string;
  readonly #witnessPath: string;
  /** What is under the digest: put the one here that was read with the rows. */
  seal = new Seal();
  #database: DatabaseSync | undefined;
  #statements: Statements | undefined;
  #rows: SealedRows | undefined;
  #witness: Witness | undefined;
  /** Which file is open: another may come to stand under its name. */
  #file: string | undefined;

  constructor(path: string, witnessPath: string) {
    this.path = path;
    this.#witnessPath = witnessPath;
  }

  /** Opens the database, or makes it; throws as {@linkcode connectDatabase} does. */
  connect(): DatabaseSync {
    this.#database = connectDatabase(this.path);
    this.#file = identify(this.path);
    return this.#database;
  }

  get isOpen(): boolean {
    return this.#database !== undefined;
  }

  /** Whether the database is open and still the file that its name leads to, and the witness is there. */
  isSound(): boolean {
    return this.isOpen && identify(this.path) === this.#file && exists(this.#witnessPath);
  }

  /** From here on the witness stands for the database. Throws as the disk does. */
  tellWitness(): void {
    this.#witness = new Witness(this.#witnessPath);
    this.#witness.tell(this.seal.sequence);
  }

  /** One transaction; gives back why it failed. Once it has returned, a kill takes nothing of it back. */
  attempt(change: Change): unknown {
    const database = this.#database;
    if (!database) return new Error("the database is closed");
    try {
      const run = this.#statements ??= prepareStatements(database);
      const rows = this.#rows ??= new SealedRows(run, this.seal);
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

  /** One transaction that writes everything that is under the digest anew; gives back why it failed. */
  attemptAnew(change: Change): unknown {
    this.seal = new Seal(this.seal.sequence);
    return this.attempt((run, rows) => {
      clearSealed(this.#database!);
      change(run, rows);
    });
  }

  /** Moves what it can of the write-ahead log into the database. */
  checkpoint(): void {
    this.#tryToExecute("PRAGMA wal_checkpoint(PASSIVE)");
  }

  /** Before the last close: the database itself holds everything, and is on disk. */
  checkpointAll(): void {
    this.#tryToExecute("PRAGMA synchronous = FULL; PRAGMA wal_checkpoint(TRUNCATE)");
  }

  close(): void {
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
  }

  /** For what takes nothing away when it fails: the log holds everything, and the next write shows a disk that refuses. */
  #tryToExecute(sql: string): void {
    try {
      this.#database?.exec(sql);
    } catch {
      // The next one will do.
    }
  }
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

/** Whether something has this name, a link that leads nowhere too. */
export function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}
