/** The port groups of the server's configuration: one to one with `ports` in docs/configuration.md. */

import {
  expandPortSpec,
  mergePortRanges,
  parsePortSpec,
  type PortRange,
  reversedHint,
} from "../values/ports.ts";
import { ConfigError, listOf, mismatch, namedEntries, Section } from "./fields.ts";

export const PORT_EXPECTED = `a port such as "22/tcp"`;
export const PORT_OR_GROUP_EXPECTED = `${PORT_EXPECTED} or a group name`;

/** Reads the section `ports`. A group may name other groups, in any order, but not itself. */
export function readGroups(
  value: unknown,
): { groups: Map<string, PortRange[]>; forwardedPorts: PortRange[] } {
  const entries = new Map(
    namedEntries(value, "ports").map(([name, entry, path]) => [name, { entry, path }]),
  );
  const groups = new Map<string, PortRange[]>();
  const forwarded: PortRange[] = [];
  /** The ports of a group; `within` are the groups that are being read and lead to it. */
  const resolve = (name: string, within: readonly string[]): PortRange[] => {
    const known = groups.get(name);
    if (known) return known;
    const { entry, path } = entries.get(name)!;
    const group = entry instanceof Map ? new Section(entry, path, ["ports", "guard"]) : undefined;
    const specsPath = group ? group.path("ports") : path;
    const way = [...within, name];
    const ranges = listOf(group ? group.raw("ports") : entry, specsPath).flatMap(([spec, at]) => {
      if (typeof spec === "string" && entries.has(spec)) {
        if (!way.includes(spec)) return resolve(spec, way);
        throw new ConfigError(
          at,
          `expected a group that does not lead back here, got ${[...way, spec].join(" -> ")}`,
          "take one of these names out",
        );
      }
      const range = readPortSpec(spec);
      if (range) return range;
      throw mismatch(at, PORT_OR_GROUP_EXPECTED, spec, reversedHint(String(spec)));
    });
    if (ranges.length === 0) throw mismatch(specsPath, `a list with ${PORT_EXPECTED}`, undefined);
    const merged = mergePortRanges(ranges);
    groups.set(name, merged);
    if (group?.optional("guard", (key) => readForward(group, key))) forwarded.push(...merged);
    return merged;
  };
  for (const name of entries.keys()) resolve(name, []);
  // In the order of the file, whichever was read first.
  const ordered = new Map([...entries.keys()].map((name) => [name, groups.get(name)!]));
  return { groups: ordered, forwardedPorts: mergePortRanges(forwarded) };
}

/** `{forward: true}`: forwarded traffic to these ports is guarded as well. */
function readForward(group: Section, key: string): boolean {
  const guard = new Section(group.raw(key), group.path(key), ["forward"]);
  return guard.optional("forward", (each) => guard.flag(each)) ?? false;
}

/** The ports that an item of `allowed_ports` opens, a group's name or a spec; `undefined` for anything else. */
export function portsOf(
  item: unknown,
  groups: ReadonlyMap<string, readonly PortRange[]>,
): readonly PortRange[] | undefined {
  return typeof item === "string" && groups.get(item) || readPortSpec(item);
}

/** One entry of a list of ports; `undefined` for what is none. */
function readPortSpec(value: unknown): PortRange[] | undefined {
  // `- 80` is a number to YAML.
  const spec = typeof value === "string" || typeof value === "number"
    ? parsePortSpec(String(value))
    : undefined;
  return spec && expandPortSpec(spec);
}
