/**
 * The plan of the guard that stands, written into the state database by commands that guard or unguard ports without a
 * running `serve` (`openme guard`, `openme uninstall`). A running `serve` writes it with the rest of its state.
 */

import { join } from "node:path";
import { connectDatabase, GUARD } from "./database.ts";
import { DATABASE_NAME } from "./names.ts";
import { prepareStatements } from "./statements.ts";

/**
 * Writes down the plan as text; `""`: nothing is guarded. No `serve` may run with this directory. Throws where the
 * database is damaged or cannot be written: the next `serve` moves it aside or says so.
 */
export function recordGuard(dir: string, plan: string): void {
  const database = connectDatabase(join(dir, DATABASE_NAME));
  try {
    prepareStatements(database).upsertMeta.run(GUARD, plan);
  } finally {
    database.close();
  }
}
