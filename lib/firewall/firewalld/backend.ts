/**
 * The firewalld backend: rich rules that firewalld itself ends, in every zone that is in use. It closes nothing: a zone
 * lets in only what it is told to. firewalld forgets these rules when it is reloaded; then openme puts them back.
 */

import { formatNetwork, type Network } from "../../values/network.ts";
import { intersectPortRanges } from "../../values/ports.ts";
import type { Opening } from "../../values/openings.ts";
import type {
  Backend,
  BackendParts,
  ClientOpenings,
  Examination,
  OpenPorts,
  Standing,
} from "../backend.ts";
import { CheckedRules } from "../host/generation.ts";
import type { GuardPlan } from "../plan.ts";
import { allEnded, allInTurn } from "../run.ts";
import { FirewallCmd, type ZoneRules } from "./program.ts";
import {
  handlesInTable,
  type Held,
  keyOf,
  PRIORITIES,
  type Priority,
  renderKnockRule,
  renderRule,
  ruleOf,
} from "./rules.ts";

/** Timeouts are whole seconds and calls take their time: a rule this close to its end may be gone. */
const SLACK_MS = 3000;
/**
 * How long nothing is asked of firewalld while no rule in the kernel changes. A check is three calls or more, and a
 * firewalld that has died, or a zone that came without a rule, does not show there.
 */
const ASK_APART_MS = 60_000;

/** A backend that drives this host's firewalld through `run`. */
export function createFirewalldBackend(parts: FirewalldParts): Backend {
  return new FirewalldBackend(parts);
}

type FirewalldParts = Pick<BackendParts, "plan" | "run" | "readGeneration">;

class FirewalldBackend implements Backend {
  readonly name = "firewalld";
  /** firewalld does, which is as good: nothing depends on openme. */
  readonly endsByKernel = true;
  #plan: GuardPlan;
  readonly #program: FirewallCmd;
  /** Every opening in force, by address and ports. */
  readonly #held = new Map<string, Held>();
  #installed = false;
  readonly #checked: CheckedRules;
  /** Whether the rules that firewalld makes are rules of nf_tables. */
  #isInTable = false;
  /** Steady clock, ms: when firewalld is asked though nothing has changed. */
  #nextAskMs = 0;

  constructor({ plan, run, readGeneration }: FirewalldParts) {
    this.#plan = plan;
    this.#program = new FirewallCmd(run);
    this.#checked = new CheckedRules(readGeneration);
  }

  async install(openings: readonly ClientOpenings[]): Promise<void> {
    await this.#findRunning();
    this.#checked.forget();
    this.#isInTable = await this.#program.listTable() !== "";
    const before = [...this.#held.values()];
    this.#held.clear();
    const present = await this.#program.listRules();
    await this.#deleteForgotten(before, present);
    await allEnded(
      openings.flatMap(({ address, openings }) =>
        openings.map(async (opening) => {
          // firewalld would leave the time of a rule that is there already as it was.
          const free = PRIORITIES.find((each) =>
            present.every((zone) => !hasRule(zone, renderRule(each, address, opening)))
          );
          const rule = this.#hold(address, opening, free ?? PRIORITIES[0]);
          if (free === undefined) await this.#program.remove(rule);
          await this.#program.add(rule, opening.timeoutMs);
        })
      ),
    );
    // What is not in force, as of a dead process.
    const wanted = this.#wanted();
    await allEnded(
      present.flatMap(({ zone, rules }) =>
        rules.filter(({ text }) => !wanted.includes(text))
          .map(({ text }) => this.#program.remove(text, [zone]))
      ),
    );
    for (const rule of this.#knockRules()) await this.#program.add(rule);
    this.#installed = true;
  }

  reconfigure(plan: GuardPlan): void {
    this.#plan = plan;
  }

  async apply(changes: readonly ClientOpenings[]): Promise<void> {
    await allEnded(changes.map((change) => this.#change(change)));
  }

  /** The new rule stands before the old one goes, so that a renewal shuts nobody out. */
  async #change({ address, openings }: ClientOpenings): Promise<void> {
    const text = formatNetwork(address);
    const old = new Map(
      [...this.#held].filter(([, held]) => formatNetwork(held.address) === text),
    );
    const work = openings.map(async (opening) => {
      const key = keyOf(address, opening);
      const held = old.get(key);
      old.delete(key);
      const isLive = held !== undefined && held.endsAtMs > performance.now() - SLACK_MS;
      const priority = isLive ? PRIORITIES.find((each) => each !== held.priority)! : PRIORITIES[0];
      await this.#program.add(this.#hold(address, opening, priority), opening.timeoutMs);
      if (isLive) await this.#program.remove(ruleOf(held));
    });
    for (const [key, held] of old) {
      this.#held.delete(key);
      work.push(this.#program.remove(ruleOf(held)));
    }
    await allEnded(work);
  }

  async isIntact(): Promise<boolean> {
    if (!this.#installed) return false;
    const nowMs = performance.now();
    if (this.#isInTable && this.#checked.isUnchanged() && nowMs < this.#nextAskMs) return true;
    const allInOrder = this.#checked.begin();
    const zones = await this.#program.findZones(this.#plan.interface);
    if (zones.join() !== this.#program.zones.join()) return false;
    const wanted = this.#wanted(nowMs + SLACK_MS);
    const present = await this.#program.listRules();
    if (!present.every((zone) => wanted.every((rule) => hasRule(zone, rule)))) return false;
    this.#nextAskMs = nowMs + ASK_APART_MS;
    allInOrder();
    return true;
  }

  /** It guards nothing: of openme's there is the rule for knocks, and the zones close. */
  async examine(): Promise<Examination> {
    await this.#findRunning();
    const present = await this.#program.listRules();
    const lacking = present.filter((zone) =>
      !this.#knockRules().every((rule) => hasRule(zone, rule))
    );
    return {
      wrong: lacking.map(({ zone }) => `the zone ${zone} lacks the rule for knocks`),
      unguarded: [],
      barred: [],
      hostMayDrop: true,
    };
  }

  /** Where no rule of openme's stands there is nothing that a failed start must leave. */
  async list(): Promise<readonly Standing[] | undefined> {
    if (this.#program.zones.length === 0) await this.#findRunning();
    else await this.#program.requireRunning();
    const rules = (await this.#program.listRules()).flatMap(({ rules }) => rules);
    if (rules.length === 0) return undefined;
    const standing = new Map<string, Standing>();
    for (const { address, ports, text } of rules) {
      if (address !== undefined) standing.set(text, { address, ports: [ports] });
    }
    return [...standing.values()];
  }

  async remove(): Promise<void> {
    await this.#findRunning();
    this.#held.clear();
    const present = await this.#program.listRules();
    await allInTurn(
      present.map(({ zone, rules }) => () =>
        allEnded(rules.map(({ text }) => this.#program.remove(text, [zone])))
      ),
    );
    this.#installed = false;
  }

  /** firewalld ends what is open. */
  leave(): Promise<void> {
    return Promise.resolve();
  }

  /** The usual zone lets everyone in to ssh: then a knock opens nothing that is not open. */
  async openToEveryone(): Promise<OpenPorts | undefined> {
    const { guardedPorts } = this.#plan;
    const open = intersectPortRanges(guardedPorts, await this.#program.listOpen(guardedPorts));
    if (open.length === 0) return undefined;
    return {
      ports: open,
      why: `firewalld lets everyone in to them, in the zones ${this.#program.zones.join(", ")}`,
      hint: "take them out there: firewall-cmd --permanent --remove-service=ssh, and --reload",
    };
  }

  async #findRunning(): Promise<void> {
    await this.#program.requireRunning();
    this.#program.zones = await this.#program.findZones(this.#plan.interface);
  }

  #hold(address: Network, { timeoutMs, ...ports }: Opening, priority: Priority): string {
    const endsAtMs = performance.now() + timeoutMs;
    const held = { address, ports, priority, endsAtMs };
    this.#held.set(keyOf(address, ports), held);
    return ruleOf(held);
  }

  /** The rules that are to stand, of openings that end after a time. */
  #wanted(afterMs = -Infinity): string[] {
    const held = [...this.#held.values()].filter(({ endsAtMs }) => endsAtMs > afterMs);
    return [...held.map(ruleOf), ...this.#knockRules()];
  }

  #knockRules(): string[] {
    return this.#plan.openKnockPort ? [renderKnockRule(this.#plan.knockPort)] : [];
  }

  /**
   * A firewalld that was killed leaves its table. The next one builds on it, and knows and ends none of the rules that
   * this process had put in.
   */
  async #deleteForgotten(before: readonly Held[], present: readonly ZoneRules[]): Promise<void> {
    const known = (zone: ZoneRules, { address, ports }: Held) =>
      PRIORITIES.filter((each) => hasRule(zone, renderRule(each, address, ports))).length;
    const hasForgotten = present.some((zone) =>
      before.some((held) => known(zone, held) === 0) ||
      (this.#installed && !this.#knockRules().every((rule) => hasRule(zone, rule)))
    );
    if (!hasForgotten) return;
    const listing = await this.#program.listTable();
    for (const zone of present) {
      for (const held of before) {
        const { address: source, ports } = held;
        // Somebody else's rule for that address may be the one that stands in the table.
        if (zone.others.some((line) => line.includes(`"${formatNetwork(source)}"`))) continue;
        const handles = handlesInTable(listing, { zone: zone.zone, source, ports });
        const chain = `filter_IN_${zone.zone}_post`;
        for (const handle of handles.slice(0, handles.length - known(zone, held))) {
          const args = ["delete", "rule", "inet", "firewalld", chain, "handle", `${handle}`];
          await this.#program.nft(args, { changes: true });
        }
      }
    }
  }
}

function hasRule({ rules }: ZoneRules, text: string): boolean {
  return rules.some((rule) => rule.text === text);
}
