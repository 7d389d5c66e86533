/**
 * The firewalld backend: `firewall-cmd` with rich rules that firewalld itself ends, in every zone that is in use. It
 * closes nothing: a zone lets in only what it is told to. What firewalld knows at run time only, a reload forgets; then
 * openme puts it back.
 */

import { messageOf, OpenmeError } from "../../values/errors.ts";
import { formatNetwork, type Network } from "../../values/network.ts";
import { intersectPortRanges, type PortRange } from "../../values/ports.ts";
import type { RunProgram } from "../../system/run_program.ts";
import type { Backend, ClientOpenings, Examination, OpenPorts, Standing } from "../backend.ts";
import type { GuardPlan } from "../plan.ts";
import {
  handlesInTable,
  type OwnRule,
  parseOwnRules,
  parseZone,
  PRIORITIES,
  type Priority,
  renderKnockRule,
  renderRule,
} from "./rules.ts";
import { allEnded, allInTurn, runFirewall } from "../run.ts";

const PROGRAM = "firewall-cmd";
/** A call is a Python program that waits for another one: on a small machine that has work to do it takes seconds. */
const DEADLINE_MS = 10_000;
const FAILING_HINT = "see whether firewalld works here, as the same user: firewall-cmd --list-all";
const MISSING_HINT = "install firewalld, or set firewall: auto";
/** Timeouts are whole seconds and calls take their time: a rule this close to its end may be gone. */
const SLACK_MS = 3000;

/** A backend that drives this host's firewalld through `run`. */
export function createFirewalldBackend(plan: GuardPlan, run: RunProgram): Backend {
  return new FirewalldBackend(plan, run);
}

/** One opening that stands, as one rule in each zone. */
interface Held {
  readonly address: Network;
  readonly ports: PortRange;
  readonly priority: Priority;
  /** Steady clock of this process, ms. */
  readonly endsAtMs: number;
}

/** The rich rules of one zone. */
interface ZoneRules {
  readonly zone: string;
  readonly rules: readonly OwnRule[];
  readonly others: readonly string[];
}

class FirewalldBackend implements Backend {
  readonly name = "firewalld";
  /** firewalld does, which is as good: nothing depends on openme. */
  readonly endsByKernel = true;
  #plan: GuardPlan;
  readonly #run: RunProgram;
  /** Every opening in force, by address and ports. */
  readonly #held = new Map<string, Held>();
  #zones: readonly string[] = [];
  #installed = false;

  constructor(plan: GuardPlan, run: RunProgram) {
    this.#plan = plan;
    this.#run = run;
  }

  async install(openings: readonly ClientOpenings[]): Promise<void> {
    await this.#requireRunning();
    this.#zones = await this.#findZones();
    const before = [...this.#held.values()];
    this.#held.clear();
    const present = await this.#listOwn();
    await this.#deleteForgotten(before, present);
    const has = (text: string) => present.some(({ rules }) => rules.some((r) => r.text === text));
    const work: Promise<void>[] = [];
    for (const { address, openings: wanted } of openings) {
      for (const opening of wanted) {
        // Firewalld would leave the time of a rule that is there already as it was.
        const free = PRIORITIES.find((each) => !has(renderRule(each, address, opening)));
        const priority = free ?? PRIORITIES[0];
        const text = this.#hold(address, opening, priority);
        work.push(
          (free === undefined ? this.#everywhere("remove", text) : Promise.resolve())
            .then(() => this.#everywhere("add", text, opening.timeoutMs)),
        );
      }
    }
    await allEnded(work);
    await this.#clearAway(present);
    if (this.#plan.openKnockPort) {
      const knock = renderKnockRule(this.#plan.knockPort);
      await this.#everywhere("add", knock);
    }
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
    const before = [...this.#held].filter(([, held]) => formatNetwork(held.address) === text);
    const old = new Map(before);
    const work = openings.map(async (opening) => {
      const key = keyOf(address, opening);
      const held = old.get(key);
      old.delete(key);
      const isLive = held !== undefined && held.endsAtMs > performance.now() - SLACK_MS;
      const priority = isLive ? PRIORITIES.find((each) => each !== held.priority)! : PRIORITIES[0];
      const rule = this.#hold(address, opening, priority);
      await this.#everywhere("add", rule, opening.timeoutMs);
      if (isLive) await this.#everywhere("remove", renderRule(held.priority, address, opening));
    });
    for (const [key, held] of old) {
      this.#held.delete(key);
      work.push(this.#everywhere("remove", renderRule(held.priority, address, held.ports)));
    }
    await allEnded(work);
  }

  async isIntact(): Promise<boolean> {
    if (!this.#installed) return false;
    const zones = await this.#findZones();
    if (zones.join() !== this.#zones.join()) return false;
    const late = performance.now() + SLACK_MS;
    const wanted = [...this.#held.values()].filter(({ endsAtMs }) => endsAtMs > late).map((held) =>
      renderRule(held.priority, held.address, held.ports)
    );
    if (this.#plan.openKnockPort) wanted.push(renderKnockRule(this.#plan.knockPort));
    const present = await this.#listOwn();
    return present.every(({ rules }) =>
      wanted.every((text) => rules.some((rule) => rule.text === text))
    );
  }

  /** It guards nothing: of openme's there is the rule for knocks, and the zones close. */
  async examine(): Promise<Examination> {
    await this.#requireRunning();
    this.#zones = await this.#findZones();
    const knock = renderKnockRule(this.#plan.knockPort);
    const lacking = this.#plan.openKnockPort
      ? (await this.#listOwn()).filter(({ rules }) => rules.every(({ text }) => text !== knock))
      : [];
    return {
      wrong: lacking.map(({ zone }) => `the zone ${zone} lacks the rule for knocks`),
      unguarded: [],
      barred: [],
      hostMayDrop: true,
    };
  }

  /** Where no rule of openme's stands there is nothing that a failed start must leave. */
  async list(): Promise<readonly Standing[] | undefined> {
    await this.#requireRunning();
    if (this.#zones.length === 0) this.#zones = await this.#findZones();
    const rules = (await this.#listOwn()).flatMap(({ rules }) => rules);
    if (rules.length === 0) return undefined;
    const standing = new Map<string, Standing>();
    for (const { address, ports, text } of rules) {
      if (address !== undefined) standing.set(text, { address, ports: [ports] });
    }
    return [...standing.values()];
  }

  async remove(): Promise<void> {
    await this.#requireRunning();
    this.#zones = await this.#findZones();
    this.#held.clear();
    const own = await this.#listOwn();
    await allInTurn(
      own.map(({ zone, rules }) => () =>
        allEnded(rules.map(({ text }) => this.#changeIn(zone, "remove", text)))
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
    const ports: PortRange[] = [];
    for (const zone of this.#zones) {
      const { ports: own, services, acceptsAll } = parseZone(
        await this.#cmd([`--zone=${zone}`, "--list-all"]),
      );
      ports.push(...own, ...(acceptsAll ? this.#plan.guardedPorts : []));
      for (const service of services) {
        ports.push(...parseZone(await this.#cmd([`--info-service=${service}`])).ports);
      }
    }
    const open = intersectPortRanges(this.#plan.guardedPorts, ports);
    if (open.length === 0) return undefined;
    return {
      ports: open,
      why: `firewalld lets everyone in to them, in the zones ${this.#zones.join(", ")}`,
      hint: "take them out there: firewall-cmd --permanent --remove-service=ssh, and --reload",
    };
  }

  #hold(
    address: Network,
    { timeoutMs, ...ports }: PortRange & { timeoutMs: number },
    priority: Priority,
  ): string {
    const endsAtMs = performance.now() + timeoutMs;
    this.#held.set(keyOf(address, ports), { address, ports, priority, endsAtMs });
    return renderRule(priority, address, ports);
  }

  /**
   * A firewalld that was killed leaves its table. The next one builds on it and does not know the rules that stand there:
   * nobody would end those that this process had put in.
   */
  async #deleteForgotten(before: readonly Held[], present: readonly ZoneRules[]): Promise<void> {
    const alike = ({ rules }: ZoneRules, { address, ports }: Held) =>
      rules.filter((rule) =>
        rule.address === formatNetwork(address) && samePorts(rule.ports, ports)
      ).length;
    // Somebody else's rule for that address may be the one that stands in the table.
    const isOthers = ({ others }: ZoneRules, { address }: Held) =>
      others.some((line) => line.includes(`"${formatNetwork(address)}"`));
    const knock = renderKnockRule(this.#plan.knockPort);
    const hasForgotten = present.some((zone) =>
      before.some((held) => alike(zone, held) === 0) ||
      (this.#installed && this.#plan.openKnockPort &&
        zone.rules.every(({ text }) => text !== knock))
    );
    if (!hasForgotten) return;
    const list = ["--terse", "--handle", "list", "table", "inet", "firewalld"];
    const listing = await this.#nft(list).catch(() => "");
    for (const zone of present) {
      for (const held of before.filter((held) => !isOthers(zone, held))) {
        const { address: source, ports } = held;
        const handles = handlesInTable(listing, { zone: zone.zone, source, ports });
        const chain = `filter_IN_${zone.zone}_post`;
        for (const handle of handles.slice(0, handles.length - alike(zone, held))) {
          const args = ["delete", "rule", "inet", "firewalld", chain, "handle", `${handle}`];
          await this.#nft(args, { changes: true });
        }
      }
    }
  }

  /** Takes out every rule of openme's that is not in force, as of a dead process. */
  async #clearAway(present: readonly { zone: string; rules: readonly OwnRule[] }[]): Promise<void> {
    const wanted = new Set(
      [...this.#held.values()].map((held) => renderRule(held.priority, held.address, held.ports)),
    );
    if (this.#plan.openKnockPort) wanted.add(renderKnockRule(this.#plan.knockPort));
    await allEnded(
      present.flatMap(({ zone, rules }) =>
        rules.filter(({ text }) => !wanted.has(text)).map(({ text }) =>
          this.#changeIn(zone, "remove", text)
        )
      ),
    );
  }

  async #requireRunning(): Promise<void> {
    try {
      await this.#cmd(["--state"]);
    } catch (cause) {
      if (!/not running/.test(messageOf(cause))) throw cause;
      throw new OpenmeError("FIREWALL", "firewalld is not running", {
        cause,
        hint: "start it: systemctl enable --now firewalld; or set firewall: auto",
      });
    }
  }

  /** The zone of the one interface; without one the default zone and all that have an interface or a source. */
  async #findZones(): Promise<readonly string[]> {
    const fallback = firstWord(await this.#cmd(["--get-default-zone"]));
    const name = this.#plan.interface;
    if (name !== undefined) {
      const zone = await this.#cmd([`--get-zone-of-interface=${name}`]).catch((error) => {
        if (/no zone/.test(messageOf(error))) return fallback;
        throw error;
      });
      return [firstWord(zone)];
    }
    const active = (await this.#cmd(["--get-active-zones"])).split("\n")
      .filter((line) => /^\S/.test(line)).map(firstWord);
    return [...new Set([fallback, ...active])].sort();
  }

  #listOwn(): Promise<ZoneRules[]> {
    return Promise.all(this.#zones.map(async (zone) => {
      const listing = await this.#cmd([`--zone=${zone}`, "--list-rich-rules"]);
      const rules = parseOwnRules(listing);
      const own = new Set(rules.map(({ text }) => text));
      const others = listing.split("\n").filter((line) => !own.has(line.trim()));
      return { zone, rules, others };
    }));
  }

  async #everywhere(what: "add" | "remove", rule: string, timeoutMs?: number): Promise<void> {
    await allEnded(this.#zones.map((zone) => this.#changeIn(zone, what, rule, timeoutMs)));
  }

  async #changeIn(zone: string, what: "add" | "remove", rule: string, timeoutMs?: number) {
    try {
      await this.#cmd(argumentsOf(zone, what, rule, timeoutMs), { changes: true });
    } catch (error) {
      // Older ones fail where newer ones only warn.
      const harmless = what === "add" ? /ALREADY_ENABLED/ : /NOT_ENABLED/;
      if (!harmless.test(messageOf(error))) throw error;
    }
  }

  #nft(args: string[], { changes = false } = {}): Promise<string> {
    return runFirewall(this.#run, {
      program: "nft",
      args,
      changes,
      timeoutMs: DEADLINE_MS,
      failingHint: "firewall-cmd --reload takes out what a killed firewalld has left",
    });
  }

  #cmd(args: string[], { changes = false } = {}): Promise<string> {
    return runFirewall(this.#run, {
      program: PROGRAM,
      args,
      changes,
      timeoutMs: DEADLINE_MS,
      missingHint: MISSING_HINT,
      failingHint: FAILING_HINT,
    });
  }
}

/** A timeout of 0 would mean for ever: at least a second. */
function argumentsOf(
  zone: string,
  what: "add" | "remove",
  rule: string,
  timeoutMs: number | undefined,
): string[] {
  const timeout = timeoutMs === undefined
    ? []
    : [`--timeout=${Math.max(1, Math.floor(timeoutMs / 1000))}`];
  return [`--zone=${zone}`, `--${what}-rich-rule=${rule}`, ...timeout];
}

function keyOf(address: Network, { protocol, first, last }: PortRange): string {
  return `${formatNetwork(address)} ${protocol} ${first} ${last}`;
}

function samePorts(a: PortRange, b: PortRange): boolean {
  return a.protocol === b.protocol && a.first === b.first && a.last === b.last;
}

function firstWord(text: string): string {
  return text.trim().split(/\s/)[0]!;
}
