/** Several runs of a firewall's programs: none of them is left out because another fails. */

import { messageOf, OpenmeError } from "../values/errors.ts";

/** What one of them threw, but not before all have ended: whoever puts things right must not be overtaken by the rest. */
export async function allEnded(runs: readonly Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(runs)).find(({ status }) => status === "rejected");
  if (failed) throw (failed as PromiseRejectedResult).reason;
}

/** One after the other, whatever became of those before. Throws at the end, with every failure in the message. */
export async function allInTurn(steps: readonly (() => Promise<unknown>)[]): Promise<void> {
  const failures: unknown[] = [];
  for (const step of steps) await step().catch((error) => failures.push(error));
  if (failures.length === 0) return;
  const [first] = failures;
  if (failures.length === 1 || !(first instanceof OpenmeError)) throw first;
  throw new OpenmeError(first.code, [...new Set(failures.map(messageOf))].join("; "), {
    cause: first,
    ...(first.hint ? { hint: first.hint } : {}),
  });
}
