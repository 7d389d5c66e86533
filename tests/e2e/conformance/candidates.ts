/** Which backends are tried, and on what kind of machine: one line each. */

import type { BackendName, CommandLines } from "../../../lib/firewall/plan.ts";
import { FirewalldHost, firewalldMissing } from "../firewalld_host.ts";
import { iptablesHost } from "../host_rules.ts";
import type { Lab } from "../lab.ts";
import { createPfStandIn, type StandIn } from "../pf_stand_in.ts";
import { HOST_RULES } from "../rules.ts";

/** A backend, and the machine that it is tried on. */
export interface Candidate {
  readonly title: string;
  readonly name: BackendName;
  /** How the host closes its ports by itself; then the backend has to make holes. */
  readonly host?: (lab: Lab) => Promise<FirewalldHost | void>;
  /** Why it cannot run here, or `undefined`. */
  readonly needs?: string | undefined;
  /** What takes openme's rules away, as a stranger's reload does. */
  readonly flush?: (lab: Lab, host: FirewalldHost | void) => Promise<void>;
  readonly command?: (dir: string) => CommandLines;
  /** Whether sets are written over netlink, as `serve` does it. */
  readonly byNetlink?: boolean;
  /** How long others may wait for one that hangs and for their own program. @default {1000} */
  readonly patienceMs?: number;
  /** Whether the backend acts at all. */
  readonly acts?: boolean;
  /** A stand-in for a program that this machine cannot have; it also says what would get through. */
  readonly standIn?: (dir: string) => StandIn;
}

const nftFlush = (lab: Lab) => lab.nft("flush ruleset");
const iptablesFlush = (kind: string) => async (lab: Lab) => {
  for (const program of [`iptables-${kind}`, `ip6tables-${kind}`]) {
    await lab.run("server", [program, "-t", "mangle", "-F"]);
  }
};

/** Every backend, on each kind of machine that matters to it. */
export const CANDIDATES: readonly Candidate[] = [
  { title: "nft", name: "nft", flush: nftFlush },
  { title: "nft and netlink", name: "nft", flush: nftFlush, byNetlink: true },
  { title: "nft behind the host's rules", name: "nft", host: (lab) => lab.nft(HOST_RULES) },
  { title: "iptables-nft", name: "iptables-nft", flush: iptablesFlush("nft") },
  {
    title: "iptables-nft behind the host's rules",
    name: "iptables-nft",
    host: (lab) => iptablesHost(lab, "nft"),
  },
  { title: "iptables-legacy", name: "iptables-legacy", flush: iptablesFlush("legacy") },
  {
    title: "iptables-legacy behind the host's rules",
    name: "iptables-legacy",
    host: (lab) => iptablesHost(lab, "legacy"),
  },
  {
    title: "command",
    name: "command",
    host: (lab) => iptablesHost(lab, "nft"),
    command: (dir) => writeScript(dir, { lists: false }),
    patienceMs: 12_000, // one program at a time: it is killed first
  },
  {
    title: "command with a list",
    name: "command",
    host: (lab) => iptablesHost(lab, "nft"),
    command: (dir) => writeScript(dir, { lists: true }),
    patienceMs: 12_000, // one program at a time: it is killed first
    flush: async (lab) => {
      for (const program of ["iptables-nft", "ip6tables-nft"]) {
        const takeOut = `${program}-save | grep -v '"openme ' | ${program}-restore`;
        await lab.run("server", ["sh", "-c", takeOut]);
      }
    },
  },
  {
    title: "firewalld",
    name: "firewalld",
    host: (lab) => FirewalldHost.create(lab),
    patienceMs: 4000, // firewall-cmd takes long by itself; the one that hangs is killed after 10 s
    needs: firewalldMissing(),
    flush: async (_lab, host) => {
      await host!.cmd("--reload");
    },
  },
  { title: "pf, with a stand-in for pfctl", name: "pf", standIn: createPfStandIn },
  { title: "none", name: "none", acts: false },
];

/** The user's own program for the backend `command`: opens and closes in the host's INPUT chain. */
function writeScript(dir: string, { lists }: { lists: boolean }): CommandLines {
  const path = `${dir}/allow`;
  Deno.writeTextFileSync(
    path,
    `#!/bin/sh
set -e
if [ "$1" = list ]; then
  for program in iptables-nft ip6tables-nft; do $program -w -S INPUT; done |
    sed -n 's/.*--comment "\\(openme [^"]*\\)".*/\\1/p'
  exit
fi
[ "$3" = 6 ] && program=ip6tables-nft || program=iptables-nft
rule() {
  $program -w "$@" -m comment --comment "openme $address $protocol $first $last" -j ACCEPT
}
address=$2 protocol=$4 first=$5 last=$6
match="INPUT -s $address -p $protocol --dport $first:$last"
if [ "$1" = open ]; then rule -C $match 2>/dev/null || rule -I $match
else rule -D $match; fi
`,
    { mode: 0o755 },
  );
  const args = ["{address}", "{family}", "{protocol}", "{port}", "{end_port}"];
  return {
    open: [path, "open", ...args],
    close: [path, "close", ...args],
    ...(lists
      ? { list: { line: [path, "list"], entry: "openme {address} {protocol} {port} {end_port}" } }
      : {}),
  };
}
