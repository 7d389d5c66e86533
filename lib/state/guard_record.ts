/**
 * What a guard that stands guards, in the state database, for processes that close ports or open them without a `serve`
 * (`openme guard`, `openme uninstall`). A running `serve` writes it with the rest of its state.
 */

import { join } from "node:path";
import { GUARD, readDatabase } from "./database.ts";
import { readMark } from "./mark.ts";
import { DATABASE_NAME, INTACT_NAME } from "./names.ts";
import { SCHEMA_VERSION } from "./schema.ts";
import { readWitness } from "./witness.ts";
import { exists, StateWriter } from "./writer.ts";

/**
 * Writes down that this is guarded from now on, `""` that nothing is. No `serve` may run with this folder. Throws where
 * it cannot be written, or where the database is not the whole truth: that is for the next `serve` to see.
 */
export function recordGuard(dir: string, plan: string): void {
  const [path, witnessPath] = [join(dir, DATABASE_NAME), join(dir, INTACT_NAME)];
  const isNew = !exists(path);
  const testimony = readWitness(witnessPath);
  if (isNew ? testimony !== undefined || readMark(dir) !== undefined : testimony === undefined) {
    throw new Error("the state database is not whole");
  }
  const writer = new StateWriter(path, witnessPath);
  try {
    const database = writer.connect();
    writer.seal = readDatabase(database, { sealed: !isNew && testimony?.sequence !== undefined })
      .seal;
    const failure = writer.attempt((_, rows) => {
      if (isNew) rows.putMeta("version", String(SCHEMA_VERSION));
      rows.putMeta(GUARD, plan);
    });
    if (failure) throw failure;
    writer.tellWitness();
  } finally {
    writer.close();
  }
}
