/**
 * The backend that runs the user's own programs, one to open and one to close: for ufw, firewalld, a cloud provider's
 * security group, anything. No shell; values go in as arguments or parts of one.
 *
 * Such a firewall closes nothing by itself and counts no time: openme's timers close, and what a dead process left open
 * is closed at the next start, from the journal that is written before anything opens.
 */

import { join } from "node:path";
import type { CommandLines } from "../config/firewall_config.ts";
import { OpenmeError } from "../errors.ts";
import { errorFields, type Log } from "../log.ts";
import { formatNetwork, type Network, parseNetwork } from "../network.ts";
import { formatPortRange, parsePortSpec, type PortRange } from "../ports.ts";
import type { RunProgram } from "../run_program.ts";
import type { Backend, ClientOpenings, Standing } from "./backend.ts";
import type { BackendParts } from "./backends.ts";

const DEADLINE_MS = 10_000;
const JOURNAL_NAME = "opened.json";
/** How often a close that fails is tried, a check apart, before openme gives up and says so. */
const CLOSE_ATTEMPTS = 5;

/** Where the openings are written down that may stand. Small texts, each written whole. */
export interface Journal {
  read(): string | undefined;
  write(text: string): void;
}

/** One opening that may stand. */
interface Entry {
  readonly address: Network;
  readonly ports: PortRange;
  readonly client: string;
}

/** An entry at work: its commands run one after the other. */
interface Slot {
  entry: Entry;
  isOpen: boolean;
  timer?: ReturnType<typeof setTimeout>;
  queue: Promise<void>;
  failedCloses: number;
}

/** The backend for the configured programs, with its journal in the state directory. */
export function makeCommand({ plan, run, log, stateDir, command }: BackendParts): Promise<Backend> {
  if (!command || plan.dropPorts) {
    throw new OpenmeError("FIREWALL", "firewall: command only opens and closes for clients", {
      hint: "set drop_ports: false, and let your own firewall close the ports",
    });
  }
  return Promise.resolve(new CommandBackend(command, run, fileJournal(stateDir), log));
}

function fileJournal(stateDir: string): Journal {
  const path = join(stateDir, JOURNAL_NAME);
  return {
    read: () => {
      try {
        return Deno.readTextFileSync(path);
      } catch (error) {
        if (error instanceof Deno.errors.NotFound) return undefined;
        throw error;
      }
    },
    write: (text) => {
      Deno.writeTextFileSync(`${path}.new`, text, { mode: 0o600 });
      Deno.renameSync(`${path}.new`, path);
    },
  };
}

class CommandBackend implements Backend {
  readonly name = "command";
  readonly endsByKernel = false;
  readonly #lines: CommandLines;
  readonly #run: RunProgram;
  readonly #journal: Journal;
  readonly #log: Log;
  readonly #slots = new Map<string, Slot>();
  #hasRead = false;

  constructor(lines: CommandLines, run: RunProgram, journal: Journal, log: Log) {
    this.#lines = lines;
    this.#run = run;
    this.#journal = journal;
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

  reconfigure(): void {}

  async apply(changes: readonly ClientOpenings[]): Promise<void> {
    const work: Promise<void>[] = [];
    for (const { address, openings, clients } of changes) {
      const wanted = new Map(openings.map((opening) => [keyOf(address, opening), opening]));
      for (const [key, slot] of this.#slots) {
        if (sameText(slot.entry.address, address) && !wanted.has(key)) {
          work.push(this.#closeQuietly(key));
        }
      }
      for (const [key, { timeoutMs, ...ports }] of wanted) {
        work.push(this.#open(key, { address, ports, client: clients.join(",") }, timeoutMs));
      }
    }
    const results = await Promise.allSettled(work);
    const failed = results.find((each) => each.status === "rejected");
    if (failed) throw failed.reason;
  }

  /** Nobody can tell what became of the rules behind the programs. Closes that failed are tried again. */
  isIntact(): Promise<boolean> {
    for (const [key, slot] of this.#slots) if (slot.failedCloses > 0) this.#closeQuietly(key);
    return Promise.resolve(true);
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

  openToEveryone(): Promise<undefined> {
    return Promise.resolve(undefined);
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

  /** What a dead process wrote down is closed first, wanted or not: opening again is up to whoever knocked. */
  async #closeLeftOvers(): Promise<void> {
    const left = parseJournal(this.#journal.read() ?? "");
    for (const entry of left) {
      this.#slots.set(keyOf(entry.address, entry.ports), newSlot(entry, { isOpen: true }));
    }
    this.#hasRead = true;
    await Promise.all([...this.#slots.keys()].map((key) => this.#closeQuietly(key)));
  }

  #open(key: string, entry: Entry, timeoutMs: number): Promise<void> {
    let slot = this.#slots.get(key);
    if (!slot) this.#slots.set(key, slot = newSlot(entry, { isOpen: false }));
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
        slot.isOpen = true;
      } finally {
        // Also after a failure: it may have opened all the same.
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
        // What never opened need not be there to close.
        if (slot.isOpen) throw error;
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
    const entries = [...this.#slots.values()].map(({ entry }) => ({
      address: formatNetwork(entry.address),
      ports: formatPortRange(entry.ports),
      client: entry.client,
    }));
    this.#journal.write(JSON.stringify(entries) + "\n");
  }

  async #runLine([program, ...args]: readonly string[]): Promise<void> {
    try {
      await this.#run({
        program: program!,
        args,
        timeoutMs: DEADLINE_MS,
        missingHint: "see server.command in the configuration",
      });
    } catch (cause) {
      if (!(cause instanceof OpenmeError)) throw cause;
      throw new OpenmeError("FIREWALL", cause.message, {
        cause,
        hint: cause.hint ?? "see whether that command works by itself, as the same user",
      });
    }
  }
}

/** The arguments with the values of this opening in them. */
export function fillIn(
  line: readonly string[],
  { address, ports, client }: Entry,
  timeoutMs: number,
): string[] {
  const values: Record<string, string> = {
    address: formatNetwork(address),
    family: String(address.base.family),
    port: String(ports.first),
    "end_port": String(ports.last),
    ports: ports.first === ports.last ? `${ports.first}` : `${ports.first}:${ports.last}`,
    protocol: ports.protocol,
    client,
    "timeout_s": String(Math.max(timeoutMs > 0 ? 1 : 0, Math.floor(timeoutMs / 1000))),
  };
  return line.map((argument) =>
    argument.replaceAll(/\{([a-z_]+)\}/g, (text, name) => values[name] ?? text)
  );
}

function newSlot(entry: Entry, { isOpen }: { isOpen: boolean }): Slot {
  return { entry, isOpen, queue: Promise.resolve(), failedCloses: 0 };
}

function keyOf(address: Network, ports: PortRange): string {
  return `${formatNetwork(address)} ${formatPortRange(ports)}`;
}

function sameText(a: Network, b: Network): boolean {
  return formatNetwork(a) === formatNetwork(b);
}

/** A damaged journal gives what can be read of it. */
function parseJournal(text: string): Entry[] {
  let entries: unknown;
  try {
    entries = JSON.parse(text);
  } catch {
    return [];
  }
  if (!Array.isArray(entries)) return [];
  return entries.flatMap((each: Record<string, unknown> | null) => {
    const address = parseNetwork(String(each?.["address"]));
    const ports = parsePortSpec(String(each?.["ports"]));
    const client = String(each?.["client"] ?? "");
    if (!address || !ports || ports.protocol === "both" || !/^[\w.,-]*$/.test(client)) return [];
    return [{ address, ports: { ...ports, protocol: ports.protocol }, client }];
  });
}

/** A command as a person would type it. */
function showLine(line: readonly string[]): string {
  return line.map((each) =>
    /^[\w./:,=@%+-]+$/.test(each) ? each : `'${each.replaceAll("'", `'\\''`)}'`
  ).join(" ") + "\n";
}
