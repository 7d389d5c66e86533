/** How what a firewall holds differs from what is to be guarded. Pure; each backend reads its own rules. */

import { formatPortRange, type PortRange, subtractPortRanges } from "../values/ports.ts";

/** What is not as the plan wants it, in words, and the ports of the plan that are not guarded. */
export interface Deviations {
  readonly wrong: readonly string[];
  readonly unguarded: readonly PortRange[];
}

/** In words, which ports a firewall holds too few or too many; `what` says for what it holds them. */
export function differences(
  held: readonly PortRange[],
  planned: readonly PortRange[],
  what: string,
): string[] {
  const list = (ranges: readonly PortRange[]) => ranges.map(formatPortRange).join(" ");
  const [missing, extra] = [subtractPortRanges(planned, held), subtractPortRanges(held, planned)];
  return [
    ...(missing.length > 0 ? [`not ${what}: ${list(missing)}`] : []),
    ...(extra.length > 0 ? [`${what} as well: ${list(extra)}`] : []),
  ];
}
