/**
 * A stand-in for pfctl: it records how it was called and what it was given, keeps rules and tables as files, and a
 * small reader of such rules says which packets they let through.
 */

import { parseAddress } from "../../lib/values/address.ts";
import { containsAddress, parseNetwork } from "../../lib/values/network.ts";

/** A program that stands in for another. */
export interface StandIn {
  /** What it stands in for. */
  readonly program: string;
  readonly path: string;
  /** Whether a new connection would get through. */
  passes(packet: Packet): boolean;
}

export interface Packet {
  readonly protocol: "tcp" | "udp";
  readonly from: string;
  readonly port: number;
}

/** The pfctl of a machine whose pf.conf calls the anchor. */
export interface PfStandIn extends StandIn {
  /** Every call: its arguments on one line, then what it was given, indented. */
  calls(): string[];
  /** What `pfctl -s rules` and `pfctl -s info` print of the machine. */
  setMachine(machine: { rules?: string; info?: string }): void;
}

const SCRIPT = `#!/bin/sh
cd "$(dirname "$0")" || exit 1
mkdir -p tables
# As pf itself: one change after the other.
exec 9> lock
flock 9
# A call is one line, whole: several may run at a time.
stdin=
case "$*" in *"-f -") stdin=$(cat) ;; esac
{ echo "> $*"; [ -z "$stdin" ] || printf '%s\\n' "$stdin" | sed 's/^/  /'; } >> calls
case "$*" in
"-s info") cat info ;;
"-s rules") cat main ;;
"-a openme -f -")
  rm -f tables/*
  printf '%s\\n' "$stdin" | grep '^table' | while read -r _ name rest; do
    name=$(echo "$name" | tr -d '<>')
    echo "$rest" | sed 's/persist//; s/[{}]//g' | tr ', ' '\\n\\n' | grep . > "tables/$name"
  done
  printf '%s\\n' "$stdin" | grep -v '^table' > rules ;;
"-a openme -s rules") cat rules 2>/dev/null ;;
"-a openme -s Tables") ls tables ;;
"-a openme -F rules") : > rules ;;
"-a openme -t "*)
  name=$4; what=$6; shift 6
  [ -e "tables/$name" ] || { echo "pfctl: Table does not exist." >&2; exit 255; }
  case $what in
  show) sed 's/^/   /' "tables/$name" ;;
  kill) rm "tables/$name" ;;
  add) for each; do grep -qx "$each" "tables/$name" || echo "$each" >> "tables/$name"; done ;;
  delete) for each; do grep -vx "$each" "tables/$name" > new; mv new "tables/$name"; done ;;
  esac ;;
*) echo "pfctl: what is $*?" >&2; exit 1 ;;
esac
exit 0
`;

/** Makes the stand-in in a folder of its own inside `dir`. */
export function createPfStandIn(dir: string): PfStandIn {
  const folder = `${dir}/pf-${crypto.randomUUID().slice(0, 8)}`;
  Deno.mkdirSync(folder);
  const path = `${folder}/pfctl`;
  Deno.writeTextFileSync(path, SCRIPT, { mode: 0o755 });
  const read = (name: string) => {
    try {
      return Deno.readTextFileSync(`${folder}/${name}`);
    } catch {
      return "";
    }
  };
  const setMachine = ({ rules, info }: { rules?: string; info?: string }) => {
    if (rules !== undefined) Deno.writeTextFileSync(`${folder}/main`, rules);
    if (info !== undefined) Deno.writeTextFileSync(`${folder}/info`, info);
  };
  setMachine({
    rules:
      'anchor "openme" all\nblock drop in quick from <bad> to any\npass all flags S/SA keep state\n',
    info: "Status: Enabled for 0 days 01:02:03           Debug: Urgent\n",
  });
  return {
    program: "pfctl",
    path,
    calls: () => read("calls").split(/^> /m).filter(Boolean),
    setMachine,
    passes: (packet) =>
      passes(packet, read("rules"), (name) => read(`tables/${name}`).split("\n").filter(Boolean)),
  };
}

/** Tables hold addresses and networks. */
function matches(entry: string, address: string): boolean {
  const [network, from] = [parseNetwork(entry), parseAddress(address)];
  if (!network || !from) throw new Error(`no such entry in pf.conf(5): ${entry}`);
  return containsAddress(network, from);
}

/** pf.conf(5): the first `quick` rule that matches holds; without one, the rest of the ruleset passes everything. */
function passes(packet: Packet, rules: string, table: (name: string) => string[]): boolean {
  for (const line of rules.split("\n").filter(Boolean)) {
    const match =
      /^(pass|block)(?: drop| return)? in quick(?: on (?:! )?\w+) proto (tcp|udp) from (any|<(\w+)>) to (?:\(self\)|! \(self\)|any) port (\d+)(?::(\d+))?( |$)/
        .exec(line);
    if (!match) throw new Error(`no such rule in pf.conf(5): ${line}`);
    const [, verb, protocol, from, name, first, last] = match;
    if (line.includes(" to ! (self) ")) continue; // every packet here is for this machine
    if (protocol !== packet.protocol) continue;
    if (packet.port < Number(first) || packet.port > Number(last ?? first)) continue;
    if (from !== "any" && !table(name!).some((each) => matches(each, packet.from))) continue;
    return verb === "pass";
  }
  return true;
}
