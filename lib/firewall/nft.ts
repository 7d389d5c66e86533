/**
 * The nftables backend: runs what `nft_rules.ts` and `nft_host.ts` render, one `nft` a transaction.
 */

import { type Address, formatAddress } from "../address.ts";
import { OpenmeError } from "../errors.ts";
import type { AddressOpenings } from "../grants.ts";
import type { PortRange } from "../ports.ts";
import type { RunProgram } from "../run_program.ts";
import type { Backend, GuardPlan } from "./backend.ts";
import { type Connection, establishedConnections } from "./established.ts";
import {
  type HostChain,
  mayDrop,
  parseHostChains,
  portsOpenToEveryone,
  renderHoleRemoval,
  renderHoles,
} from "./nft_host.ts";
import {
  parseKnockCounters,
  parseOwner,
  renderChanges,
  renderRemoval,
  renderTable,
  TABLE,
} from "./nft_rules.ts";
import type { NftSession } from "./nft_session.ts";
import { nameProcess } from "./process_name.ts";

/** A batch of a thousand elements takes 15 ms; what takes this long hangs. */
const DEADLINE_MS = 5000;
/** How long after its end an element is still reckoned with. */
const HELD_SLACK_MS = 60_000;
const FAILING_HINT = "see whether nft works here by itself, as the same user: nft list ruleset";
const MISSING_HINT =
  "install nftables: apt-get install nftables (or apk add, dnf install, opkg install)";

/**
 * A backend that drives nftables through `run`, and makes changes through `session` where it is given: both must lead to
 * the same network namespace.
 */
export function createNftBackend(
  plan: GuardPlan,
  run: RunProgram,
  session?: NftSession,
): Backend {
  return new NftBackend(plan, run, session);
}

class NftBackend implements Backend {
  readonly name = "nft";
  #plan: GuardPlan;
  readonly #run: RunProgram;
  readonly #session: NftSession | undefined;
  /** What stands in the sets for each address, or stood until it ended, and until when that matters. */
  readonly #held = new Map<string, { ranges: readonly PortRange[]; untilMs: number }>();
  /** The connections that were seen while the guard stood: after a flush no others may go on. */
  #seen: ReadonlySet<string> | undefined;
  #installed: { table: string; holes: boolean } | undefined;

  constructor(plan: GuardPlan, run: RunProgram, session: NftSession | undefined) {
    this.#plan = plan;
    this.#run = run;
    this.#session = session;
  }

  async install(openings: readonly AddressOpenings[]): Promise<void> {
    if (!this.#installed) await this.#requireNoOwner();
    const chains = await this.#hostChains();
    const hole = !this.#plan.dropPorts || chains.some(mayDrop);
    const connections = await establishedConnections(this.#plan.guardedPorts, this.#run);
    const seen = this.#seen;
    const kept = seen ? connections.filter((each) => seen.has(nameOf(each))) : connections;
    const holes = hole ? renderHoles(chains) : renderHoleRemoval(chains);
    const owner = await nameProcess(Deno.pid, this.#run);
    await this.#transact(renderTable(this.#plan, { openings, kept, hole, owner }) + holes);
    this.#held.clear();
    for (const change of openings) this.#hold(change);
    this.#seen = new Set(connections.map(nameOf));
    this.#installed = { table: await this.#listTable(), holes: hole };
    this.#session?.prepare();
  }

  reconfigure(plan: GuardPlan): void {
    this.#plan = plan;
  }

  async apply(changes: readonly AddressOpenings[]): Promise<void> {
    const text = renderChanges(
      changes,
      (address) => this.#held.get(formatAddress(address))?.ranges ?? [],
    );
    if (text && !await this.#session?.transact(text)) await this.#transact(text);
    for (const change of changes) this.#hold(change);
  }

  async isIntact(): Promise<boolean> {
    const installed = this.#installed;
    if (!installed) return false;
    try {
      if (await this.#listTable() !== installed.table) return false;
    } catch (error) {
      if (isMissingTable(error)) return false;
      throw error;
    }
    if (installed.holes || this.#plan.dropPorts) {
      const chains = await this.#hostChains();
      // A firewall that came up after openme may drop what it let in, or may have been loaded anew without the hole.
      const hole = !this.#plan.dropPorts || chains.some(mayDrop);
      if (hole !== installed.holes || (hole && renderHoles(chains) !== "")) return false;
    }
    const connections = await establishedConnections(this.#plan.guardedPorts, this.#run);
    this.#seen = new Set(connections.map(nameOf));
    this.#forgetEnded();
    return true;
  }

  async remove(): Promise<void> {
    this.#session?.close();
    // The table first: without it nothing carries the mark, and the holes let nobody in.
    await this.#transact(renderRemoval());
    const holes = renderHoleRemoval(await this.#hostChains());
    if (holes) await this.#transact(holes);
    this.#held.clear();
    this.#installed = undefined;
  }

  async openToEveryone(): Promise<{ ports: readonly PortRange[]; why: string } | undefined> {
    if (this.#plan.dropPorts) return undefined;
    return portsOpenToEveryone(this.#plan.guardedPorts, await this.#hostChains());
  }

  async kernelDrops(): Promise<Record<string, number>> {
    return parseKnockCounters(await this.#nft(["list", "chain", ...TABLE.split(" "), "knock"]));
  }

  /** A table that a dead process left is taken over; that of a living one, with another port and state, is its own. */
  async #requireNoOwner(): Promise<void> {
    let listing: string;
    try {
      listing = await this.#nft(["--stateless", "--terse", "list", "table", ...TABLE.split(" ")]);
    } catch (error) {
      if (isMissingTable(error)) return;
      throw error;
    }
    const owner = parseOwner(listing);
    const living = owner && owner.pid !== Deno.pid
      ? await nameProcess(owner.pid, this.#run)
      : undefined;
    if (owner && living?.startTicks === owner.startTicks) {
      throw new OpenmeError(
        "FIREWALL",
        `another openme serve, process ${owner.pid}, guards this host`,
        {
          hint: "stop that one first, or add these ports and clients to its configuration",
        },
      );
    }
  }

  #hold({ address, openings }: AddressOpenings): void {
    const longestMs = Math.max(0, ...openings.map(({ timeoutMs }) => timeoutMs));
    if (openings.length === 0) this.#held.delete(formatAddress(address));
    else {
      this.#held.set(formatAddress(address), {
        ranges: openings,
        untilMs: performance.now() + longestMs + HELD_SLACK_MS,
      });
    }
  }

  #forgetEnded(): void {
    for (const [address, { untilMs }] of this.#held) {
      if (untilMs < performance.now()) this.#held.delete(address);
    }
  }

  async #transact(text: string): Promise<void> {
    await this.#nft(["-f", "-"], text);
  }

  async #hostChains(): Promise<HostChain[]> {
    return parseHostChains(await this.#nft(["--json", "--terse", "list", "ruleset"]));
  }

  /** Everything that must not change behind openme's back: rules, and what is guarded; not counters, not grants. */
  async #listTable(): Promise<string> {
    const rules = await this.#nft(["--stateless", "--terse", "list", "table", ...TABLE.split(" ")]);
    return rules + await this.#nft(["list", "set", ...TABLE.split(" "), "guarded"]);
  }

  async #nft(args: string[], stdin?: string): Promise<string> {
    try {
      return await this.#run({
        program: "nft",
        args,
        timeoutMs: DEADLINE_MS,
        missingHint: MISSING_HINT,
        ...(stdin === undefined ? {} : { stdin }),
      });
    } catch (cause) {
      if (!(cause instanceof OpenmeError)) throw cause;
      throw new OpenmeError("FIREWALL", cause.message, { cause, hint: cause.hint ?? FAILING_HINT });
    }
  }
}

function isMissingTable(error: unknown): boolean {
  return error instanceof OpenmeError && error.message.includes("No such file or directory");
}

function nameOf({ local, localPort, remote, remotePort }: Connection): string {
  const endpoint = (address: Address, port: number) => `${formatAddress(address)} ${port}`;
  return `${endpoint(remote, remotePort)} ${endpoint(local, localPort)}`;
}
