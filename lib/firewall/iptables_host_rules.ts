/**
 * One rule of `iptables -S` in the words of `nft --json`, as `host_chains.ts` reasons about them; whatever has no such
 * word is a condition that nobody knows. Pure.
 */

import { CHAIN } from "./iptables_rules.ts";

/** The rules of chains that others jump to, by name. */
export type UserChains = ReadonlyMap<string, readonly string[]>;

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
};

/** The expressions of a rule, without its `-A CHAIN`. */
export function readRule(rule: string, userChains: UserChains): unknown[] {
  const { matches, target, goes } = takeApart(rule);
  if (target === undefined) return [...matches, word("counter")];
  if (Object.hasOwn(VERDICTS, target)) return [...matches, word(VERDICTS[target]!)];
  if (HARMLESS.has(target) || target === CHAIN) return [...matches, word("log")];
  if (!userChains.has(target) || reaches(target, userChains, isDangerous)) {
    return [...matches, word("jump")];
  }
  // Somebody is let in there, or nothing below is looked at; who, only that chain can tell.
  if (goes || reaches(target, userChains, (each) => each === "ACCEPT")) {
    return [...matches, unknown(`-j ${target}`), word("accept")];
  }
  return [...matches, word("log")];
}

function isDangerous(target: string, userChains: UserChains): boolean {
  if (target === "ACCEPT" || target === "RETURN" || target === CHAIN) return false;
  return !HARMLESS.has(target) && !userChains.has(target);
}

/** Whether a chain, or one that it jumps to, has a target of this kind. The kernel lets no chain jump in a circle. */
function reaches(
  chain: string,
  userChains: UserChains,
  isIt: (target: string, userChains: UserChains) => boolean,
): boolean {
  return (userChains.get(chain) ?? []).some((rule) => {
    const { target } = takeApart(rule);
    return target !== undefined && (isIt(target, userChains) || reaches(target, userChains, isIt));
  });
}

function takeApart(
  rule: string,
): { matches: unknown[]; target: string | undefined; goes: boolean } {
  const matches: unknown[] = [];
  let rest = ` ${rule} `;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    const match = pattern.exec(rest);
    if (match) rest = rest.replace(match[0], " ");
    return match;
  };
  take(/ -m comment --comment ("(?:[^"\\]|\\.)*"|\S+) /);
  const jump = take(/ -([jg]) (\S+)( --reject-with \S+)? /);
  const protocol = take(/(?<! !) -p (tcp|udp) /)?.[1];
  take(/ -m (tcp|udp) /);
  const ports = protocol &&
    (take(/(?<! !) --dport (\d+)(?::(\d+))? /) ?? take(/ -m multiport --dports ([\d,:]+) /));
  if (ports && protocol) {
    const spec = ports[2] === undefined ? ports[1]! : `${ports[1]}:${ports[2]}`;
    const values = spec.split(",").map((each) => {
      const [first, last] = each.split(":").map(Number);
      return last === undefined ? first! : { range: [first!, last] };
    });
    const right = values.length === 1 ? values[0] : { set: values };
    matches.push({ match: { op: "==", left: { payload: { protocol, field: "dport" } }, right } });
  } else if (protocol) {
    matches.push({ match: { op: "==", left: { meta: { key: "l4proto" } }, right: protocol } });
  }
  if (rest.trim() !== "") matches.push(unknown(rest.trim()));
  return { matches, target: jump?.[2], goes: jump?.[1] === "g" };
}

function unknown(words: string): unknown {
  return { match: { op: "==", left: {}, right: words } };
}

function word(name: string): unknown {
  return { [name]: null };
}
