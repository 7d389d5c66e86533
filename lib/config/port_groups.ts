/** The port groups of the server's configuration: one to one with `ports` in docs/configuration.md. */

import {
  expandPortSpec,
  mergePortRanges,
  parsePortSpec,
  type PortRange,
  reversedHint,
} from "../ports.ts";
import { listOf, mismatch, namedEntries, Section } from "./reader.ts";

export const PORT_EXPECTED = `a port such as "22/tcp"`;

/** Reads the section `ports`. */
export function readGroups(
  value: unknown,
): { groups: Map<string, PortRange[]>; forwardedPorts: PortRange[] } {
  const groups = new Map<string, PortRange[]>();
  const forwarded: PortRange[] = [];
  for (const [name, entry, path] of namedEntries(value, "ports")) {
    const group = entry instanceof Map ? new Section(entry, path, ["ports", "guard"]) : undefined;
    const specsPath = group ? group.path("ports") : path;
    const ranges = listOf(group ? group.raw("ports") : entry, specsPath).flatMap(([spec, at]) => {
      const range = readPortSpec(spec);
      if (!range) throw mismatch(at, PORT_EXPECTED, spec, reversedHint(String(spec)));
      return range;
    });
    if (ranges.length === 0) throw mismatch(specsPath, `a list with ${PORT_EXPECTED}`, undefined);
    groups.set(name, mergePortRanges(ranges));
    if (group?.optional("guard", (key) => readForward(group, key))) forwarded.push(...ranges);
  }
  return { groups, forwardedPorts: mergePortRanges(forwarded) };
}

/** `{forward: true}`: forwarded traffic to these ports is guarded as well. */
function readForward(group: Section, key: string): boolean {
  const guard = new Section(group.raw(key), group.path(key), ["forward"]);
  return guard.optional("forward", (each) => guard.flag(each)) ?? false;
}

/** One entry of a list of ports; `undefined` for what is none. */
export function readPortSpec(value: unknown): PortRange[] | undefined {
  // `- 80` is a number to YAML.
  const spec = typeof value === "string" || typeof value === "number"
    ? parsePortSpec(String(value))
    : undefined;
  return spec && expandPortSpec(spec);
}
