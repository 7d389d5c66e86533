/** How many datagrams a server says that it dropped, by reason, from its log. */

import { DROP_LINES } from "../../lib/receive/server_log.ts";

/**
 * Adds up lines and summaries. A summary, once a second and only where single lines were left out or the kernel has
 * dropped something, counts the lines of its own second in: those that stand before it.
 */
export function tallyDrops(lines: readonly string[]): Map<string, number> {
  const tally = new Map<string, number>();
  const add = (reason: string, count: number) =>
    tally.set(reason, (tally.get(reason) ?? 0) + count);
  let single: string[] = [];
  for (const line of lines) {
    const one = /event=dropped reason=(\w+)/.exec(line)?.[1];
    if (one) single.push(one);
    if (!line.includes(" event=drops ")) continue;
    const counts = [...line.matchAll(/ ([a-z_]+)=(\d+)/g)]
      .map(([, reason, count]) => [reason!, Number(count)] as const)
      .filter(([reason]) => !reason.startsWith("kernel_"));
    const total = counts.reduce((sum, [, count]) => sum + count, 0);
    const own = Math.min(single.length, total, DROP_LINES);
    for (const reason of single.slice(0, single.length - own)) add(reason, 1);
    for (const [reason, count] of counts) add(reason, count);
    single = [];
  }
  for (const reason of single) add(reason, 1);
  return tally;
}
