/** Which of some packets meet the conditions of a rule of the host, in the words of `nft --json`. Pure. */

import { intersectPortRanges, type PortRange, subtractPortRanges } from "../../values/ports.ts";
import { type HostChain, valuesOf, verdictOf } from "./chain.ts";
import { bareValue, portProtocol } from "./nft_listing.ts";

/** Packets that openme lets in, as they come to a chain. */
export interface Traffic {
  readonly ports: readonly PortRange[];
  /** What connection tracking says of them. */
  readonly state: "new" | "untracked";
  /** Whether destination NAT has changed their destination: then their port is no longer known. */
  readonly sentOn: boolean;
  /** Whether a rule that accepts under conditions that are not known here counts as one that accepts. */
  readonly inDoubtAccepted?: boolean;
}

/** Packets of one family in chains of one hook. */
export interface Packets extends Traffic {
  readonly family: "ip" | "ip6";
  readonly hook: HostChain["hook"];
}

/** How many of a port's packets meet a rule, the fewest first. `some`: it is not known which. */
const SHARES = ["some", "within a rate", "all"] as const;
export type Share = typeof SHARES[number];

/** The ports of whose packets any meet a condition or a rule. */
export interface Met {
  readonly ports: readonly PortRange[];
  readonly share: Share;
}

/** Statements after which a rule goes on as if they were not there. */
const TRANSPARENT = ["match", "limit", "counter", "log", "mangle", "notrack", "ct helper", "last"];
export const VERDICTS = ["accept", "drop", "reject", "return", "jump", "goto", "queue"];

/** Those of these ports whose packets meet every condition of a rule. */
export function meetsRule(
  expressions: readonly unknown[],
  ports: readonly PortRange[],
  packets: Packets,
): Met {
  let met: Met = { ports, share: "all" };
  for (const expression of expressions) {
    const word = verdictOf(expression);
    if (word === "match") {
      const next = meets((expression as { match: Match }).match, met.ports, packets);
      met = { ports: next.ports, share: fewer(met.share, next.share) };
    } else if (word === "limit") {
      const isOver = (expression as { limit: { inv?: boolean } | null }).limit?.inv === true;
      met = { ...met, share: fewer(met.share, isOver ? "some" : "within a rate") };
    } else if (![...TRANSPARENT, ...VERDICTS].includes(word) && !isComment(expression)) {
      met = { ...met, share: "some" };
    }
  }
  return met;
}

/** Which of these ports' packets meet a match. A match that is not known here is met by some. */
function meets({ left, right, op }: Match, ports: readonly PortRange[], packets: Packets): Met {
  const some: Met = { ports, share: "some" };
  const values = valuesOf(right);
  if (!["==", "!=", "in"].includes(op)) return some;
  if (values.some((value) => typeof value === "string" && value.startsWith("@"))) return some;
  const holds = isSo(left, values, packets);
  if (holds !== undefined) return all(holds === (op !== "!=") ? ports : []);
  if (left.meta?.key === "l4proto") return ofProtocols(ports, values, op);
  if (isFirstPacket(left, right)) return ofProtocols(ports, op === "!=" ? [] : ["tcp"], "==");
  const { protocol = "", field } = left.payload ?? {};
  if (protocol === "ip" || protocol === "ip6") {
    if (protocol !== packets.family) return all([]);
    return field === "protocol" || field === "nexthdr" ? ofProtocols(ports, values, op) : some;
  }
  if (protocol === "tcp" || protocol === "udp" || protocol === "th") {
    const own = ofProtocols(ports, protocol === "th" ? ["tcp", "udp"] : [protocol], "==").ports;
    const wanted = field === "dport" && !packets.sentOn ? rangesOf(values) : undefined;
    if (!wanted) return { ports: own, share: "some" };
    return all(op === "!=" ? subtractPortRanges(own, wanted) : intersectPortRanges(own, wanted));
  }
  // ICMP and the like have no ports.
  return OTHER_PROTOCOLS.includes(protocol) ? all([]) : some;
}

/** Whether all of these packets have one of these values; `undefined` where that is not known or depends on the port. */
function isSo(
  { ct, meta, fib }: Match["left"],
  values: readonly unknown[],
  { state, sentOn, family, hook }: Packets,
): boolean | undefined {
  if (ct?.key === "state") return values.includes(state);
  if (ct?.key === "status" && values.join() === "dnat") return sentOn;
  if (meta?.key === "iif" || meta?.key === "iifname") {
    return values.every((value) => value === "lo") ? false : undefined;
  }
  if (meta?.key === "nfproto") return values.includes(family === "ip" ? "ipv4" : "ipv6");
  if (meta?.key === "protocol") return values.includes(family);
  // The destination of forwarded packets is not known.
  return fib?.result === "type" && [fib.flags].flat().join() === "daddr" &&
      hook !== "forward"
    ? values.includes("local")
    : undefined;
}

function fewer(a: Share, b: Share): Share {
  return SHARES[Math.min(SHARES.indexOf(a), SHARES.indexOf(b))]!;
}

function all(ports: readonly PortRange[]): Met {
  return { ports, share: "all" };
}

const OTHER_PROTOCOLS = ["icmp", "icmpv6", "igmp", "esp", "ah", "sctp", "dccp", "udplite", "comp"];

interface Match {
  readonly left: {
    readonly payload?: { readonly protocol?: string; readonly field?: string };
    readonly ct?: { readonly key?: string };
    readonly meta?: { readonly key?: string };
    readonly fib?: { readonly result?: string; readonly flags?: unknown };
    readonly "&"?: readonly unknown[];
  };
  readonly right: unknown;
  readonly op: string;
}

function ofProtocols(ports: readonly PortRange[], values: readonly unknown[], op: string): Met {
  const named = values.map(portProtocol);
  return all(ports.filter(({ protocol }) => named.includes(protocol) === (op !== "!=")));
}

/** `tcp flags & (fin | syn | rst | ack) == syn` */
function isFirstPacket(left: Match["left"], right: unknown): boolean {
  const [field, mask] = left["&"] ?? [];
  const payload = (field as { payload?: { protocol?: string; field?: string } } | undefined)
    ?.payload;
  const flags = (Array.isArray(mask) ? mask : (mask as { "|"?: unknown })?.["|"]) ?? [];
  return payload?.protocol === "tcp" && payload.field === "flags" && right === "syn" &&
    [flags].flat().includes("syn");
}

function rangesOf(values: readonly unknown[]): PortRange[] | undefined {
  const ranges: PortRange[] = [];
  for (const value of values) {
    const bare = bareValue(value);
    const [first, last] = (bare as { range?: [unknown, unknown] } | null)?.range ?? [bare, bare];
    if (!Number.isInteger(first) || !Number.isInteger(last)) return undefined;
    for (const protocol of ["tcp", "udp"] as const) {
      ranges.push({ protocol, first: Number(first), last: Number(last) });
    }
  }
  return ranges;
}

function isComment(expression: unknown): boolean {
  return (expression as { xt?: { name?: string } | null }).xt?.name === "comment";
}
