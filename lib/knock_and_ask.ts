/**
 * Knocks and asks the health port what came of it. The port may stand open for an earlier knock, or for another client
 * behind the same address: only what the server says of this key and of this moment tells that the knock was taken.
 */

import type { Profile } from "./config/client_config.ts";
import { bytesToHex, sha256 } from "./crypto.ts";
import { pause } from "./dial.ts";
import { askHealth, type HealthAnswer } from "./health_client.ts";
import type { HealthReport, ReportedGrant } from "./health_report.ts";
import { knockUntilOpen, type Waited, type WaitOptions } from "./knock_until_open.ts";

/** How long a health port that has accepted may take to answer. */
export const ANSWER_MS = 5000;
/** How long a port that stands open may tell of others only: a knock that was lost on the way is repeated meanwhile. */
const PATIENCE_MS = 3000;
const AGAIN_MS = 300;

/** What came of it. */
export type Asked =
  | { readonly kind: "closed"; readonly waited: Waited & { readonly kind: "closed" } }
  | {
    readonly kind: "answered";
    /** The first knocks. */
    readonly sent: Waited["sent"];
    /** `undefined` where what listens is not an openme health port. */
    readonly answer: HealthAnswer | undefined;
    /** Whether the server took one of these knocks; what a server of before says cannot tell, and counts. */
    readonly isTaken: boolean;
    /** This machine's wall clock before the question and after the answer, ms since 1970. */
    readonly asked: { readonly sentMs: number; readonly receivedMs: number };
  };

/** Rejects as {@linkcode knockUntilOpen} does. */
export async function knockAndAsk(
  profile: Profile,
  options: Omit<WaitOptions, "host">,
): Promise<Asked> {
  const fingerprint = bytesToHex((await sha256(profile.clientPublicKey)).subarray(0, 8));
  const startMs = performance.now();
  const never = new AbortController().signal;
  let sent: Waited["sent"] | undefined;
  let patientUntilMs: number | undefined;
  for (;;) {
    const timeoutMs = Math.max(1000, options.timeoutMs - (performance.now() - startMs));
    const waited = await knockUntilOpen(profile, { ...options, host: undefined, timeoutMs });
    sent ??= waited.sent;
    if (waited.kind === "closed") return { kind: "closed", waited: { ...waited, sent } };
    const sentMs = Date.now();
    const answer = await askHealth(waited.connection, ANSWER_MS);
    const asked = { sentMs, receivedMs: Date.now() };
    const nowMs = performance.now();
    patientUntilMs ??= Math.min(nowMs + PATIENCE_MS, startMs + options.timeoutMs);
    const isTaken = answer !== undefined &&
      tellsOf(answer.report, { fingerprint, withinMs: nowMs - startMs });
    if (!answer || isTaken || nowMs >= patientUntilMs) {
      return { kind: "answered", sent, answer, isTaken, asked };
    }
    await pause(AGAIN_MS, never);
  }
}

/** Whether a key's knock was taken within the last so many ms, or the server does not say such things. */
function tellsOf(
  { grants }: HealthReport,
  { fingerprint, withinMs }: { fingerprint: string; withinMs: number },
): boolean {
  if (grants.some((grant) => grant.fingerprint === undefined)) return true;
  return grants.some((grant) => grant.fingerprint === fingerprint && isWithin(grant, withinMs));
}

/** A refusal of the firewall's is an answer, too. */
function isWithin({ knockedMs, failed }: ReportedGrant, withinMs: number): boolean {
  return failed === true || (knockedMs !== undefined && knockedMs <= withinMs);
}
