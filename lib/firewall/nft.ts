/**
 * The nftables backend: runs what `nft_rules.ts` and `nft_host.ts` render, one `nft` a transaction.
 */

import { type Address, formatAddress } from "../address.ts";
import { OpenmeError } from "../errors.ts";
import { isSingle, type Network } from "../network.ts";
import type { PortRange } from "../ports.ts";
import type { RunProgram } from "../run_program.ts";
import type { Backend, ClientOpenings, GuardPlan, Prefix, Standing } from "./backend.ts";
import { type Connection, establishedConnections } from "./established.ts";
import { type HostChain, mayDrop, portsOpenToEveryone } from "./host_chains.ts";
import { legacyChains } from "./host_view.ts";
import { HeldOpenings } from "./nft_held.ts";
import {
  needsForward,
  parseHostChains,
  parseMapPorts,
  parsePublished,
  renderHoleRemoval,
  renderHoles,
} from "./nft_host.ts";
import { notedIn, notesToKeep } from "./nft_notes.ts";
import {
  describeMissing,
  type NetworkNotes,
  parseOpeningSets,
  prefixesIn,
  prefixOf,
} from "./nft_prefixes.ts";
import {
  GUARD_PRIORITY,
  parseGranted,
  parseKnockCounters,
  parseOwner,
  renderChanges,
  renderRemoval,
  renderTable,
  TABLE,
} from "./nft_rules.ts";
import type { NftSession } from "./nft_session.ts";
import { nameProcess, requireNoLivingOwner } from "./process_name.ts";
import { requireWayIn } from "./way_in.ts";

/** A batch of a thousand elements takes 15 ms; what takes this long hangs. */
const DEADLINE_MS = 5000;
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

/** The host's chains as openme meets them. */
interface Host {
  readonly chains: readonly HostChain[];
  /** Those that granted traffic passes after it was marked. */
  readonly onTheWay: readonly HostChain[];
  readonly beside: readonly HostChain[];
  readonly hole: boolean;
}

class NftBackend implements Backend {
  readonly name = "nft";
  readonly endsByKernel = true;
  #plan: GuardPlan;
  readonly #run: RunProgram;
  readonly #session: NftSession | undefined;
  readonly #held = new HeldOpenings();
  /** The connections that were seen while the guard stood: after a flush no others may go on. */
  #seen: ReadonlySet<string> | undefined;
  #installed: { table: string; holes: boolean; prefixes: readonly Prefix[] } | undefined;

  constructor(plan: GuardPlan, run: RunProgram, session: NftSession | undefined) {
    this.#plan = plan;
    this.#run = run;
    this.#session = session;
  }

  async install(openings: readonly ClientOpenings[]): Promise<void> {
    if (!this.#installed) await this.#requireNoOwner();
    // A dead process's notes are not taken over: a knock that it did not come to act on must help all the same.
    const notes = await notesToKeep(openings, this.#held, (set) => this.#listSet(set));
    const { text, connections, hole, host } = await this.#render(openings, notes);
    if (!this.#installed) await this.#requireWayIn(host);
    await this.#transact(text);
    this.#held.clear();
    for (const change of openings) this.#held.hold(change, performance.now());
    this.#seen = new Set(connections.map(nameOf));
    const prefixes = prefixesIn(this.#plan.prefixes, openings);
    this.#installed = { table: await this.#listTable(), holes: hole, prefixes };
    this.#session?.prepare();
  }

  /** The whole transaction that puts everything in place on this host as it is now. */
  async #render(openings: readonly ClientOpenings[], notes: readonly NetworkNotes[] = []) {
    const host = await this.#lookAtHost();
    const connections = await establishedConnections(this.#plan.guardedPorts, this.#run);
    const seen = this.#seen;
    const kept = seen ? connections.filter((each) => seen.has(nameOf(each))) : connections;
    const holes = host.hole
      ? renderHoles(host.onTheWay) + renderHoleRemoval(host.beside)
      : renderHoleRemoval(host.chains);
    const owner = await nameProcess(Deno.pid, this.#run);
    const table = renderTable(this.#plan, { openings, kept, hole: host.hole, notes, owner });
    return { text: table + holes, connections, hole: host.hole, host };
  }

  reconfigure(plan: GuardPlan): void {
    this.#plan = plan;
  }

  async apply(changes: readonly ClientOpenings[]): Promise<void> {
    const stranger = changes.find(({ address, openings }) =>
      openings.length > 0 && !isSingle(address) && !this.#hasSetFor(address)
    );
    // The next `install`, which follows a failure, makes the set.
    if (stranger) throw new OpenmeError("FIREWALL", describeMissing(stranger.address));
    await this.#change(this.#renderChanges(changes, await this.#notesOfOld(changes)));
    for (const change of changes) this.#held.hold(change, performance.now());
  }

  #renderChanges(
    changes: readonly ClientOpenings[],
    notesOfOld: (network: Network) => readonly Address[] = () => [],
  ): string {
    return renderChanges(
      changes,
      (address) => this.#held.rangesOf(address),
      (change) => ({
        unclaim: this.#held.isKnockedAnew(change),
        forget: notesOfOld(change.address),
      }),
    );
  }

  #hasSetFor(network: Network): boolean {
    const { family, length } = prefixOf(network);
    return this.#installed?.prefixes.some((each) =>
      each.family === family && each.length === length
    ) ?? false;
  }

  /**
   * Who is still noted in networks that open anew. They are closed first: the kernel's time may not be over where ours
   * is, and nobody is to be noted behind our back.
   */
  async #notesOfOld(
    changes: readonly ClientOpenings[],
  ): Promise<(network: Network) => readonly Address[]> {
    const anew = changes.filter((change) =>
      this.#held.opensAnew(change) && this.#held.mayBeNoted(change.address)
    );
    await this.#change(this.#renderChanges(anew.map((each) => ({ ...each, openings: [] }))));
    return await notedIn(anew, (set) => this.#listSet(set));
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
    // A firewall that came up after openme may drop what it let in, or may have been loaded anew without the hole.
    const { hole, onTheWay } = await this.#lookAtHost();
    if (hole !== installed.holes || (hole && renderHoles(onTheWay) !== "")) return false;
    const connections = await establishedConnections(this.#plan.guardedPorts, this.#run);
    this.#seen = new Set(connections.map(nameOf));
    this.#held.forgetEnded(performance.now());
    return true;
  }

  async remove(): Promise<void> {
    this.#session?.close();
    // The table first: without it nothing carries the mark, and the holes let nobody in.
    await this.#transact(renderRemoval());
    const holes = renderHoleRemoval(parseHostChains(await this.#listHost()));
    if (holes) await this.#transact(holes);
    this.#held.clear();
    this.#installed = undefined;
  }

  /** The kernel ends every grant; nothing depends on openme. */
  leave(): Promise<void> {
    return Promise.resolve();
  }

  async list(): Promise<readonly Standing[]> {
    const table = await this.#nft([
      ...["--stateless", "--terse", "list", "table"],
      ...TABLE.split(" "),
    ]);
    const lists = await Promise.all(
      parseOpeningSets(table).map(async ({ set, length }) =>
        parseGranted(await this.#listSet(set), length)
      ),
    );
    return lists.flat();
  }

  async openToEveryone(): Promise<{ ports: readonly PortRange[]; why: string } | undefined> {
    if (this.#plan.dropPorts) return undefined;
    const { chains } = await this.#lookAtHost();
    return portsOpenToEveryone(
      this.#plan.guardedPorts,
      chains.filter(({ hook }) => hook === "input"),
    );
  }

  async preview(openings: readonly ClientOpenings[]): Promise<string> {
    const { text, host } = await this.#render(openings);
    await this.#requireWayIn(host);
    return `nft -f - <<'END'\n${text}END\n`;
  }

  previewChanges(changes: readonly ClientOpenings[]): string {
    return `nft -f - <<'END'\n${this.#renderChanges(changes)}END\n`;
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
    await requireNoLivingOwner(parseOwner(listing), this.#run);
  }

  /** Which of the host's chains granted traffic passes, and whether it needs holes there. */
  async #lookAtHost(): Promise<Host> {
    const listing = await this.#listHost();
    const chains = parseHostChains(listing);
    const forward = needsForward(this.#plan, await this.#publishedPorts(listing));
    const isOnTheWay = ({ hook, priority }: HostChain) =>
      hook === "input" || (hook === "forward" && forward) ||
      // Only behind openme's own chain does a packet carry the mark.
      (hook === "prerouting" && priority > GUARD_PRIORITY);
    const onTheWay = chains.filter(isOnTheWay);
    return {
      chains,
      onTheWay,
      beside: chains.filter((chain) => !isOnTheWay(chain)),
      hole: !this.#plan.dropPorts || onTheWay.some(mayDrop),
    };
  }

  /** The ports that the host sends elsewhere; `undefined` where its rules do not say. */
  async #publishedPorts(listing: string): Promise<PortRange[] | undefined> {
    const { ports, maps, unknown } = parsePublished(listing);
    const found = [...ports];
    for (const map of maps) {
      const keys = parseMapPorts(await this.#nft(["--json", "list", "map", ...map.split(" ")]));
      if (!keys) return undefined;
      found.push(...keys);
    }
    return unknown ? undefined : found;
  }

  /** Throws where a chain would drop what openme lets in, and no hole can help. */
  async #requireWayIn({ chains, onTheWay }: Host): Promise<void> {
    const closed = chains.filter((chain) =>
      onTheWay.includes(chain) ? chain.owned : chain.hook === "prerouting"
    );
    // What iptables-legacy loaded drops as well, and is out of reach.
    const legacy = (await legacyChains(this.#run)).filter(({ hook }) => hook === "input");
    await requireWayIn(
      this.#plan,
      [...closed, ...legacy],
      ({ family, table, name }) => this.#nft(["--handle", "list", "chain", family, table, name]),
    );
  }

  /** A small transaction: through the session where that takes it. */
  async #change(text: string): Promise<void> {
    if (text && !await this.#session?.transact(text)) await this.#transact(text);
  }

  async #transact(text: string): Promise<void> {
    await this.#nft(["-f", "-"], text);
  }

  #listHost(): Promise<string> {
    return this.#nft(["--json", "--terse", "list", "ruleset"]);
  }

  #listSet(set: string): Promise<string> {
    return this.#nft(["--json", "list", "set", ...TABLE.split(" "), set]);
  }

  /** Everything that must not change behind openme's back: rules, and what is guarded; not counters, not grants. */
  async #listTable(): Promise<string> {
    const rules = await this.#nft(["--stateless", "--terse", "list", "table", ...TABLE.split(" ")]);
    const sets = await Promise.all(
      ["guarded", "forwarded"].map((set) => this.#nft(["list", "set", ...TABLE.split(" "), set])),
    );
    return rules + sets.join("");
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
