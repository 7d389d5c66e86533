/** Runs `firewall-cmd`: which zones count, which rich rules they have, and changes of those. */

import { messageOf, OpenmeError } from "../../values/errors.ts";
import type { PortRange } from "../../values/ports.ts";
import type { RunProgram } from "../../system/run_program.ts";
import { allEnded, runFirewall } from "../run.ts";
import { type OwnRule, parseOwnRules, parseZone } from "./rules.ts";

/** A call is a Python program that waits for another one: on a small machine that has work to do it takes seconds. */
const DEADLINE_MS = 10_000;

/** The rich rules of one zone. */
export interface ZoneRules {
  readonly zone: string;
  readonly rules: readonly OwnRule[];
  /** The lines of rules that are not openme's. */
  readonly others: readonly string[];
}

/** The firewalld of this host. */
export class FirewallCmd {
  readonly #run: RunProgram;
  /** The zones that count, as last found. */
  zones: readonly string[] = [];

  constructor(run: RunProgram) {
    this.#run = run;
  }

  /** Throws where firewalld does not run. */
  async requireRunning(): Promise<void> {
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
  async findZones(name: string | undefined): Promise<readonly string[]> {
    const fallback = firstWord(await this.#cmd(["--get-default-zone"]));
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

  listRules(): Promise<ZoneRules[]> {
    return Promise.all(this.zones.map(async (zone) => {
      const listing = await this.#cmd([`--zone=${zone}`, "--list-rich-rules"]);
      const rules = parseOwnRules(listing);
      const own = new Set(rules.map(({ text }) => text));
      const others = listing.split("\n").filter((line) => !own.has(line.trim()));
      return { zone, rules, others };
    }));
  }

  /** The ports that the zones let everyone in to; all of `guarded` where a zone accepts everything. */
  async listOpen(guarded: readonly PortRange[]): Promise<PortRange[]> {
    const open: PortRange[] = [];
    for (const zone of this.zones) {
      const { ports, services, acceptsAll } = parseZone(
        await this.#cmd([`--zone=${zone}`, "--list-all"]),
      );
      open.push(...ports, ...(acceptsAll ? guarded : []));
      for (const service of services) {
        open.push(...parseZone(await this.#cmd([`--info-service=${service}`])).ports);
      }
    }
    return open;
  }

  /** Adds a rule to every zone; with a timeout firewalld takes it out again. */
  async add(rule: string, timeoutMs?: number): Promise<void> {
    // A timeout of 0 would mean for ever: at least a second.
    const timeout = timeoutMs === undefined
      ? []
      : [`--timeout=${Math.max(1, Math.floor(timeoutMs / 1000))}`];
    const args = [`--add-rich-rule=${rule}`, ...timeout];
    await allEnded(this.zones.map((zone) => this.#change(zone, args, /ALREADY_ENABLED/)));
  }

  /** Takes a rule out of these zones. */
  async remove(rule: string, zones: readonly string[] = this.zones): Promise<void> {
    const args = [`--remove-rich-rule=${rule}`];
    await allEnded(zones.map((zone) => this.#change(zone, args, /NOT_ENABLED/)));
  }

  /** The table in nf_tables that firewalld keeps; "" where it keeps its rules elsewhere, or nft does not tell. */
  async listTable(): Promise<string> {
    const args = ["--terse", "--handle", "list", "table", "inet", "firewalld"];
    return await this.nft(args).catch(() => "");
  }

  /** Runs nft on that table. */
  nft(args: readonly string[], { changes = false } = {}): Promise<string> {
    return runFirewall(this.#run, {
      program: "nft",
      args,
      changes,
      timeoutMs: DEADLINE_MS,
      failingHint: "firewall-cmd --reload takes out what a killed firewalld has left",
    });
  }

  /** Older ones fail with `harmless` where newer ones only warn. */
  async #change(zone: string, args: readonly string[], harmless: RegExp): Promise<void> {
    try {
      await this.#cmd([`--zone=${zone}`, ...args], { changes: true });
    } catch (error) {
      if (!harmless.test(messageOf(error))) throw error;
    }
  }

  #cmd(args: readonly string[], { changes = false } = {}): Promise<string> {
    return runFirewall(this.#run, {
      program: "firewall-cmd",
      args,
      changes,
      timeoutMs: DEADLINE_MS,
      missingHint: "install firewalld, or set firewall: auto",
      failingHint: "see whether firewalld works here, as the same user: firewall-cmd --list-all",
    });
  }
}

function firstWord(text: string): string {
  return text.trim().split(/\s/)[0]!;
}
