/** The whole gate in one step, as the tests and benches of its verdicts want it. */

import { decide, type GateRules, identify, type Verdict } from "../../lib/gate.ts";
import type { Address } from "../../lib/values/address.ts";

/** The verdict on a datagram from there, at this time. A grant counts as accepted, as in the pipeline. */
export function judge(
  datagram: Uint8Array,
  source: Address,
  nowNs: bigint,
  rules: GateRules,
): Verdict {
  const signed = identify(datagram, source, rules);
  if (typeof signed === "string") return { kind: "drop", reason: signed };
  const verdict = decide(signed, nowNs, rules);
  if (verdict.kind === "grant") rules.candidates.accepted(signed.key, source);
  return verdict;
}
