/**
 * The iptables backend, for iptables-nft and iptables-legacy: runs what `iptables_rules.ts` and `iptables_host.ts`
 * render, one `iptables-restore` a family. The kernel ends every opening by its date.
 */

import { formatAddress } from "../address.ts";
import { OpenmeError } from "../errors.ts";
import type { Log } from "../log.ts";
import { formatNetwork } from "../network.ts";
import type { PortRange } from "../ports.ts";
import type { RunProgram } from "../run_program.ts";
import type { Backend, ClientOpenings, GuardPlan, Standing } from "./backend.ts";
import type { BackendParts } from "./backends.ts";
import { type Connection, establishedConnections } from "./established.ts";
import { type HostChain, mayDrop, portsOpenToEveryone } from "./host_chains.ts";
import {
  inFilterTable,
  parseFilterChains,
  parsePublished,
  renderHoleLines,
  renderHoleRemovalLines,
} from "./iptables_host.ts";
import {
  type DatedOpening,
  type OwnChains,
  parseOwnChains,
  renderChains,
  renderGrants,
  renderRemoval,
} from "./iptables_rules.ts";
import { needsForward } from "./nft_host.ts";
import { NftHoles } from "./nft_holes.ts";
import { nameProcess, requireNoLivingOwner } from "./process_name.ts";
import { requireWayIn } from "./way_in.ts";

const DEADLINE_MS = 5000;
/** Seconds to wait for the lock that all iptables programs share. */
const LOCK_WAIT = ["-w", "4"];
const FAILING_HINT = "see whether iptables works here by itself, as the same user: iptables -S";
const MISSING_HINT =
  "install iptables: apt-get install iptables (or apk add, dnf install, opkg install)";

type Family = 4 | 6;

/** An iptables program, as `iptables --version` names it. */
export interface Variant {
  readonly program: string;
  /** Whether its tables are the old ones, not those of nf_tables. */
  readonly isLegacy: boolean;
}

/** A backend that drives the given program, whichever of the two kinds it is. */
export async function makeIptables(program: string, parts: BackendParts): Promise<Backend> {
  const version = await callProgram(parts.run, { program, args: ["--version"] });
  return new IptablesBackend({ program, isLegacy: !/nf_tables/.test(version) }, parts);
}

/** What the host looks like now. */
interface Host {
  readonly own: ReadonlyMap<Family, OwnChains>;
  readonly chains: ReadonlyMap<Family, readonly HostChain[]>;
  readonly nftChains: readonly HostChain[];
  readonly forward: boolean;
  readonly hole: boolean;
  readonly madeTable: boolean;
}

class IptablesBackend implements Backend {
  readonly name: string;
  readonly endsByKernel = true;
  readonly #variant: Variant;
  #plan: GuardPlan;
  readonly #run: RunProgram;
  readonly #log: Log;
  readonly #nft: NftHoles;
  /** Every opening in force by its address: a change writes all of them anew. */
  readonly #openings = new Map<string, readonly DatedOpening[]>();
  /** Counts the changes of `#openings`, and which of them each family's chain holds. */
  #version = 0;
  readonly #written = new Map<Family, number>();
  #families: readonly Family[] | undefined;
  #installed: { fixed: string; hole: boolean } | undefined;
  #seen: ReadonlySet<string> | undefined;

  constructor(variant: Variant, { plan, run, log }: BackendParts) {
    this.name = variant.program;
    this.#variant = variant;
    this.#plan = plan;
    this.#run = run;
    this.#log = log;
    this.#nft = new NftHoles(run, { besideIptables: !variant.isLegacy });
  }

  async install(openings: readonly ClientOpenings[]): Promise<void> {
    this.#requirePlan();
    const host = await this.#lookAtHost();
    if (!this.#installed) {
      await requireNoLivingOwner(host.own.get(4)?.owner, this.#run);
      await this.#requireWayIn(host);
    }
    this.#openings.clear();
    this.#remember(openings);
    const version = this.#version;
    const { texts, connections } = await this.#render(host);
    await Promise.all([...texts].map(([family, text]) => this.#restore(family, text)));
    await this.#nft.put(host.nftChains, { wanted: host.hole, forward: host.forward });
    for (const family of texts.keys()) this.#written.set(family, version);
    this.#seen = new Set(connections.map(nameOf));
    this.#installed = { fixed: await this.#listFixed(), hole: host.hole };
  }

  reconfigure(plan: GuardPlan): void {
    this.#plan = plan;
  }

  async apply(changes: readonly ClientOpenings[]): Promise<void> {
    this.#remember(changes);
    const families = await this.#ownFamilies();
    const touched = families.filter((family) =>
      changes.some(({ address }) => address.base.family === family)
    );
    await Promise.all(touched.map((family) => this.#writeGrants(family)));
  }

  /** A run that was overtaken by a later one wrote something old over it: then the newest is written again. */
  async #writeGrants(family: Family): Promise<void> {
    while (true) {
      const version = this.#version;
      await this.#restore(family, this.#renderGrants(family));
      const overtaken = (this.#written.get(family) ?? 0) > version;
      this.#written.set(family, version);
      if (!overtaken) return;
    }
  }

  async isIntact(): Promise<boolean> {
    const installed = this.#installed;
    if (!installed) return false;
    if (await this.#listFixed() !== installed.fixed) return false;
    const host = await this.#lookAtHost();
    if (host.hole !== installed.hole) return false;
    if (host.hole) {
      if ([...host.chains.values()].some((chains) => renderHoleLines(chains).length > 0)) {
        return false;
      }
      if (this.#nft.lacks(host.nftChains, host.forward)) return false;
    }
    const connections = await establishedConnections(this.#plan.guardedPorts, this.#run);
    this.#seen = new Set(connections.map(nameOf));
    return true;
  }

  async list(): Promise<readonly Standing[] | undefined> {
    const nowMs = Date.now();
    const families = await this.#ownFamilies();
    const listed = await Promise.all(
      families.map(async (family) => parseOwnChains(await this.#list(family, "mangle"))),
    );
    if (listed.every(({ chains }) => chains.length === 0)) return undefined;
    // A rule stays after its date, and matches nothing then.
    return listed.flatMap(({ grants }) => grants).filter(({ endsAtMs }) => endsAtMs > nowMs);
  }

  async remove(): Promise<void> {
    const families = await this.#ownFamilies();
    const made: Family[] = [];
    for (const family of families) {
      const own = parseOwnChains(await this.#list(family, "mangle"));
      const text = renderRemoval(own) +
        inFilterTable(renderHoleRemovalLines(await this.#filterChains(family)));
      if (text) await this.#restore(family, text);
      if (own.madeTable) made.push(family);
    }
    await this.#nft.takeOut();
    if (!this.#variant.isLegacy) {
      for (const family of made) {
        await this.#nft.deleteEmptyTable(family === 4 ? "ip" : "ip6", "mangle");
      }
    }
    this.#openings.clear();
    this.#installed = undefined;
  }

  /** The kernel ends every opening by its date. */
  leave(): Promise<void> {
    return Promise.resolve();
  }

  async openToEveryone(): Promise<{ ports: readonly PortRange[]; why: string } | undefined> {
    if (this.#plan.dropPorts) return undefined;
    const { chains, nftChains } = await this.#lookAtHost();
    const all = [...chains.get(4) ?? [], ...nftChains].filter(({ hook }) => hook === "input");
    return portsOpenToEveryone(this.#plan.guardedPorts, all);
  }

  async preview(openings: readonly ClientOpenings[]): Promise<string> {
    this.#requirePlan();
    const host = await this.#lookAtHost();
    await this.#requireWayIn(host);
    this.#openings.clear();
    this.#remember(openings);
    const { texts } = await this.#render(host);
    const holes = this.#nft.render(host.nftChains, { wanted: host.hole, forward: host.forward });
    return [...texts].map(([family, text]) => this.#show(family, text)).join("") +
      (holes ? `nft -f - <<'END'\n${holes}END\n` : "");
  }

  previewChanges(changes: readonly ClientOpenings[]): string {
    this.#remember(changes);
    return ([4, 6] as const).filter((family) =>
      changes.some(({ address }) => address.base.family === family)
    ).map((family) => this.#show(family, this.#renderGrants(family))).join("");
  }

  #show(family: Family, text: string): string {
    return `${this.#program(family, "-restore")} --noflush ${
      LOCK_WAIT.join(" ")
    } <<'END'\n${text}END\n`;
  }

  /** REJECT belongs to the filter table, behind destination NAT: too late for a guard that covers published ports. */
  #requirePlan(): void {
    if (this.#plan.closedAs === "drop" || !this.#plan.dropPorts) return;
    throw new OpenmeError(
      "FIREWALL",
      "iptables cannot refuse where openme guards: closed_as: reject",
      {
        hint: "set closed_as: drop, or firewall: nft",
      },
    );
  }

  #remember(changes: readonly ClientOpenings[]): void {
    const nowMs = Date.now();
    this.#version++;
    for (const { address, openings } of changes) {
      const dated = openings.map(({ timeoutMs, ...ports }) => ({
        address,
        ports,
        endsAtMs: nowMs + timeoutMs,
      }));
      this.#openings.set(formatNetwork(address), dated);
    }
    for (const [text, dated] of this.#openings) {
      const left = dated.filter(({ endsAtMs }) => endsAtMs > nowMs);
      if (left.length === 0) this.#openings.delete(text);
    }
  }

  #renderGrants(family: Family): string {
    return renderGrants(family, this.#plan, [...this.#openings.values()].flat());
  }

  async #render(host: Host) {
    const connections = await establishedConnections(this.#plan.guardedPorts, this.#run);
    const seen = this.#seen;
    const kept = seen ? connections.filter((each) => seen.has(nameOf(each))) : connections;
    const owner = await nameProcess(Deno.pid, this.#run);
    const texts = new Map<Family, string>();
    for (const [family, present] of host.own) {
      const chains = host.chains.get(family) ?? [];
      const onTheWay = chains.filter((chain) => this.#isOnTheWay(chain, host.forward));
      const beside = chains.filter((chain) => !onTheWay.includes(chain));
      const holes = host.hole
        ? [...renderHoleLines(onTheWay), ...renderHoleRemovalLines(beside)]
        : renderHoleRemovalLines(chains);
      texts.set(
        family,
        renderChains(family, this.#plan, {
          openings: [...this.#openings.values()].flat(),
          kept,
          hole: host.hole,
          owner,
          present,
          madeTable: present.madeTable || host.madeTable,
        }) + inFilterTable(holes),
      );
    }
    return { texts, connections };
  }

  async #lookAtHost(): Promise<Host> {
    const families = await this.#ownFamilies();
    const own = new Map<Family, OwnChains>();
    const chains = new Map<Family, readonly HostChain[]>();
    const published: (readonly PortRange[] | undefined)[] = [];
    for (const family of families) {
      own.set(family, parseOwnChains(await this.#list(family, "mangle")));
      chains.set(family, await this.#filterChains(family));
      published.push(parsePublished(await this.#list(family, "nat")));
    }
    const nft = await this.#nft.look();
    const known = published.every((each) => each !== undefined) && nft.published !== undefined;
    const forward = needsForward(
      this.#plan,
      known ? [...published.flatMap((each) => each ?? []), ...nft.published ?? []] : undefined,
    );
    const onTheWay = [...[...chains.values()].flat(), ...nft.chains].filter((chain) =>
      this.#isOnTheWay(chain, forward)
    );
    return {
      own,
      chains,
      nftChains: nft.chains,
      forward,
      hole: !this.#plan.dropPorts || onTheWay.some(mayDrop),
      madeTable: !nft.hasMangle && nft.isThere && !this.#variant.isLegacy,
    };
  }

  #isOnTheWay({ hook }: HostChain, forward: boolean): boolean {
    return hook === "input" || (hook === "forward" && forward);
  }

  async #requireWayIn({ nftChains, forward }: Host): Promise<void> {
    const closed = nftChains.filter((chain) =>
      this.#isOnTheWay(chain, forward) ? chain.owned : chain.hook === "prerouting"
    );
    await requireWayIn(this.#plan, closed, (chain) => this.#nft.listChain(chain));
  }

  /** INPUT and FORWARD of the filter table, where there is one. */
  async #filterChains(family: Family): Promise<HostChain[]> {
    return parseFilterChains(family === 4 ? "ip" : "ip6", await this.#list(family, "filter"));
  }

  /** Whether a table is there. To list one with iptables-legacy is to make it. */
  async #has(family: Family, table: string): Promise<boolean> {
    if (!this.#variant.isLegacy) return true;
    const path = `/proc/net/${family === 4 ? "ip" : "ip6"}_tables_names`;
    const run = this.#run({ program: "cat", args: [path], timeoutMs: 2000 });
    return (await run.catch(() => "")).split("\n").includes(table);
  }

  /** IPv4, and IPv6 where the kernel has it. */
  async #ownFamilies(): Promise<readonly Family[]> {
    if (this.#families) return this.#families;
    // A kernel without IPv6 has no such file; then no packet of it comes in, and there is nothing to guard.
    const hasIpv6 = await this.#run({
      program: "cat",
      args: ["/proc/net/if_inet6"],
      timeoutMs: 2000,
    }).then(() => true, () => false);
    if (!hasIpv6) {
      this.#log.warn("no_ipv6", { backend: this.name, doing: "guarding IPv4 only" });
    }
    return this.#families = hasIpv6 ? [4, 6] : [4];
  }

  async #listFixed(): Promise<string> {
    const families = await this.#ownFamilies();
    const lists = await Promise.all(families.map((family) => this.#list(family, "mangle")));
    return lists.map((listing) => parseOwnChains(listing).fixed).join("\n\n");
  }

  /** What `-S` prints of a table; nothing where it is not there. */
  async #list(family: Family, table: string): Promise<string> {
    if (!await this.#has(family, table)) return "";
    return await this.#call(this.#program(family, ""), [...LOCK_WAIT, "-t", table, "-S"]);
  }

  async #restore(family: Family, text: string): Promise<void> {
    await this.#call(this.#program(family, "-restore"), ["--noflush", ...LOCK_WAIT], text);
  }

  #program(family: Family, suffix: "" | "-restore"): string {
    const program = this.#variant.program;
    return (family === 4 ? program : program.replace("iptables", "ip6tables")) + suffix;
  }

  #call(program: string, args: string[], stdin?: string): Promise<string> {
    return callProgram(this.#run, { program, args, ...(stdin === undefined ? {} : { stdin }) });
  }
}

async function callProgram(
  run: RunProgram,
  call: { program: string; args: string[]; stdin?: string },
): Promise<string> {
  try {
    return await run({ ...call, timeoutMs: DEADLINE_MS, missingHint: MISSING_HINT });
  } catch (cause) {
    if (!(cause instanceof OpenmeError)) throw cause;
    throw new OpenmeError("FIREWALL", cause.message, { cause, hint: cause.hint ?? FAILING_HINT });
  }
}

function nameOf({ local, localPort, remote, remotePort }: Connection): string {
  return `${formatAddress(remote)} ${remotePort} ${formatAddress(local)} ${localPort}`;
}
