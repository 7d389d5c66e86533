/**
 * Which refused knocks are told to people: those of registered clients. At most one per reason,
 * client and minute, and no replays: anyone can send an old capture again.
 */

import type { Moment } from "../values/moment.ts";
import { formatDuration } from "../values/duration.ts";
import type { DropReason, DropVerdict, GateClient } from "../gate.ts";

/** Why a registered client was not let in: the gate's reasons, and the firewall's refusal. */
export type RefusalReason = DropReason | "backend";

const TELL_AGAIN_MS = 60_000;

/** Remembers when each reason was last told of each client. */
export class RefusalLimit {
  readonly #toldAtMs = new Map<string, number>();

  /** Whether to tell of this refusal, which then counts as told. */
  isWorthTelling(
    verdict: DropVerdict,
    { steadyMs }: Moment,
  ): verdict is DropVerdict & { readonly client: GateClient } {
    const { reason, client, clock } = verdict;
    if (!client || reason === "replay" || clock?.seen) return false;
    return this.isFirst(reason, client.name, { steadyMs });
  }

  /** Whether this is the first for its reason and client in a minute; it then counts as told. */
  isFirst(reason: RefusalReason, client: string, { steadyMs }: Pick<Moment, "steadyMs">): boolean {
    const kind = `${reason} ${client}`;
    const toldAtMs = this.#toldAtMs.get(kind);
    if (toldAtMs !== undefined && steadyMs - toldAtMs < TELL_AGAIN_MS) return false;
    this.#toldAtMs.set(kind, steadyMs);
    return true;
  }
}

/** `2m3s behind`, for a clock that is so many ms ahead (negative: behind). */
export function formatOffset(aheadMs: number): string {
  const direction = aheadMs < 0 ? "behind" : "ahead";
  const days = Math.floor(Math.abs(aheadMs) / 86_400_000);
  if (days >= 3) return `${days} days ${direction}`;
  const shown = formatDuration(Math.round(Math.abs(aheadMs) / 1000) * 1000);
  return `${shown} ${direction}`;
}
