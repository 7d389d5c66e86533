/**
 * What the keeper and the fleet process tell each other, as JSON. The keeper reads the process' messages as it would read a
 * stranger's: typed, of bounded length, and everything else is junk.
 */

import { type EngineAccess, type EngineState, MOST_ENTRY_CHARACTERS } from "./engine.ts";
import { isWhy } from "./faults.ts";

/** The first message to a fleet process. */
export interface FleetRole extends Omit<EngineAccess, "trust"> {
  readonly role: "fleet";
  readonly trust: string | null;
}

/** What the keeper tells it after that. */
export type ToFleet =
  | { readonly claim: number; readonly name: string; readonly forMs: number }
  | { readonly publish: string };

/** What it tells. */
export type FromFleet =
  /** The claim of this number: whether it is this host's, and null where the engine cannot say. */
  | { readonly claimed: number; readonly ours: boolean | null }
  | { readonly entry: string }
  /** Several times a second, also where nothing has changed. */
  | {
    readonly isUp: boolean;
    readonly why: string | null;
    readonly roundTripMs: number | null;
  };

/** Bytes of a message of the process': an entry whose every character JSON writes as six. */
export const MOST_MESSAGE_BYTES = 6 * MOST_ENTRY_CHARACTERS + 100;

export function stateMessage({ isUp, why, roundTripMs }: EngineState): FromFleet {
  return { isUp, why: why ?? null, roundTripMs: roundTripMs ?? null };
}

/** Reads what came from a fleet process; `undefined` for what an honest one never sends. */
export function readFromFleet(message: unknown): FromFleet | undefined {
  const { claimed, ours, entry, isUp, why, roundTripMs } = Object(message);
  if (claimed !== undefined) {
    const isRead = Number.isSafeInteger(claimed) && (ours === null || typeof ours === "boolean");
    return isRead ? { claimed, ours } : undefined;
  }
  if (entry !== undefined) {
    const isRead = typeof entry === "string" && entry.length <= MOST_ENTRY_CHARACTERS;
    return isRead ? { entry } : undefined;
  }
  const isState = typeof isUp === "boolean" && (isUp ? why === null : isWhy(why)) &&
    (roundTripMs === null || Number.isFinite(roundTripMs) && roundTripMs >= 0);
  return isState ? { isUp, why, roundTripMs } : undefined;
}
