/** Makes the backend that the configuration names, or for `auto` the one that fits this host, and says why. */

import { messageOf, OpenmeError } from "../values/errors.ts";
import { isProgramThere, type RunProgram } from "../system/run_program.ts";
import type { Backend, BackendParts } from "./backend.ts";
import { type BackendName, closingFlaw, type FirewallName, type GuardPlan } from "./plan.ts";
import { BACKENDS } from "./catalog.ts";
import { findOrphans, firewallOf } from "./orphans.ts";
import { IptablesProgram } from "./host/iptables.ts";

const DEADLINE_MS = 5000;

/** Makes the backend; for `auto` the log says which and why. */
export async function chooseBackend(
  firewall: FirewallName,
  parts: BackendParts,
): Promise<Backend> {
  if (firewall !== "auto") return await make(firewall, parts);
  const { name, why } = await probe(parts.run);
  parts.log.info("firewall_chosen", { backend: name, why });
  requireClosable(name, parts.plan);
  return await make(name, parts);
}

/**
 * The backend. Its first `install` also removes orphaned guards in the other firewalls of Linux, once the new guard
 * stands, so that no port is open in between.
 */
async function make(name: BackendName, parts: BackendParts): Promise<Backend> {
  const backend = await BACKENDS[name].make(parts);
  if (!BACKENDS[name].clearsOrphans) return backend;
  const install = backend.install.bind(backend);
  backend.install = async (openings) => {
    const clear = await findOrphans(await firewallOf(name, parts.run), parts.run);
    await install(openings);
    await clear();
    backend.install = install;
  };
  return backend;
}

/** Throws `FIREWALL` where a backend that `auto` chose cannot close the ports as the configuration says. */
export function requireClosable(
  name: string,
  plan: Pick<GuardPlan, "dropPorts" | "closedAs">,
): void {
  const flaw = closingFlaw(name, plan);
  if (!flaw) return;
  throw new OpenmeError("FIREWALL", `server.${flaw.key}: ${flaw.problem}`, { hint: flaw.hint });
}

/** Which backend fits this host. Changes nothing; throws where none fits. */
export async function probe(run: RunProgram): Promise<{ name: BackendName; why: string }> {
  const failures: string[] = [];
  const works = async (program: string, ...args: string[]) => {
    try {
      return await run({ program, args, timeoutMs: DEADLINE_MS });
    } catch (error) {
      // A missing program is no failure, unless all are missing.
      if (isProgramThere(program)) failures.push(messageOf(error));
      return undefined;
    }
  };
  if (await works("pfctl", "-s", "info") !== undefined) {
    return { name: "pf", why: "this host has pf" };
  }
  const firewalld = await ownsItsTable(run);
  if (firewalld) return { name: "firewalld", why: firewalld };
  if (await hasLegacyRules(run)) {
    return {
      name: "iptables-legacy",
      why: "this host has rules of iptables-legacy, which nft does not see",
    };
  }
  // `list tables` would read the elements of every interval set: 3 s beside 200,000.
  if (await works("nft", "list", "chains") !== undefined) {
    return { name: "nft", why: "nft works here" };
  }
  if (await works("iptables", "-w", "4", "-t", "mangle", "-S") !== undefined) {
    return { name: "iptables", why: "iptables works here, and nft does not" };
  }
  const why = failures.join("; ") || "there is no program nft, iptables or pfctl";
  throw new OpenmeError("FIREWALL", `found no firewall to drive: ${why}`, {
    hint: failures.length === 0
      ? "install nftables, or name a firewall: server.firewall in the configuration"
      : failures.some((each) => /permi(tted|ssion denied)/i.test(each))
      ? "firewalls are root's: try sudo, or give openme the capability CAP_NET_ADMIN"
      : "install nftables, or name a firewall: server.firewall in the configuration",
  });
}

/** Why only firewalld can let clients in here; `undefined` if it is not there, or its table takes a hole from nft. */
async function ownsItsTable(run: RunProgram): Promise<string | undefined> {
  const read = (program: string, ...args: string[]) =>
    run({ program, args, timeoutMs: DEADLINE_MS }).catch(() => undefined);
  if (await read("firewall-cmd", "--state") === undefined) return undefined;
  if (await read("nft", "--version") === undefined) {
    return "firewalld runs here, and there is no nft";
  }
  const table = await read("nft", "--terse", "list", "table", "inet", "firewalld") ?? "";
  const isOwned = table.split("\n", 4).some((line) => /^\s*flags .*\bowner\b/.test(line));
  return isOwned ? "firewalld runs here, and keeps its table to itself" : undefined;
}

/** Whether any rule or policy of iptables-legacy does more than accept. */
async function hasLegacyRules(run: RunProgram): Promise<boolean> {
  const view = await IptablesProgram.legacyBeside({ run }).look().catch(() => undefined);
  return (view?.text ?? "").split("\n").some((line) =>
    line !== "" && !/^-P \w+ ACCEPT$/.test(line)
  );
}
