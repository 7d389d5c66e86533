/**
 * A stand-in for firewall-cmd, as firewalld 1.3 behaves: rules with a time end by themselves, one that is there already
 * keeps its time and is only warned of, and a reload forgets everything that is not permanent.
 */

import { parseAddress } from "../../lib/address.ts";
import { containsAddress, parseNetwork } from "../../lib/network.ts";
import type { Packet, StandIn } from "./pf_stand_in.ts";

/** The firewall-cmd of a host with one zone, `public`, that has an interface. */
export interface FirewalldStandIn extends StandIn {
  /** Every call's arguments. */
  calls(): string[];
  /** What the zone knows now. */
  rules(): string[];
  setState(state: "running" | "not running"): void;
  /** What everyone may reach: `services: ssh`, `ports: 8080/tcp`. */
  setZone(lines: string): void;
}

const SCRIPT = `#!/bin/sh
cd "$(dirname "$0")" || exit 1
echo "$*" >> calls
[ "$(cat state)" = running ] || { echo "not running" >&2; exit 252; }
zone=public; what=; rule=; timeout=0
for each; do
  case $each in
  --zone=*) zone=\${each#*=} ;;
  --timeout=*) timeout=\${each#*=} ;;
  --add-rich-rule=* | --remove-rich-rule=*) what=\${each%%=*}; rule=\${each#*=} ;;
  *) what=$each ;;
  esac
done
[ "$zone" = public ] || { echo "Error: INVALID_ZONE: $zone" >&2; exit 112; }
now=$(date +%s%3N)
file=rules/$(printf %s "$rule" | cksum | cut -d' ' -f1)
# A rule whose time is over is not there any more.
stands() { [ -e "$1" ] && { read -r end < "$1"; [ "$end" = 0 ] || [ "$end" -gt "$now" ]; }; }
case $what in
--state) echo running ;;
--get-default-zone) echo public ;;
--get-active-zones) printf 'public (default)\\n  interfaces: eth0\\n' ;;
--get-zone-of-interface=eth0) echo public ;;
--get-zone-of-interface=*) echo "no zone" >&2; exit 2 ;;
--list-all) echo "public (active)"; echo "  target: default"; cat zone ;;
--info-service=ssh) printf 'ssh\\n  ports: 22/tcp\\n  source-ports: \\n' ;;
--info-service=*) printf 'other\\n  ports: 546/udp\\n' ;;
--list-rich-rules)
  for each in rules/*; do if stands "$each"; then tail -n 1 "$each"; fi; done ;;
--add-rich-rule)
  if stands "$file"; then echo "Warning: ALREADY_ENABLED: '$rule' already in 'public'" >&2
  else
    end=0; [ "$timeout" = 0 ] || end=$((now + timeout * 1000))
    printf '%s\\n%s\\n' "$end" "$rule" > "$file.$$" && mv "$file.$$" "$file"
  fi
  echo success ;;
--remove-rich-rule)
  if stands "$file"; then rm "$file"; else echo "Warning: NOT_ENABLED: '$rule' not in 'public'" >&2; fi
  echo success ;;
--reload) rm -f rules/*; echo success ;;
*) echo "usage: firewall-cmd: error: unrecognized arguments: $*" >&2; exit 2 ;;
esac
exit 0
`;

/** Makes the stand-in in a folder of its own inside `dir`. */
export function createFirewalldStandIn(dir: string): FirewalldStandIn {
  const folder = `${dir}/firewalld-${crypto.randomUUID().slice(0, 8)}`;
  Deno.mkdirSync(`${folder}/rules`, { recursive: true });
  const path = `${folder}/firewall-cmd`;
  Deno.writeTextFileSync(path, SCRIPT, { mode: 0o755 });
  const setState = (state: string) => Deno.writeTextFileSync(`${folder}/state`, `${state}\n`);
  const setZone = (lines: string) => Deno.writeTextFileSync(`${folder}/zone`, `${lines}\n`);
  setState("running");
  setZone("  services: dhcpv6-client\n  ports: ");
  const rules = () =>
    [...Deno.readDirSync(`${folder}/rules`)].flatMap(({ name }) => {
      try {
        const [end, rule] = Deno.readTextFileSync(`${folder}/rules/${name}`).split("\n");
        return name.includes(".") || (end !== "0" && Number(end) <= Date.now()) ? [] : [rule!];
      } catch {
        return []; // just taken out
      }
    }).sort();
  return {
    program: "firewall-cmd",
    path,
    calls: () => Deno.readTextFileSync(`${folder}/calls`).split("\n").filter(Boolean),
    rules,
    setState,
    setZone,
    passes: (packet) => rules().some((rule) => accepts(rule, packet)),
  };
}

/** A zone lets in what a rule accepts, and nothing else. */
function accepts(rule: string, packet: Packet): boolean {
  const match =
    /^rule priority="-?\d+"(?: family="ipv([46])" source address="([^"]+)")? port port="(\d+)(?:-(\d+))?" protocol="(tcp|udp)" accept$/
      .exec(rule);
  if (!match) throw new Error(`no such rule in firewalld.richlanguage(5): ${rule}`);
  const [, family, address, first, last, protocol] = match;
  if (address !== undefined) {
    const [network, from] = [parseNetwork(address), parseAddress(packet.from)];
    if (!network || !from) throw new Error(`no such source in firewalld.richlanguage(5): ${rule}`);
    if (String(network.base.family) !== family || !containsAddress(network, from)) return false;
  }
  return protocol === packet.protocol && packet.port >= Number(first) &&
    packet.port <= Number(last ?? first);
}
