/**
 * One rule of `iptables -S` in the words of `nft --json`, as `host_chains.ts` and `host_walk.ts` reason about them;
 * whatever has no such word is a condition that nobody knows. Pure.
 */

import { CHAIN } from "../plan.ts";

/** What ends nothing: a packet goes on to the next rule. */
const HARMLESS = new Set([
  ...["LOG", "NFLOG", "ULOG", "AUDIT", "TRACE", "TEE", "LED", "RATEEST", "IDLETIMER", "SET"],
  ...["MARK", "CONNMARK", "SECMARK", "CONNSECMARK", "HMARK", "CLASSIFY", "CT", "NOTRACK"],
  ...["TCPMSS", "TCPOPTSTRIP", "TTL", "HL", "TOS", "DSCP", "ECN", "CHECKSUM"],
]);
const VERDICTS: Readonly<Record<string, string>> = {
  ACCEPT: "accept",
  DROP: "drop",
  REJECT: "reject",
  RETURN: "return",
  NFQUEUE: "queue",
};

/**
 * The expressions of a rule, without its `-A CHAIN`. A target that is none of `userChains` and not known here is
 * `{ jump: null }`: it goes where nobody can tell.
 */
export function readRule(rule: string, userChains: { has(name: string): boolean }): unknown[] {
  const expressions: unknown[] = [];
  let rest = ` ${rule} `;
  const take = (pattern: RegExp): RegExpExecArray | undefined => {
    const match = pattern.exec(rest) ?? undefined;
    if (match) rest = rest.replace(match[0], " ");
    return match;
  };
  const match = (left: unknown, right: unknown, not: string | undefined = undefined) =>
    expressions.push({ match: { op: not ? "!=" : "==", left, right } });
  take(/ -m comment --comment ("(?:[^"\\]|\\.)*"|\S+) /);
  const target = take(/ -([jg]) (\S+)( .*)?$/);
  const protocol = take(/ (! )?-p (\S+) /);
  const isProtocol = protocol?.[2];
  if (protocol) match({ meta: { key: "l4proto" } }, isProtocol, protocol[1]);
  take(/ -m (tcp|udp) /);
  const port = take(/ (! )?--dport (\S+) /) ?? take(/ -m multiport (! )?--dports (\S+) /);
  if (port && isProtocol) {
    const values = port[2]!.split(",").map((each) => {
      const [first, last] = each.split(":").map(Number);
      return last === undefined ? first : { range: [first, last] };
    });
    const right = values.length === 1 ? values[0] : { set: values };
    match({ payload: { protocol: isProtocol, field: "dport" } }, right, port[1]);
  }
  const first = take(/ (! )?--tcp-flags FIN,SYN,RST,ACK SYN /);
  if (first) {
    const flags = { payload: { protocol: "tcp", field: "flags" } };
    match({ "&": [flags, ["fin", "syn", "rst", "ack"]] }, "syn", first[1]);
  }
  const inward = take(/ (! )?-i (\S+) /);
  if (inward) match({ meta: { key: "iifname" } }, inward[2], inward[1]);
  const state = take(/ -m (?:conntrack|state) (! )?--(?:ctstate|state) (\S+) /);
  if (state) {
    const words = state[2]!.toLowerCase().split(",");
    const isDnat = words.length === 1 && words[0] === "dnat";
    const key = isDnat ? "status" : "state";
    // An iptables state may also be one of NAT's, of which nft makes a key of its own.
    if (isDnat || !words.some((word) => ["dnat", "snat"].includes(word))) {
      match({ ct: { key } }, { set: words }, state[1]);
    } else match({}, state[0]);
  }
  const type = take(/ -m addrtype (! )?--dst-type (\S+) /);
  if (type) {
    const right = { set: type[2]!.toLowerCase().split(",") };
    match({ fib: { result: "type", flags: ["daddr"] } }, right, type[1]);
  }
  if (take(/ -m limit --limit \S+ (--limit-burst \d+ )?/)) expressions.push({ limit: {} });
  if (rest.trim() !== "") match({}, rest.trim());
  expressions.push(fateOf(target?.[1], target?.[2], userChains));
  return expressions;
}

function fateOf(
  letter: string | undefined,
  target: string | undefined,
  userChains: { has(name: string): boolean },
): unknown {
  if (target === undefined) return { counter: null };
  if (Object.hasOwn(VERDICTS, target)) return { [VERDICTS[target]!]: null };
  if (HARMLESS.has(target) || target === CHAIN) return { log: null };
  if (!userChains.has(target)) return { jump: null };
  return { [letter === "g" ? "goto" : "jump"]: { target } };
}
