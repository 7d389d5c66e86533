/**
 * Learns from the firewall which grants traffic keeps open, for `sessions`, the health port and the history: the kernel
 * does without. Loaded only where a client has `extend_while_used`.
 */

import type { Backend } from "../firewall/backend.ts";
import type { Grants } from "../grants.ts";
import type { StateStore } from "../state/store.ts";
import { type Clock, wallMsOf } from "../values/moment.ts";
import { formatNetwork } from "../values/network.ts";

/** What is learnt less than this earlier is near enough. */
const NEAR_MS = 2000;

/** Writes down until when traffic keeps each grant open. Asks the firewall only where a grant needs it. */
export async function learnActivity(
  { grants, store, backend, clock, activeMs }: {
    readonly grants: Grants;
    readonly store: Pick<StateStore, "recordGrant">;
    readonly backend: Pick<Backend, "activity">;
    readonly clock: Clock;
    /** For how long traffic keeps a grant open. */
    readonly activeMs: number;
  },
): Promise<void> {
  const isDue = wallMsOf(clock.now()) + activeMs / 2;
  const due = [...grants.list()].filter(({ extended, expiresAtMs }) =>
    extended && Math.max(expiresAtMs, extended.activeUntilMs) < isDue
  );
  if (due.length === 0) return;
  const active = await backend.activity?.(due.map(({ address }) => address));
  const nowMs = wallMsOf(clock.now());
  // Looked up anew: meanwhile some may have ended.
  for (const grant of [...grants.list()]) {
    const leftMs = active?.get(formatNetwork(grant.address));
    if (leftMs === undefined || !grant.extended) continue;
    const { caps, activeUntilMs: before } = grant.extended;
    const activeUntilMs = Math.min(
      nowMs + leftMs,
      Math.max(...caps.map(({ expiresAtMs }) => expiresAtMs)),
    );
    if (activeUntilMs < before + NEAR_MS && before > nowMs) continue;
    const learnt = { ...grant, extended: { caps, activeUntilMs } };
    grants.put(learnt);
    store.recordGrant(learnt);
  }
}
