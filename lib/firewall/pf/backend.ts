/**
 * The pf backend (FreeBSD, OpenBSD, macOS): an anchor with tables, through `pfctl`. pf ends no table entry by itself:
 * openme's timers do, and the load at the next start removes those of a dead process.
 */

import { OpenmeError } from "../../values/errors.ts";
import { formatNetwork } from "../../values/network.ts";
import type { PortRange } from "../../values/ports.ts";
import type { RunProgram } from "../../system/run_program.ts";
import type { Backend, ClientOpenings, Examination, Standing } from "../backend.ts";
import type { GuardPlan } from "../plan.ts";
import { ANCHOR, ANCHOR_LINE, portsOfTable, renderAnchor, tableOf } from "./rules.ts";
import { runFirewall } from "../run.ts";

const DEADLINE_MS = 5000;
const FAILING_HINT = "see whether pfctl works here by itself, as the same user: pfctl -s info";
const MISSING_HINT = "pf is part of FreeBSD, OpenBSD and macOS; on Linux, set firewall: auto";

/** A backend that drives this host's pf through `run`. */
export function createPfBackend(plan: GuardPlan, run: RunProgram): Backend {
  return new PfBackend(plan, run);
}

interface Held {
  /** Canonical text, of an address or a network. */
  readonly address: string;
  readonly ports: PortRange;
  /** Steady clock of this process, ms. */
  readonly endsAtMs: number;
  readonly timer: ReturnType<typeof setTimeout>;
}

class PfBackend implements Backend {
  readonly name = "pf";
  readonly endsByKernel = false;
  #plan: GuardPlan;
  readonly #run: RunProgram;
  /** Every opening in force, by its address and table. */
  readonly #held = new Map<string, Held>();
  /** The tables that the loaded rules name. */
  #loaded: ReadonlySet<string> = new Set();
  #rules: string | undefined;
  /** Counts changes, and says which of them pf has: see `#load`. */
  #version = 0;
  #written = 0;

  constructor(plan: GuardPlan, run: RunProgram) {
    this.#plan = plan;
    this.#run = run;
  }

  async install(openings: readonly ClientOpenings[]): Promise<void> {
    if (this.#rules === undefined) await this.#requireAnchor();
    this.#forget(() => true);
    this.#remember(openings);
    await this.#load();
    const stale = (await this.#tables()).filter((name) => !this.#loaded.has(name));
    for (const name of stale) await this.#change(["-t", name, "-T", "kill"]);
  }

  reconfigure(plan: GuardPlan): void {
    this.#plan = plan;
  }

  /** Addresses come and go in the tables that are there; ports that no rule names yet need a load. */
  async apply(changes: readonly ClientOpenings[]): Promise<void> {
    const before = this.#namesOf(changes);
    this.#remember(changes);
    const after = this.#namesOf(changes);
    if ([...after.keys()].some((name) => !this.#loaded.has(name))) return await this.#load();
    const version = this.#version;
    for (const [name, addresses] of before) {
      const gone = addresses.filter((each) => !after.get(name)?.includes(each));
      if (gone.length > 0) await this.#change(["-t", name, "-T", "delete", ...gone]);
    }
    for (const [name, addresses] of after) {
      const come = addresses.filter((each) => !before.get(name)?.includes(each));
      if (come.length > 0) await this.#change(["-t", name, "-T", "add", ...come]);
      // An opening may have ended while a slow program was adding it.
      const late = come.filter((each) => !this.#held.has(`${each} ${name}`));
      if (late.length > 0) await this.#change(["-t", name, "-T", "delete", ...late]);
    }
    this.#written = Math.max(this.#written, version);
  }

  async isIntact(): Promise<boolean> {
    return this.#rules !== undefined && await this.#listRules() === this.#rules &&
      await this.#hasAnchor();
  }

  /** pfctl prints rules in words of its own: only that there are none, or that pf.conf does not call them, can be told. */
  async examine(): Promise<Examination | undefined> {
    const wrong = [
      ...(await this.#hasAnchor() ? [] : [`pf.conf does not call the anchor "${ANCHOR}"`]),
      ...((await this.#listRules()).trim() === "" ? [`the anchor "${ANCHOR}" has no rules`] : []),
    ];
    if (wrong.length === 0) return undefined;
    return { wrong, unguarded: this.#plan.guardedPorts, barred: [], hostMayDrop: false };
  }

  async list(): Promise<readonly Standing[] | undefined> {
    if ((await this.#listRules()).trim() === "") return undefined;
    const standing: Standing[] = [];
    for (const name of await this.#tables()) {
      const ports = portsOfTable(name);
      const listing = await this.#pfctl(["-a", ANCHOR, "-t", name, "-T", "show"]);
      for (const address of listing.split("\n").map((line) => line.trim()).filter(Boolean)) {
        if (ports) standing.push({ address, ports: [ports] });
      }
    }
    return standing;
  }

  async remove(): Promise<void> {
    this.#forget(() => true);
    await this.#change(["-F", "rules"]);
    for (const name of await this.#tables()) await this.#change(["-t", name, "-T", "kill"]);
    this.#rules = undefined;
    this.#loaded = new Set();
  }

  /** No entry ends without openme: the guard stays, with no address let in. */
  async leave(): Promise<void> {
    this.#forget(() => true);
    await this.#load();
  }

  /** Rules of pf are not read here: what the host's own say is up to its administrator. */
  openToEveryone(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  #remember(changes: readonly ClientOpenings[]): void {
    this.#version++;
    const nowMs = performance.now();
    for (const { address: network, openings } of changes) {
      const address = formatNetwork(network);
      this.#forget((held) => held.address === address);
      for (const { timeoutMs, ...ports } of openings) {
        const key = `${address} ${tableOf(ports)}`;
        const timer = setTimeout(() => this.#end(key), timeoutMs);
        this.#held.set(key, { address, ports, endsAtMs: nowMs + timeoutMs, timer });
      }
    }
  }

  #forget(isUnwanted: (held: Held) => boolean): void {
    for (const [key, held] of this.#held) {
      if (!isUnwanted(held)) continue;
      clearTimeout(held.timer);
      this.#held.delete(key);
    }
  }

  /** The opening ends. After a failure the rules count as not intact, and the guard installs them again. */
  async #end(key: string): Promise<void> {
    const held = this.#held.get(key);
    if (!held) return;
    this.#held.delete(key);
    this.#version++;
    try {
      await this.#change(["-t", tableOf(held.ports), "-T", "delete", held.address]);
    } catch {
      this.#rules = undefined;
    }
  }

  /** What these addresses hold: their canonical texts, by table. */
  #namesOf(changes: readonly ClientOpenings[]): Map<string, string[]> {
    const touched = new Set(changes.map(({ address }) => formatNetwork(address)));
    const held = [...this.#held.values()].filter(({ address }) => touched.has(address));
    return new Map([...tablesOf(held)].map(([name, { addresses }]) => [name, addresses]));
  }

  /** Loads rules and tables whole. Where a later load ended first, this put something old over it: once more. */
  async #load(): Promise<void> {
    while (true) {
      const version = this.#version;
      const nowMs = performance.now();
      const tables = tablesOf(
        [...this.#held.values()].filter(({ endsAtMs }) => endsAtMs > nowMs),
      );
      await this.#change(["-f", "-"], renderAnchor(this.#plan, tables));
      this.#loaded = new Set(tables.keys());
      const overtaken = this.#written > version;
      this.#written = version;
      if (overtaken) continue;
      this.#rules = await this.#listRules();
      return;
    }
  }

  async #change(args: readonly string[], stdin?: string): Promise<void> {
    await this.#pfctl(["-a", ANCHOR, ...args], { stdin, changes: true });
  }

  async #requireAnchor(): Promise<void> {
    const info = await this.#pfctl(["-s", "info"]);
    if (!/^Status: Enabled/m.test(info)) {
      throw new OpenmeError("FIREWALL", "pf is not enabled, and guards nothing", {
        hint: "enable it: pfctl -e (and pf_enable=YES in rc.conf, or the like)",
      });
    }
    if (await this.#hasAnchor()) return;
    throw new OpenmeError("FIREWALL", `pf.conf does not call the anchor "${ANCHOR}"`, {
      hint:
        `add the line ${ANCHOR_LINE} to pf.conf before your own filter rules, then: pfctl -f /etc/pf.conf`,
    });
  }

  async #hasAnchor(): Promise<boolean> {
    const rules = await this.#pfctl(["-s", "rules"]);
    return rules.split("\n").some((line) => /^anchor "openme"( all)?\s*$/.test(line));
  }

  #listRules(): Promise<string> {
    return this.#pfctl(["-a", ANCHOR, "-s", "rules"]);
  }

  async #tables(): Promise<string[]> {
    const listing = await this.#pfctl(["-a", ANCHOR, "-s", "Tables"]);
    return listing.split("\n").map((line) => line.trim()).filter((name) => portsOfTable(name));
  }

  #pfctl(
    args: string[],
    more: { stdin?: string | undefined; changes?: boolean } = {},
  ): Promise<string> {
    return runFirewall(this.#run, {
      program: "pfctl",
      args,
      ...more,
      timeoutMs: DEADLINE_MS,
      missingHint: MISSING_HINT,
      failingHint: FAILING_HINT,
    });
  }
}

function tablesOf(held: readonly Held[]) {
  const tables = new Map<string, { ports: PortRange; addresses: string[] }>();
  for (const { address, ports } of held) {
    const name = tableOf(ports);
    if (!tables.has(name)) tables.set(name, { ports, addresses: [] });
    tables.get(name)!.addresses.push(address);
  }
  return tables;
}
