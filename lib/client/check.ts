/**
 * Knocks, and asks the health port what the server made of it. That port may be open for an earlier knock, or for another
 * client behind the same address: only the id of a knock that was sent here tells that it was accepted.
 */

import type { Sent, SigningProfile } from "./knock.ts";
import { knockId } from "../crypto/keys.ts";
import { pause } from "../system/clock.ts";
import { askHealth, type HealthAnswer } from "./ask_health.ts";
import { type Door, takeTurns, type TurnTime } from "./hosts.ts";
import {
  type Closed,
  closedOf,
  firstOf,
  KNOCK_AGAIN_MS,
  waitAt,
  type WaitOptions,
} from "./wait.ts";

/** How long a health port that has accepted may take to answer. */
export const ANSWER_MS = 5000;
/** How long a health port is asked again that reports other knocks only: a lost knock is repeated meanwhile. */
const PATIENCE_MS = 3000;
const ASK_AGAIN_MS = 200;

/** What the server's firewall did for the knocks that were sent; `none`: the server accepted none of them. */
export type Outcome = "open" | "refused" | "pending" | "none";

/** The last answer, or why there was none. */
export type Asked =
  | { readonly kind: "closed"; readonly waited: Closed }
  | {
    readonly kind: "answered";
    /** The host that answered. */
    readonly host: string;
    /** The first knocks. */
    readonly sent: readonly Sent[];
    /** `undefined` where another program listens there. */
    readonly answer: HealthAnswer | undefined;
    readonly outcome: Outcome;
    /** This machine's wall clock before the question and after the answer, ms since 1970. */
    readonly asked: { readonly sentMs: number; readonly receivedMs: number };
  };

/** What to ask, and where. */
export interface AskOptions extends Omit<WaitOptions, "quietMs" | "knocked"> {
  /** Knocks that were sent already; the next is sent when they have had their time. */
  readonly earlier?: readonly Sent[] | undefined;
  /** Where they were sent: no other door is tried. */
  readonly door?: Door | undefined;
}

/** No question begins after `timeoutMs`. Rejects as `knockUntilOpen` does. */
export async function knockAndAsk(profile: SigningProfile, options: AskOptions): Promise<Asked> {
  const { door, timeoutMs } = options;
  if (door) return await askAt(profile, door, options, { turnMs: timeoutMs, leftMs: timeoutMs });
  const turns = await takeTurns(
    profile,
    options,
    (each, time) => askAt(profile, each, options, time),
    (asked) => asked.kind === "answered" && asked.outcome === "open",
  );
  const { outcomes } = turns;
  const last = outcomes.at(-1);
  const answers = outcomes.filter((each) => each.kind === "answered");
  const best = last?.kind === "answered" && last.outcome === "open"
    ? last
    : answers.find(({ outcome }) => outcome !== "none") ?? answers[0];
  const sent = outcomes.flatMap((each) => each.kind === "closed" ? each.waited.sent : each.sent);
  if (best) return { ...best, sent: firstOf(sent) };
  const closed = outcomes.flatMap((each) => each.kind === "closed" ? [each.waited] : []);
  return { kind: "closed", waited: closedOf({ ...turns, outcomes: closed }) };
}

/** Knocks at one door, and asks there; the port has `turnMs` to open. */
async function askAt(
  profile: SigningProfile,
  door: Door,
  { earlier, ...options }: AskOptions,
  time: TurnTime,
): Promise<Asked> {
  const endMs = performance.now() + time.leftMs;
  const ids = new Set<string>();
  let first: readonly Sent[] | undefined;
  let knockedMs = 0;
  const knocked = async (sent: readonly Sent[]) => {
    first ??= sent;
    knockedMs = performance.now();
    for (const { randomNonce } of sent) ids.add(await knockId(randomNonce));
  };
  if (earlier) await knocked(earlier);
  let patientUntilMs: number | undefined;
  let last: Asked | undefined;
  for (;;) {
    const nowMs = performance.now();
    const timeoutMs = endMs - nowMs;
    const isPending = last?.kind === "answered" && last.outcome === "pending";
    // A pending knock has arrived; any other is taken for lost after a second.
    const underWayMs = first ? Math.max(0, knockedMs + KNOCK_AGAIN_MS - nowMs) : 0;
    const waited = await waitAt(profile, door, {
      ...options,
      timeoutMs: last ? timeoutMs : Math.min(timeoutMs, time.turnMs),
      quietMs: isPending ? timeoutMs : underWayMs,
      knocked,
    });
    const sent = first ?? waited.sent;
    if (waited.kind === "closed") return last ?? { kind: "closed", waited: { ...waited, sent } };
    const sentMs = Date.now();
    const answer = await askHealth(waited.connection, ANSWER_MS);
    const outcome = answer ? outcomeOf(answer, ids) : "none";
    const asked = { sentMs, receivedMs: Date.now() };
    last = { kind: "answered", host: door.dialledHost, sent, answer, outcome, asked };
    if (!answer || outcome === "open" || outcome === "refused") return last;
    const answeredMs = performance.now();
    patientUntilMs ??= Math.min(answeredMs + PATIENCE_MS, endMs);
    const untilMs = outcome === "pending" ? endMs : patientUntilMs;
    await pause(Math.min(ASK_AGAIN_MS, Math.ceil(untilMs - answeredMs))); // timers leave out fractions
    if (performance.now() >= untilMs) return last;
  }
}

/** The best that the server reports of these knocks. */
function outcomeOf({ report: { grants } }: HealthAnswer, ids: ReadonlySet<string>): Outcome {
  const states = grants.flatMap(({ knocks }) => knocks).filter(({ id }) => ids.has(id))
    .map(({ state }) => state);
  return (["open", "refused", "pending"] as const).find((state) => states.includes(state)) ??
    "none";
}
