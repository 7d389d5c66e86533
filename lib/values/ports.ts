/**
 * Ports as the configuration writes them (`22/tcp`, `53/udp`, `80`, `8080-8090/tcp`) and as a firewall takes them:
 * ranges of one protocol each, sorted and disjoint.
 */

export type Protocol = "tcp" | "udp";

/** Ports `first` to `last`, both included, of one protocol. */
export interface PortRange {
  readonly protocol: Protocol;
  readonly first: number;
  readonly last: number;
}

/** One entry of a configuration: ports of one protocol, or of both. */
export interface PortSpec {
  readonly protocol: Protocol | "both";
  readonly first: number;
  readonly last: number;
}

/**
 * Reads a port spec. Returns `undefined` for anything else: a port outside 1 to 65535, a range that runs backwards, a
 * leading zero, white space.
 *
 * @example
 * ```ts
 * import { parsePortSpec } from "./ports.ts";
 * if (parsePortSpec("8080-8090/tcp")?.last !== 8090) throw new Error("unexpected");
 * ```
 */
export function parsePortSpec(text: string): PortSpec | undefined {
  const match = /^([1-9]\d{0,4})(?:-([1-9]\d{0,4}))?(?:\/(tcp|udp))?$/.exec(text);
  if (!match) return undefined;
  const first = Number(match[1]);
  const last = match[2] === undefined ? first : Number(match[2]);
  if (first > last || last > 65535) return undefined;
  return { protocol: match[3] as Protocol | undefined ?? "both", first, last };
}

/** The hint for a range that runs backwards, such as `90-80/tcp`. */
export function reversedHint(text: string): string | undefined {
  const turned = text.replace(/^(\d+)-(\d+)/, "$2-$1");
  return turned !== text && parsePortSpec(turned)
    ? `the lower port goes first: "${turned}"`
    : undefined;
}

/** The canonical text of a spec; a range of one port prints as that port. */
export function formatPortSpec({ protocol, first, last }: PortSpec): string {
  const ports = first === last ? `${first}` : `${first}-${last}`;
  return protocol === "both" ? ports : `${ports}/${protocol}`;
}

/** The canonical text of a range, such as `8080-8090/tcp`. */
export function formatPortRange(range: PortRange): string {
  return formatPortSpec(range);
}

/** The one or two ranges that a spec means. */
export function expandPortSpec({ protocol, first, last }: PortSpec): PortRange[] {
  const protocols: Protocol[] = protocol === "both" ? ["tcp", "udp"] : [protocol];
  return protocols.map((each) => ({ protocol: each, first, last }));
}

/** The same ports as disjoint ranges, as few as possible, by protocol and then by port. */
export function mergePortRanges(ranges: readonly PortRange[]): PortRange[] {
  const merged: PortRange[] = [];
  for (const range of [...ranges].sort(comparePortRanges)) {
    const previous = merged.at(-1);
    if (previous && previous.protocol === range.protocol && range.first <= previous.last + 1) {
      merged[merged.length - 1] = { ...previous, last: Math.max(previous.last, range.last) };
    } else {
      merged.push(range);
    }
  }
  return merged;
}

/** The ports that are in both, as disjoint ranges. */
export function intersectPortRanges(a: readonly PortRange[], b: readonly PortRange[]): PortRange[] {
  const common: PortRange[] = [];
  for (const x of a) {
    for (const y of b) {
      const first = Math.max(x.first, y.first);
      const last = Math.min(x.last, y.last);
      if (x.protocol === y.protocol && first <= last) {
        common.push({ protocol: x.protocol, first, last });
      }
    }
  }
  return mergePortRanges(common);
}

/** The ports of `a` that are not in `b`, as disjoint ranges. */
export function subtractPortRanges(a: readonly PortRange[], b: readonly PortRange[]): PortRange[] {
  let left = mergePortRanges(a);
  for (const { protocol, first, last } of b) {
    left = left.flatMap((range) => {
      if (range.protocol !== protocol || last < range.first || range.last < first) return [range];
      return [
        ...(range.first < first ? [{ ...range, last: first - 1 }] : []),
        ...(last < range.last ? [{ ...range, first: last + 1 }] : []),
      ];
    });
  }
  return left;
}

/** Whether every port of `inner` is in `outer`. */
export function includesPortRanges(
  outer: readonly PortRange[],
  inner: readonly PortRange[],
): boolean {
  const wanted = mergePortRanges(inner);
  const found = intersectPortRanges(outer, wanted);
  return found.length === wanted.length &&
    found.every((range, i) => comparePortRanges(range, wanted[i]!) === 0);
}

/** Sorts by protocol, then by first and last port. */
export function comparePortRanges(a: PortRange, b: PortRange): number {
  if (a.protocol !== b.protocol) return a.protocol < b.protocol ? -1 : 1;
  return a.first - b.first || a.last - b.last;
}

/** Ports as people are shown them, without the health port, which comes with every grant. */
export function shownPorts(ports: readonly PortRange[], healthPort: number | undefined): string[] {
  const health = healthPort === undefined
    ? []
    : [{ protocol: "tcp", first: healthPort, last: healthPort } as const];
  return subtractPortRanges(ports, health).map(formatPortRange);
}
