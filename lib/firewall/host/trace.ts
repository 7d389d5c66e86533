/**
 * What a chain of the host surely does to a first packet: a walk through its rules, and through the chains that it jumps
 * to as far as they can be followed. Pure.
 */

import { type PortRange, subtractPortRanges } from "../../values/ports.ts";
import { type HostChain, type HostRule, targetOf, verdictOf } from "./chain.ts";
import { type Family, familyName } from "./families.ts";
import { meetsRule, type Met, type Packets, type Traffic, VERDICTS } from "./conditions.ts";

/** What drops packets: a rule of a chain, or without a rule its policy. */
export interface Block {
  readonly chain: HostChain;
  readonly rule: HostRule | undefined;
  /** The name of the chain in which that rule stands. */
  readonly place: string;
  readonly family: "ip" | "ip6";
  readonly ports: readonly PortRange[];
}

/**
 * The first chain that drops some of this traffic: by a rule that every such packet meets or by its policy, where no
 * rule before that surely accepts it.
 */
export function findBlock(
  traffic: Traffic,
  chains: readonly HostChain[],
  families: readonly Family[] = [4, 6],
): Block | undefined {
  for (const chain of chains) {
    for (const family of families.map(familyName)) {
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

/** What a chain does with packets to some ports. */
interface Outcome {
  /** The ports whose packets come out at its end. */
  readonly left: readonly PortRange[];
  readonly block?: Pick<Block, "rule" | "place" | "ports">;
}

/** What a rule does to the packets that meet it; the rest goes on to the next rule. */
interface Fate {
  /** Accepted, or sent where they cannot be followed. */
  readonly gone?: readonly PortRange[];
  /** Sent on to the end of the chain. */
  readonly ended?: readonly PortRange[];
  readonly block?: Outcome["block"];
}

/** The kernel follows no more jumps than this either. */
const DEEPEST = 16;

class Walk {
  readonly #subchains: HostChain["subchains"];
  readonly #packets: Packets;

  constructor({ hook, subchains }: HostChain, traffic: Traffic, family: "ip" | "ip6") {
    this.#subchains = subchains;
    this.#packets = { ...traffic, family, hook };
  }

  through(
    place: string,
    rules: readonly HostRule[],
    ports: readonly PortRange[],
    depth = 0,
  ): Outcome {
    let going = ports;
    const left: PortRange[] = [];
    for (const rule of rules) {
      if (rule.isHole) continue;
      for (const expressions of spreadVmap(rule.expressions)) {
        const met = meetsRule(expressions, going, this.#packets);
        if (met.ports.length === 0) continue;
        const verdict = expressions.find((each) => VERDICTS.includes(verdictOf(each)));
        const { gone = [], ended = [], block } = this.#fateOf(met, verdict, { rule, place, depth });
        if (block) return { left: [], block };
        going = subtractPortRanges(going, [...gone, ...ended]);
        left.push(...ended);
      }
    }
    return { left: [...going, ...left] };
  }

  #fateOf(
    { ports, share }: Met,
    verdict: unknown,
    { rule, place, depth }: { rule: HostRule; place: string; depth: number },
  ): Fate {
    const word = verdictOf(verdict);
    const mayCount = share !== "some" || this.#packets.inDoubtAccepted === true;
    if (word === "accept" || word === "queue") return mayCount ? { gone: ports } : {};
    if (word === "jump" || word === "goto") {
      return mayCount ? this.#fateBehind(verdict, { ports, share }, depth) : {};
    }
    if (share !== "all") return {};
    if (word === "drop" || word === "reject") return { block: { rule, place, ports } };
    return word === "return" ? { ended: ports } : {};
  }

  /** What the chain does that a rule jumps or goes to. */
  #fateBehind(verdict: unknown, { ports, share }: Met, depth: number): Fate {
    const target = targetOf(verdict);
    if (target === undefined) return { gone: ports }; // it may well accept
    const rules = this.#subchains?.get(target);
    if (!rules || depth === DEEPEST) return {};
    const { left, block } = this.through(target, rules, ports, depth + 1);
    if (block) return share === "all" ? { block } : {};
    const gone = subtractPortRanges(ports, left);
    return share === "all" && verdictOf(verdict) === "goto" ? { gone, ended: left } : { gone };
  }
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
