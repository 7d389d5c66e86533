/**
 * What surely becomes of a stranger's first packet in a chain of the host's: a walk through its rules, and through those
 * that it jumps to as far as they can be followed. For chains into which openme can put no hole. Pure.
 */

import { intersectPortRanges, type PortRange, subtractPortRanges } from "../../values/ports.ts";
import { type HostChain, type HostRule, targetOf, valuesOf, verdictOf } from "./chain.ts";

/** Packets that openme lets in, as they come to a chain. */
export interface Traffic {
  readonly ports: readonly PortRange[];
  /** What connection tracking says of them. */
  readonly state: "new" | "untracked";
  /** Whether destination NAT has sent them elsewhere before: then their port is no longer known. */
  readonly sentOn: boolean;
  /** Whether what a rule accepts under conditions that are not known here passes for accepted. */
  readonly inDoubtAccepted?: boolean;
}

/** What of a chain drops them: a rule, or its policy where there is none. */
export interface Block {
  readonly chain: HostChain;
  readonly rule: HostRule | undefined;
  /** The chain in which that rule stands. */
  readonly place: string;
  readonly family: "ip" | "ip6";
  readonly ports: readonly PortRange[];
}

/**
 * The first chain that drops some of this traffic: by a rule that every such packet meets or by its policy, where no
 * rule before that surely accepts it.
 */
export function findBlock(traffic: Traffic, chains: readonly HostChain[]): Block | undefined {
  for (const chain of chains) {
    for (const family of ["ip", "ip6"] as const) {
      if (chain.family !== "inet" && chain.family !== family) continue;
      const walk = new Walk(chain, traffic, family);
      const { left, block } = walk.through(chain.name, chain.rules, traffic.ports);
      if (block) return { chain, family, ...block };
      if (chain.dropsByPolicy && left.length > 0) {
        return { chain, family, rule: undefined, place: chain.name, ports: left };
      }
    }
  }
  return undefined;
}

interface Outcome {
  /** What comes out at the end of the chain. */
  readonly left: readonly PortRange[];
  readonly block?: Pick<Block, "rule" | "place" | "ports">;
}

/** What of some ports' packets meets a condition; not `surely` where it may be that only some of them do. */
interface Meeting {
  readonly ports: readonly PortRange[];
  readonly surely: boolean;
}

/** The kernel follows no more jumps than this either. */
const DEEPEST = 16;
/** Statements after which a rule goes on as if they were not there. */
const TRANSPARENT = ["match", "limit", "counter", "log", "mangle", "notrack", "ct helper", "last"];
const FATES = ["accept", "drop", "reject", "return", "jump", "goto", "queue"];

class Walk {
  readonly #chain: HostChain;
  readonly #traffic: Traffic;
  readonly #family: "ip" | "ip6";

  constructor(chain: HostChain, traffic: Traffic, family: "ip" | "ip6") {
    this.#chain = chain;
    this.#traffic = traffic;
    this.#family = family;
  }

  through(
    place: string,
    rules: readonly HostRule[],
    ports: readonly PortRange[],
    depth = 0,
  ): Outcome {
    let going = ports;
    const returned: PortRange[] = [];
    for (const rule of rules) {
      if (rule.isHole) continue;
      for (const expressions of spreadVmap(rule.expressions)) {
        const { ports: touched, surely } = this.#meeting(expressions, going);
        if (touched.length === 0) continue;
        const fate = expressions.find((each) => FATES.includes(verdictOf(each)));
        const word = verdictOf(fate);
        const counts = surely || this.#traffic.inDoubtAccepted === true;
        if (word === "accept" || word === "queue") {
          if (counts) going = subtractPortRanges(going, touched);
          continue;
        }
        const isSure = surely && !expressions.some((each) => verdictOf(each) === "limit");
        if (isSure && (word === "drop" || word === "reject")) {
          return { left: [], block: { rule, place, ports: touched } };
        }
        if (isSure && word === "return") {
          going = subtractPortRanges(going, touched);
          returned.push(...touched);
        }
        if (!counts || (word !== "jump" && word !== "goto")) continue;
        const target = targetOf(fate);
        if (target === undefined) {
          going = subtractPortRanges(going, touched); // it may well accept
          continue;
        }
        const next = this.#chain.subchains?.get(target);
        if (!next || depth === DEEPEST) continue;
        const inside = this.through(target, next, touched, depth + 1);
        if (!isSure) {
          if (!inside.block) {
            going = subtractPortRanges(going, subtractPortRanges(touched, inside.left));
          }
          continue;
        }
        if (inside.block) return inside;
        going = subtractPortRanges(going, touched);
        if (word === "jump") going = [...going, ...inside.left];
        else returned.push(...inside.left);
      }
    }
    return { left: [...going, ...returned] };
  }

  #meeting(expressions: readonly unknown[], ports: readonly PortRange[]): Meeting {
    let met: Meeting = { ports, surely: true };
    for (const expression of expressions) {
      const word = verdictOf(expression);
      if (word === "match") {
        const { ports, surely } = this.#meets((expression as { match: Match }).match, met.ports);
        met = { ports, surely: met.surely && surely };
      } else if (word === "limit") {
        const isOver = (expression as { limit: { inv?: boolean } | null }).limit?.inv === true;
        if (isOver) met = { ...met, surely: false };
      } else if (!TRANSPARENT.includes(word) && !FATES.includes(word) && !isComment(expression)) {
        met = { ...met, surely: false };
      }
    }
    return met;
  }

  /** Which of these ports' packets a match lets pass. Whatever has no name here lets some pass. */
  #meets({ left, right, op }: Match, ports: readonly PortRange[]): Meeting {
    const some: Meeting = { ports, surely: false };
    const values = valuesOf(right);
    if (!["==", "!=", "in"].includes(op)) return some;
    if (values.some((value) => typeof value === "string" && value.startsWith("@"))) return some;
    const ifSo = (is: boolean): Meeting => ({
      ports: is === (op !== "!=") ? ports : [],
      surely: true,
    });
    const { ct, meta, fib, payload } = left;
    if (ct?.key === "state") return ifSo(values.includes(this.#traffic.state));
    if (ct?.key === "status" && values.length === 1 && values[0] === "dnat") {
      return ifSo(this.#traffic.sentOn);
    }
    if (meta?.key === "iif" || meta?.key === "iifname") {
      return values.every((value) => value === "lo") ? ifSo(false) : some;
    }
    if (meta?.key === "nfproto") {
      return ifSo(values.includes(this.#family === "ip" ? "ipv4" : "ipv6"));
    }
    if (meta?.key === "protocol") return ifSo(values.includes(this.#family));
    if (fib?.result === "type" && [fib.flags].flat().join() === "daddr") {
      // Whom forwarded packets are for does not make a difference to anybody who asks this.
      return this.#chain.hook === "forward" ? some : ifSo(values.includes("local"));
    }
    if (meta?.key === "l4proto") return ofProtocols(ports, values, op);
    if (isFirstPacket(left, right)) return ofProtocols(ports, op === "!=" ? [] : ["tcp"], "==");
    const { protocol, field } = payload ?? {};
    if (protocol === "ip" || protocol === "ip6") {
      if (protocol !== this.#family) return { ports: [], surely: true };
      return field === "protocol" || field === "nexthdr" ? ofProtocols(ports, values, op) : some;
    }
    if (protocol === "tcp" || protocol === "udp" || protocol === "th") {
      const own = ofProtocols(ports, protocol === "th" ? ["tcp", "udp"] : [protocol], "==").ports;
      const wanted = field === "dport" && !this.#traffic.sentOn ? rangesOf(values) : undefined;
      if (!wanted) return { ports: own, surely: false };
      return {
        ports: op === "!=" ? subtractPortRanges(own, wanted) : intersectPortRanges(own, wanted),
        surely: true,
      };
    }
    // ICMP and the like have no ports.
    return protocol !== undefined && OTHER_PROTOCOLS.includes(protocol)
      ? { ports: [], surely: true }
      : some;
  }
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

/** A verdict map is a rule for each of its elements. One that is not written out says nothing. */
function spreadVmap(expressions: readonly unknown[]): readonly (readonly unknown[])[] {
  const at = expressions.findIndex((each) => verdictOf(each) === "vmap");
  if (at < 0) return [expressions];
  const { key, data } = (expressions[at] as { vmap: { key: unknown; data: unknown } }).vmap;
  const set = (data as { set?: unknown } | null)?.set;
  if (!Array.isArray(set)) return [];
  return set.filter(Array.isArray).map(([value, verdict]) => [
    ...expressions.slice(0, at),
    { match: { op: "==", left: key, right: value } },
    verdict,
  ]);
}

function ofProtocols(ports: readonly PortRange[], values: readonly unknown[], op: string): Meeting {
  const is = ({ protocol }: PortRange) => values.includes(protocol) === (op !== "!=");
  return { ports: ports.filter(is), surely: true };
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
    const bare = (value as { elem?: { val?: unknown } } | null)?.elem?.val ?? value;
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
