/**
 * The backend that runs the user's own programs, one to open and one to close: for ufw, firewalld, a cloud provider's
 * security group, anything. No shell; values go in as arguments or parts of one.
 *
 * Such a firewall closes nothing by itself and counts no time: openme's timers close, and what a dead process left open
 * is closed at the next start, from the journal that is written before anything opens.
 */

import type { CommandLines } from "../config/firewall_config.ts";
import { OpenmeError } from "../errors.ts";
import { errorFields, type Log } from "../log.ts";
import { formatNetwork, type Network } from "../network.ts";
import { formatPortRange, type PortRange } from "../ports.ts";
import type { RunProgram } from "../run_program.ts";
import {
  type Backend,
  type ClientOpenings,
  type GuardPlan,
  type OpenPorts,
  PartlyFailed,
  type Standing,
} from "./backend.ts";
import type { BackendParts } from "./backends.ts";
import { Journal } from "./command_journal.ts";
import { type Entry, fillIn, showLine } from "./command_line.ts";
import { hostFirewall } from "./host_view.ts";
import { runFirewall } from "./run_firewall.ts";

const DEADLINE_MS = 10_000;
/** How often a close that fails is tried, a check apart, before openme gives up and says so. */
const CLOSE_ATTEMPTS = 5;
/** Programs that run at a time: a crowd of clients, or the grants of a restart, must not fill the machine. */
const MOST_RUNS = 8;

/** An entry at work: its commands run one after the other. */
interface Slot {
  entry: Entry;
  timer?: ReturnType<typeof setTimeout>;
  queue: Promise<void>;
  failedCloses: number;
}

/** The backend for the configured programs, with its journal in the state directory. */
export function makeCommand(parts: BackendParts): Promise<Backend> {
  const { plan, command } = parts;
  if (!command || plan.dropPorts) {
    throw new OpenmeError("FIREWALL", "firewall: command only opens and closes for clients", {
      hint: "set drop_ports: false, and let your own firewall close the ports",
    });
  }
  return Promise.resolve(new CommandBackend(command, parts));
}

class CommandBackend implements Backend {
  readonly name = "command";
  readonly endsByKernel = false;
  readonly #lines: CommandLines;
  readonly #run: RunProgram;
  readonly #journal: Journal;
  readonly #log: Log;
  readonly #slots = new Map<string, Slot>();
  #plan: GuardPlan;
  #hasRead = false;
  #runs = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(lines: CommandLines, { plan, run, log, stateDir }: BackendParts) {
    this.#lines = lines;
    this.#plan = plan;
    this.#run = run;
    this.#journal = new Journal(stateDir, log);
    this.#log = log;
  }

  async install(openings: readonly ClientOpenings[]): Promise<void> {
    if (!this.#hasRead) await this.#closeLeftOvers();
    const wanted = new Set(openings.map(({ address }) => formatNetwork(address)));
    const gone = [...this.#slots.values()].filter(({ entry }) =>
      !wanted.has(formatNetwork(entry.address))
    ).map(({ entry }) => ({ address: entry.address, openings: [], clients: [] }));
    await this.apply([...gone, ...openings]);
  }

  reconfigure(plan: GuardPlan): void {
    this.#plan = plan;
  }

  async apply(changes: readonly ClientOpenings[]): Promise<void> {
    const work: Promise<void>[] = [];
    const failed = new Set<string>();
    for (const { address, openings, clients } of changes) {
      const wanted = new Map(openings.map((opening) => [keyOf(address, opening), opening]));
      for (const [key, slot] of this.#slots) {
        if (sameText(slot.entry.address, address) && !wanted.has(key)) {
          work.push(this.#closeQuietly(key));
        }
      }
      for (const [key, { timeoutMs, ...ports }] of wanted) {
        const opening = this.#open(key, { address, ports, client: clients.join(",") }, timeoutMs);
        opening.catch(() => failed.add(formatNetwork(address)));
        work.push(opening);
      }
    }
    const results = await Promise.allSettled(work);
    const first = results.find((each) => each.status === "rejected");
    if (!first) return;
    if (first.reason instanceof OpenmeError) throw new PartlyFailed(first.reason, failed);
    throw first.reason;
  }

  /** Nobody can tell what became of the rules behind the programs. Closes that failed are tried again. */
  isIntact(): Promise<boolean> {
    for (const [key, slot] of this.#slots) if (slot.failedCloses > 0) this.#closeQuietly(key);
    return Promise.resolve(true);
  }

  examine(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  list(): Promise<readonly Standing[] | undefined> {
    return Promise.resolve(undefined);
  }

  async remove(): Promise<void> {
    if (!this.#hasRead) await this.#closeLeftOvers();
    const results = await Promise.allSettled(
      [...this.#slots.keys()].map((key) => this.#close(key)),
    );
    const failed = results.find((each) => each.status === "rejected");
    if (failed) throw failed.reason;
  }

  /** Only openme closes here: nothing may stay open without it. */
  leave(): Promise<void> {
    return this.remove();
  }

  /** What the host's own chains show: a firewall in front of the host may close all the same. */
  async openToEveryone(): Promise<OpenPorts | undefined> {
    const ports = (await hostFirewall(this.#run)).openOf(this.#plan.guardedPorts);
    if (ports.length === 0) return undefined;
    return {
      ports,
      why: "this host's own firewall lets everyone in to them",
      hint: "close them there, unless a firewall in front of this host does: openme plan",
    };
  }

  preview(openings: readonly ClientOpenings[]): Promise<string> {
    return Promise.resolve(this.previewChanges(openings));
  }

  previewChanges(changes: readonly ClientOpenings[]): string {
    return changes.flatMap(({ address, openings, clients }) =>
      openings.map(({ timeoutMs, ...ports }) =>
        showLine(
          fillIn(this.#lines.open, { address, ports, client: clients.join(",") }, timeoutMs),
        )
      )
    ).join("");
  }

  previewEnd(address: Network, ports: PortRange, clients: readonly string[]): string {
    return showLine(fillIn(this.#lines.close, { address, ports, client: clients.join(",") }, 0));
  }

  /** What a dead process wrote down is closed first, wanted or not: opening again is up to whoever knocked. */
  async #closeLeftOvers(): Promise<void> {
    for (const entry of this.#journal.read()) {
      this.#slots.set(keyOf(entry.address, entry.ports), newSlot(entry));
    }
    this.#hasRead = true;
    await Promise.all([...this.#slots.keys()].map((key) => this.#closeQuietly(key)));
  }

  #open(key: string, entry: Entry, timeoutMs: number): Promise<void> {
    let slot = this.#slots.get(key);
    if (!slot) this.#slots.set(key, slot = newSlot(entry));
    // The end is reckoned from now, however long the program takes.
    const endsAtMs = performance.now() + timeoutMs;
    return this.#inTurn(slot, async (slot) => {
      clearTimeout(slot.timer);
      this.#slots.set(key, slot); // a close before this turn has taken it out
      slot.entry = entry;
      slot.failedCloses = 0;
      this.#write();
      try {
        await this.#runLine(fillIn(this.#lines.open, entry, timeoutMs));
      } finally {
        // Also after a failure, above all at its deadline: it may have opened all the same.
        slot.timer = setTimeout(
          () => this.#closeQuietly(key),
          Math.max(0, endsAtMs - performance.now()),
        );
      }
    });
  }

  #close(key: string): Promise<void> {
    const slot = this.#slots.get(key);
    if (!slot) return Promise.resolve();
    return this.#inTurn(slot, async (slot) => {
      if (this.#slots.get(key) !== slot) return;
      clearTimeout(slot.timer);
      try {
        await this.#runLine(fillIn(this.#lines.close, slot.entry, 0));
      } catch (error) {
        slot.failedCloses++;
        throw error;
      }
      this.#slots.delete(key);
      this.#write();
    });
  }

  /** A close that fails keeps nobody from getting in: it is logged, and tried again at the next check. */
  async #closeQuietly(key: string): Promise<void> {
    try {
      await this.#close(key);
    } catch (error) {
      const slot = this.#slots.get(key);
      if (!slot) return;
      const givesUp = slot.failedCloses >= CLOSE_ATTEMPTS;
      this.#log.error("close_failed", {
        backend: this.name,
        address: formatNetwork(slot.entry.address),
        ports: formatPortRange(slot.entry.ports),
        doing: givesUp ? "giving up; it may still be open" : "trying again",
        ...errorFields(error),
      });
      if (!givesUp) return;
      this.#slots.delete(key);
      this.#write();
    }
  }

  #inTurn(slot: Slot, work: (slot: Slot) => Promise<void>): Promise<void> {
    const turn = slot.queue.then(() => work(slot));
    slot.queue = turn.catch(() => {});
    return turn;
  }

  #write(): void {
    this.#journal.write([...this.#slots.values()].map(({ entry }) => entry));
  }

  async #runLine([program, ...args]: readonly string[]): Promise<void> {
    if (this.#runs >= MOST_RUNS) await new Promise<void>((go) => this.#waiting.push(go));
    else this.#runs++;
    try {
      await runFirewall(this.#run, {
        program: program!,
        args,
        timeoutMs: DEADLINE_MS,
        missingHint: "see server.command in the configuration",
        failingHint: "see whether that command works by itself, as the same user",
      });
    } finally {
      const next = this.#waiting.shift();
      if (next) next(); // in the place of this one
      else this.#runs--;
    }
  }
}

function newSlot(entry: Entry): Slot {
  return { entry, queue: Promise.resolve(), failedCloses: 0 };
}

function keyOf(address: Network, ports: PortRange): string {
  return `${formatNetwork(address)} ${formatPortRange(ports)}`;
}

function sameText(a: Network, b: Network): boolean {
  return formatNetwork(a) === formatNetwork(b);
}
