/** Starts the connection to the engine. */

import type { Clock } from "../values/moment.ts";
import { connectEngine } from "./connection.ts";
import type { Engine, EngineAccess, EngineListener } from "./engine.ts";

/** Connects to the engine. */
export function startEngine(
  { access, listener, clock }: {
    readonly access: EngineAccess;
    readonly listener: EngineListener;
    readonly clock: Clock;
  },
): Engine {
  return connectEngine(access, listener, clock);
}
