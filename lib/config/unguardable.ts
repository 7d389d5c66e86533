/** The one port that nobody can close: where knocks arrive. Whoever lists it among the guarded ones means something else. */

import { formatPortRange, intersectPortRanges, type PortRange } from "../values/ports.ts";
import type { ServerConfig } from "./server.ts";

/** Where the configuration asks to guard the knock port, a sentence each; none where it does not. */
export function unguardable({ udpPort, groups, clients }: ServerConfig): string[] {
  const knock: PortRange = { protocol: "udp", first: udpPort, last: udpPort };
  const has = (ports: readonly PortRange[]) => intersectPortRanges(ports, [knock]).length > 0;
  const inGroups = [...groups].filter(([, ports]) => has(ports)).map(([name]) => `ports.${name}`);
  // A client has it from a group, mostly: then that is the place to mend.
  const places = inGroups.length > 0
    ? inGroups
    : clients.filter(({ ports }) => has(ports)).map(({ name }) => `clients.${name}`);
  return places.map((place) =>
    `${place}: ${
      formatPortRange(knock)
    } takes knocks, and is never guarded; a service there needs another port`
  );
}
