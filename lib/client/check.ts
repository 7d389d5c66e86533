/**
 * Knocks and asks the health port what became of it. The port may stand open for an earlier knock, or for another client
 * behind the same address: only the id of a knock that was sent here tells that it was accepted.
 */

import type { Sent } from "./knock.ts";
import type { Profile } from "../config/profiles.ts";
import { knockId } from "../crypto/keys.ts";
import { pause } from "../system/clock.ts";
import { askHealth, type HealthAnswer } from "./ask_health.ts";
import { KNOCK_AGAIN_MS, knockUntilOpen, type Waited, type WaitOptions } from "./wait.ts";

/** How long a health port that has accepted may take to answer. */
export const ANSWER_MS = 5000;
/** How long a port that stands open may tell of others only: a knock that was lost on the way is repeated meanwhile. */
const PATIENCE_MS = 3000;
const ASK_AGAIN_MS = 200;

/** What the server's firewall did for the knocks that were sent; `none`: the server accepted none of them. */
export type Outcome = "open" | "refused" | "pending" | "none";

/** What came of it. */
export type Asked =
  | { readonly kind: "closed"; readonly waited: Waited & { readonly kind: "closed" } }
  | {
    readonly kind: "answered";
    /** The first knocks. */
    readonly sent: Waited["sent"];
    /** `undefined` where what listens is not an openme health port. */
    readonly answer: HealthAnswer | undefined;
    readonly outcome: Outcome;
    /** This machine's wall clock before the question and after the answer, ms since 1970. */
    readonly asked: { readonly sentMs: number; readonly receivedMs: number };
  };

/** Rejects as {@linkcode knockUntilOpen} does. */
export async function knockAndAsk(
  profile: Profile,
  options: Omit<WaitOptions, "host" | "quietMs" | "knocked"> & {
    /** Knocks that were sent already: none is sent while one of them is under way. */
    readonly earlier?: readonly Sent[] | undefined;
  },
): Promise<Asked> {
  const startMs = performance.now();
  const never = new AbortController().signal;
  const ids = new Set<string>();
  let first: Waited["sent"] | undefined;
  let knockedMs = startMs;
  const knocked = async (sent: readonly Sent[]) => {
    first ??= sent;
    knockedMs = performance.now();
    for (const { randomNonce } of sent) ids.add(await knockId(randomNonce));
  };
  const { earlier, ...waitOptions } = options;
  if (earlier) await knocked(earlier);
  let patientUntilMs: number | undefined;
  let outcome: Outcome = "none";
  for (;;) {
    const nowMs = performance.now();
    const timeoutMs = Math.max(1000, options.timeoutMs - (nowMs - startMs));
    // A knock that is under way is waited for; a second of silence means that it was lost.
    const quietMs = first === undefined
      ? 0
      : outcome === "pending"
      ? timeoutMs
      : Math.max(0, knockedMs + KNOCK_AGAIN_MS - nowMs);
    const waited = await knockUntilOpen(profile, {
      ...waitOptions,
      host: undefined,
      timeoutMs,
      quietMs,
      knocked,
    });
    const sent = first ?? waited.sent;
    if (waited.kind === "closed") return { kind: "closed", waited: { ...waited, sent } };
    const sentMs = Date.now();
    const answer = await askHealth(waited.connection, ANSWER_MS);
    const asked = { sentMs, receivedMs: Date.now() };
    const answeredMs = performance.now();
    const endMs = startMs + options.timeoutMs;
    patientUntilMs ??= Math.min(answeredMs + PATIENCE_MS, endMs);
    outcome = answer ? outcomeOf(answer, ids) : "none";
    const isOver = answeredMs >= (outcome === "pending" ? endMs : patientUntilMs);
    if (!answer || outcome === "open" || outcome === "refused" || isOver) {
      return { kind: "answered", sent, answer, outcome, asked };
    }
    await pause(ASK_AGAIN_MS, never);
  }
}

/** The best that the server tells of these knocks. */
function outcomeOf({ report: { grants } }: HealthAnswer, ids: ReadonlySet<string>): Outcome {
  const states = grants.flatMap(({ knocks }) => knocks).filter(({ id }) => ids.has(id))
    .map(({ state }) => state);
  return (["open", "refused", "pending"] as const).find((state) => states.includes(state)) ??
    "none";
}
