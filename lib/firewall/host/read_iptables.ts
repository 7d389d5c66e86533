/**
 * The host's own iptables rules: `iptables -S` read into the chains of `chain.ts`, each rule in the words of
 * `nft --json`, in which `trace.ts` follows them. Pure.
 */

import type { PortRange } from "../../values/ports.ts";
import { CHAIN, HOLE_COMMENT } from "../plan.ts";
import type { HostChain, HostRule } from "./chain.ts";

const HOOKS: Readonly<Record<string, HostChain["hook"]>> = {
  PREROUTING: "prerouting",
  INPUT: "input",
  FORWARD: "forward",
};

/** The tables that may drop what comes in; nat cannot. */
export const HOST_TABLES = ["raw", "mangle", "filter", "security"] as const;
export type HostTable = typeof HOST_TABLES[number];
const PRIORITIES: Readonly<Record<HostTable, number>> = {
  raw: -300,
  mangle: -150,
  filter: 0,
  security: 50,
};

/** Whether a table of nftables is one that iptables-nft keeps there. */
export function isTableOfIptables(family: unknown, table: unknown): boolean {
  return family !== "inet" && [...HOST_TABLES, "nat"].some((each) => each === table);
}

/**
 * The chains on the way in, of what `-S` of a program prints of a table. The handle of a rule is its number in its
 * chain, from 1.
 */
export function parseHostTable(
  program: string,
  { family, table }: { family: "ip" | "ip6"; table: HostTable },
  listing: string,
): HostChain[] {
  const lines = listing.split("\n").map((each) => each.trim());
  const subchains = new Map<string, HostRule[]>();
  const bases = new Map<string, HostRule[]>();
  const chains: HostChain[] = [];
  for (const line of lines) {
    const [, flag, name, policy] = /^-([NP]) (\S+)(?: (\w+))?$/.exec(line) ?? [];
    if (flag === "N") subchains.set(name!, []);
    const hook = flag === "P" ? HOOKS[name!] : undefined;
    if (!hook) continue;
    const rules: HostRule[] = [];
    bases.set(name!, rules);
    chains.push({
      program,
      family,
      table,
      name: name!,
      hook,
      priority: PRIORITIES[table],
      owned: false,
      dropsByPolicy: policy === "DROP",
      rules,
      subchains,
    });
  }
  for (const line of lines) {
    const [, name, rule] = /^-A (\S+) (.*)$/.exec(line) ?? [];
    const rules = name === undefined ? undefined : bases.get(name) ?? subchains.get(name);
    rules?.push({
      handle: rules.length + 1,
      isHole: line.includes(`--comment "${HOLE_COMMENT}"`),
      expressions: readRule(rule!, subchains),
      text: line,
    });
  }
  return chains;
}

/** The ports that rules in `iptables -t nat -S` send elsewhere; `undefined` where one does not say which. */
export function publishedInNat(listing: string): PortRange[] | undefined {
  const published: PortRange[] = [];
  for (const line of listing.split("\n")) {
    if (!/ -j (DNAT|REDIRECT|NETMAP)\b/.test(line) || line.startsWith("-A OUTPUT")) continue;
    const ports = / -p (tcp|udp) .*--dport (\d+)(?::(\d+))?/.exec(line);
    if (!ports) return undefined;
    published.push({
      protocol: ports[1] as PortRange["protocol"],
      first: Number(ports[2]),
      last: Number(ports[3] ?? ports[2]),
    });
  }
  return published;
}

/** What `iptables-restore` reads for one table. */
export function inTable(table: string, lines: readonly string[]): string {
  return `*${table}\n${lines.join("\n")}\nCOMMIT\n`;
}

/** Targets after which a packet goes on to the next rule. */
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
/** Modules that are no condition by themselves, and options that are none. */
const MODULES = ["tcp", "udp", "multiport", "conntrack", "state", "addrtype", "limit", "comment"];
const NO_CONDITION = ["--comment", "--limit-burst"];

/** `[!] NAME VALUE…`, as in `! --dport 22`. */
interface Option {
  readonly isNegated: boolean;
  readonly name: string;
  readonly values: readonly string[];
}

type UserChains = ReadonlyMap<string, unknown>;

/**
 * The expressions of a rule, without its `-A CHAIN`. A condition that has no word here is a match of nothing known; a
 * target that is neither known here nor a user chain is `{ jump: null }`.
 */
function readRule(rule: string, userChains: UserChains): unknown[] {
  const options = parseOptions(rule);
  const at = options.findIndex(({ name }) => name === "-j" || name === "-g");
  const conditions = at < 0 ? options : options.slice(0, at);
  const protocol = conditions.find(({ name }) => name === "-p")?.values[0];
  return [
    ...conditions.flatMap((option) => readCondition(option, protocol)),
    readTarget(options[at], userChains),
  ];
}

/** The options in their order. Those of a target come after it, at the end. */
function parseOptions(rule: string): Option[] {
  const options: (Option & { values: string[] })[] = [];
  let isNegated = false;
  for (const [word] of rule.matchAll(/"(?:[^"\\]|\\.)*"|\S+/g)) {
    const last = options.at(-1);
    const isValue = last && (!/^[-!]/.test(word) || (last.name === "--comment" && !last.values[0]));
    if (isValue) last.values.push(word);
    else if (word === "!") isNegated = true;
    else {
      options.push({ isNegated, name: word, values: [] });
      isNegated = false;
    }
  }
  return options;
}

/** A condition in nft's words; `protocol` is that of the rule. */
function readCondition({ isNegated, name, values }: Option, protocol?: string): unknown[] {
  const value = values[0] ?? "";
  const match = (left: unknown, right: unknown) => [
    { match: { op: isNegated ? "!=" : "==", left, right } },
  ];
  const words = value.toLowerCase().split(",");
  if (NO_CONDITION.includes(name) || (name === "-m" && MODULES.includes(value))) return [];
  if (name === "-p") return match({ meta: { key: "l4proto" } }, value);
  if (name === "-i") return match({ meta: { key: "iifname" } }, value);
  if (name === "--limit") return [{ limit: {} }];
  if (name === "--dst-type") {
    return match({ fib: { result: "type", flags: ["daddr"] } }, { set: words });
  }
  if ((name === "--dport" || name === "--dports") && protocol !== undefined) {
    const ports = words.map((each) => {
      const [first, last] = each.split(":").map(Number);
      return last === undefined ? first : { range: [first, last] };
    });
    return match({ payload: { protocol, field: "dport" } }, { set: ports });
  }
  if (name === "--tcp-flags" && values.join(" ") === "FIN,SYN,RST,ACK SYN") {
    const flags = { payload: { protocol: "tcp", field: "flags" } };
    return match({ "&": [flags, ["fin", "syn", "rst", "ack"]] }, "syn");
  }
  if (name === "--ctstate" || name === "--state") {
    // NAT's states are a key of their own in nft.
    if (words.join() === "dnat") return match({ ct: { key: "status" } }, { set: words });
    if (!words.includes("dnat") && !words.includes("snat")) {
      return match({ ct: { key: "state" } }, { set: words });
    }
  }
  return match({}, [name, ...values].join(" "));
}

function readTarget(option: Option | undefined, userChains: UserChains): unknown {
  if (!option) return { counter: null };
  const target = option.values[0] ?? "";
  if (Object.hasOwn(VERDICTS, target)) return { [VERDICTS[target]!]: null };
  if (HARMLESS.has(target) || target === CHAIN) return { log: null };
  if (!userChains.has(target)) return { jump: null };
  return { [option.name === "-g" ? "goto" : "jump"]: { target } };
}
