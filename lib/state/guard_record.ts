/**
 * The plan of the guard that stands, written into the state database by commands that guard or unguard ports without a
 * running `serve` (`openme guard`, `openme uninstall`). A running `serve` writes it with the rest of its state.
 */

import { join } from "node:path";
import { GUARD } from "./database.ts";
import { DATABASE_NAME } from "./names.ts";
import { StateWriter } from "./writer.ts";

/**
 * Writes down the plan as text; `""`: nothing is guarded. No `serve` may run with this folder. Throws where the database
 * is damaged or cannot be written: the next `serve` moves it aside or says so.
 */
export function recordGuard(dir: string, plan: string): void {
  const writer = new StateWriter(join(dir, DATABASE_NAME));
  try {
    writer.connect();
    const failure = writer.attempt((run) => run.upsertMeta.run(GUARD, plan));
    if (failure) throw failure;
  } finally {
    writer.close();
  }
}
