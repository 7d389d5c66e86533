/** The port groups of the server's configuration: one to one with `ports` in docs/configuration.md. */

import {
  expandPortSpec,
  mergePortRanges,
  parsePortSpec,
  type PortRange,
  reversedHint,
} from "../values/ports.ts";
import { type Extension, readMost } from "./extend.ts";
import { ConfigError, type Field, missing } from "./fields.ts";

const PORT_EXPECTED = `a port such as "22/tcp"`;
const PORT_OR_GROUP_EXPECTED = `${PORT_EXPECTED} or a group name`;

/** What the section `ports` says. */
export interface PortGroups {
  readonly groups: Map<string, PortRange[]>;
  readonly forwardedPorts: PortRange[];
  /** What stays open while it is used, by the group that says so or has one that does. */
  readonly extensions: ReadonlyMap<string, readonly Extension[]>;
}

/** Reads the section `ports`. A group may name other groups, in any order, but not itself. */
export function readGroups(section: Field): PortGroups {
  const entries = new Map(section.entries());
  const groups = new Map<string, PortRange[]>();
  const forwarded: PortRange[] = [];
  const extensions = new Map<string, readonly Extension[]>();
  /** The ports of a group; `within` are the groups that are being read and lead to it. */
  const resolve = (name: string, within: readonly string[]): PortRange[] => {
    const known = groups.get(name);
    if (known) return known;
    const entry = entries.get(name)!;
    const group = entry.value instanceof Map
      ? entry.section(["ports", "guard", "extend_while_used"])
      : undefined;
    const specs = group ? group.field("ports") : entry;
    const way = [...within, name];
    const extended: Extension[] = [];
    const ranges = specs.items().flatMap((item) => {
      const spec = item.value;
      if (typeof spec === "string" && entries.has(spec)) {
        if (!way.includes(spec)) {
          const ports = resolve(spec, way);
          extended.push(...extensions.get(spec) ?? []);
          return ports;
        }
        throw new ConfigError(
          item.path,
          `expected a group that does not lead back here, got ${[...way, spec].join(" -> ")}`,
          "take one of these names out",
        );
      }
      return readPorts(item, groups);
    });
    if (ranges.length === 0) throw missing(specs.path, `a list with ${PORT_EXPECTED}`);
    const merged = mergePortRanges(ranges);
    groups.set(name, merged);
    const guard = group?.optional("guard")?.section(["forward"]);
    if (guard?.optional("forward")?.flag()) forwarded.push(...merged);
    const most = group?.optional("extend_while_used");
    if (most) extended.push({ ports: merged, mostMs: readMost(most) });
    if (extended.length > 0) extensions.set(name, extended);
    return merged;
  };
  for (const name of entries.keys()) resolve(name, []);
  // In the order of the file.
  const ordered = new Map([...entries.keys()].map((name) => [name, groups.get(name)!]));
  return { groups: ordered, forwardedPorts: mergePortRanges(forwarded), extensions };
}

/** The ports of an item of a list of groups and specs. */
export function readPorts(
  item: Field,
  groups: ReadonlyMap<string, readonly PortRange[]>,
): readonly PortRange[] {
  const ports = portsOf(item.value, groups);
  if (ports) return ports;
  throw item.mismatch(PORT_OR_GROUP_EXPECTED, reversedHint(String(item.value)));
}

/** The ports that an item opens, a group's name or a spec; `undefined` for anything else. */
export function portsOf(
  item: unknown,
  groups: ReadonlyMap<string, readonly PortRange[]>,
): readonly PortRange[] | undefined {
  // `- 80` is a number to YAML.
  if (typeof item !== "string" && typeof item !== "number") return undefined;
  const spec = parsePortSpec(String(item));
  return groups.get(String(item)) ?? (spec && expandPortSpec(spec));
}
