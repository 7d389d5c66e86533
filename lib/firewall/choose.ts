/**
 * Makes the backend that the configuration names, or for `auto` the one that fits this host, and says why.
 */

import { messageOf, OpenmeError } from "../errors.ts";
import type { RunProgram } from "../run_program.ts";
import type { Backend } from "./backend.ts";
import type { BackendName, FirewallName } from "../config/firewall_names.ts";
import { type BackendParts, BACKENDS } from "./backends.ts";
import { legacyTables } from "./legacy_holes.ts";

const DEADLINE_MS = 5000;

/** Makes the backend; for `auto` the log says which and why. */
export async function chooseBackend(
  firewall: FirewallName,
  parts: BackendParts,
): Promise<Backend> {
  if (firewall !== "auto") return await BACKENDS[firewall](parts);
  const { name, why } = await probe(parts.run);
  parts.log.info("firewall_chosen", { backend: name, why });
  return await BACKENDS[name](parts);
}

/** Which backend fits this host. Looks, changes nothing; throws where none does. */
export async function probe(run: RunProgram): Promise<{ name: BackendName; why: string }> {
  const failures: string[] = [];
  const works = async (program: string, ...args: string[]) => {
    try {
      return await run({ program, args, timeoutMs: DEADLINE_MS });
    } catch (error) {
      failures.push(messageOf(error));
      return undefined;
    }
  };
  if (await works("pfctl", "-s", "info") !== undefined) {
    return { name: "pf", why: "this host has pf" };
  }
  if (await hasLegacyRules(run)) {
    return {
      name: "iptables-legacy",
      why: "this host has rules of iptables-legacy, which nft does not see",
    };
  }
  if (await works("nft", "list", "tables") !== undefined) {
    return { name: "nft", why: "nft works here" };
  }
  if (await works("iptables", "-w", "4", "-t", "mangle", "-S") !== undefined) {
    return { name: "iptables", why: "iptables works here, and nft does not" };
  }
  throw new OpenmeError("FIREWALL", `found no firewall to drive: ${failures.join("; ")}`, {
    hint: "install nftables, run openme as root, or name one: server.firewall in the configuration",
  });
}

/** Only tables that are there already are listed: iptables-legacy makes those that it lists. */
async function hasLegacyRules(run: RunProgram): Promise<boolean> {
  for (const [program, path] of LEGACY) {
    for (const name of await legacyTables(run, path)) {
      const args = ["-w", "4", "-t", name, "-S"];
      const listing = await run({ program, args, timeoutMs: DEADLINE_MS }).catch(() => "");
      if (listing.split("\n").some((line) => line !== "" && !/^-P \w+ ACCEPT$/.test(line))) {
        return true;
      }
    }
  }
  return false;
}

const LEGACY = [
  ["iptables-legacy", "/proc/net/ip_tables_names"],
  ["ip6tables-legacy", "/proc/net/ip6_tables_names"],
] as const;
