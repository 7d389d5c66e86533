/**
 * The backend that runs the user's own programs, one to open, one to close, and one to list what stands: for ufw, a cloud
 * provider's security group, anything. No shell; values go in as arguments or parts of one.
 *
 * Such a firewall closes nothing by itself and counts no time: openme's timers close. The next start closes what a dead
 * process left open, by the journal that is written before anything opens, and by the listing.
 */

import { OpenmeError } from "../../values/errors.ts";
import type { Log } from "../../system/log.ts";
import { formatNetwork, type Network } from "../../values/network.ts";
import type { RunProgram } from "../../system/run_program.ts";
import {
  type Backend,
  type BackendParts,
  type ClientOpenings,
  type Examination,
  type OpenPorts,
  PartlyFailed,
  type Standing,
} from "../backend.ts";
import type { CommandLines, GuardPlan } from "../plan.ts";
import { Entries, type Look } from "./entries.ts";
import { Journal } from "./journal.ts";
import { entryKey } from "./line.ts";
import { showEntries } from "./listing.ts";
import { Programs } from "./programs.ts";
import { hostFirewall } from "../host/summary.ts";

/**
 * Without a `list`, a rule that cannot be closed looks like one that is gone already. After so many failures in a row
 * the close is tried on, but no longer counts as a failure of the firewall.
 */
const DOUBTFUL_CLOSES = 5;
/** Ends that are this close to each other are one: the time left is reckoned anew at each call. */
const SAME_END_MS = 1000;

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
  readonly #entries: Entries;
  #plan: GuardPlan;
  #hasRead = false;

  constructor(lines: CommandLines, { plan, run, log, stateDir }: BackendParts) {
    this.#lines = lines;
    this.#plan = plan;
    this.#run = run;
    this.#log = log;
    this.#journal = new Journal(stateDir, log);
    this.#entries = new Entries({
      programs: new Programs(lines, run),
      journal: this.#journal,
      log,
    });
  }

  /** What stands already is left as it is: each program run keeps a knock waiting. */
  async install(openings: readonly ClientOpenings[]): Promise<void> {
    const isFirst = this.#readJournal();
    const wanted = openings.flatMap(entriesOf);
    const isWanted = new Set(wanted.map(({ key }) => key));
    const work = this.#entries.keys().filter((key) => !isWanted.has(key))
      .map((key) => this.#close(key, { quietly: isFirst }));
    const look = await this.#look({ isFirst });
    if (look) this.#report(look, isWanted);
    for (const entry of look?.stray ?? []) {
      const key = entryKey(entry);
      if (isWanted.has(key) || this.#entries.get(key)?.endsAtMs !== undefined) continue;
      this.#entries.adopt(entry);
      work.push(this.#close(key, { quietly: isFirst }));
    }
    for (const { key, entry, endsAtMs } of wanted) {
      if (this.#stands(key, endsAtMs, look)) this.#entries.keep(entry, endsAtMs);
      else {
        const opening = this.#entries.open(entry, endsAtMs, { fresh: false });
        work.push(failureOf(entry.address, opening));
      }
    }
    await allDone(work);
  }

  reconfigure(plan: GuardPlan): void {
    this.#plan = plan;
  }

  async apply(changes: readonly ClientOpenings[]): Promise<void> {
    const work: Promise<Failed | undefined>[] = [];
    for (const change of changes) {
      const wanted = entriesOf(change);
      const isWanted = new Set(wanted.map(({ key }) => key));
      const text = formatNetwork(change.address);
      for (const key of this.#entries.keys()) {
        const isOfIt = formatNetwork(this.#entries.get(key)!.entry.address) === text;
        if (isOfIt && !isWanted.has(key)) work.push(this.#close(key));
      }
      for (const { entry, endsAtMs } of wanted) {
        const opening = this.#entries.open(entry, endsAtMs, { fresh: true });
        work.push(failureOf(entry.address, opening));
      }
    }
    await allDone(work);
  }

  /** Without a `list` this cannot be told. */
  async isIntact(): Promise<boolean> {
    if (!this.#lines.list) return true;
    const { missing, stray } = await this.#entries.look();
    return missing.length === 0 && stray.length === 0;
  }

  async examine(): Promise<Examination | undefined> {
    const nothing = { unguarded: [], barred: [], hostMayDrop: false };
    if (!this.#lines.list) {
      const failing = this.#entries.failing();
      if (failing.length === 0) return undefined;
      return { ...nothing, wrong: [`could not be closed: ${showEntries(failing)}`] };
    }
    const { missing, stray } = await this.#entries.look();
    const wrong = [
      ...(missing.length > 0 ? [`no rule for ${showEntries(missing)}`] : []),
      ...(stray.length > 0 ? [`rules that no grant covers: ${showEntries(stray)}`] : []),
    ];
    const withoutGrant = stray.map(({ address, ports }) => ({
      address: formatNetwork(address),
      ports: [ports],
    }));
    return { ...nothing, wrong, withoutGrant };
  }

  /** There is no guard. */
  list(): Promise<readonly Standing[] | undefined> {
    return Promise.resolve(undefined);
  }

  async remove(): Promise<void> {
    this.#readJournal();
    const found = this.#lines.list ? this.#entries.look() : undefined;
    await found?.then(({ stray }) => stray.forEach((each) => this.#entries.adopt(each)), () => {});
    const results = await Promise.allSettled([
      found,
      ...this.#entries.keys().map((key) => this.#entries.close(key, { now: true })),
    ]);
    this.#entries.giveUp();
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

  /** Reads what a dead process wrote down, once; gives whether this was the first time. */
  #readJournal(): boolean {
    if (this.#hasRead) return false;
    this.#hasRead = true;
    const doing = this.#lines.list
      ? "going by what server.command.list shows"
      : "going on; what it held may still be open: look in your firewall, and close what is not needed";
    for (const entry of this.#journal.read(doing)) this.#entries.adopt(entry);
    return true;
  }

  /** At the start a `list` that fails is an error; later, openme goes by what the programs say, and checks tell of it. */
  async #look({ isFirst }: { isFirst: boolean }): Promise<Look | undefined> {
    if (!this.#lines.list) return undefined;
    const look = this.#entries.look();
    return await (isFirst ? look : look.catch(() => undefined));
  }

  /** Whether there is nothing to run for it. */
  #stands(key: string, endsAtMs: number, look: Look | undefined): boolean {
    const slot = this.#entries.get(key);
    if (!this.#entries.isSettled(key)) return false;
    if (!(look ? look.standing.has(key) : slot?.isOpen)) return false;
    const countsTime = this.#lines.open.some((each) => each.includes("{timeout_s}"));
    return !countsTime || Math.abs((slot?.endsAtMs ?? 0) - endsAtMs) < SAME_END_MS;
  }

  #report({ missing, stray }: Look, isWanted: ReadonlySet<string>): void {
    for (const entry of missing.map(entryKey)) {
      this.#log.warn("rule_missing", { entry, doing: "opening it again" });
    }
    for (const entry of stray.map(entryKey).filter((key) => !isWanted.has(key))) {
      this.#log.warn("rule_without_grant", { entry, doing: "closing it" });
    }
  }

  /** `quietly`: a failure is only logged; the close is tried again. */
  async #close(key: string, { quietly = false } = {}): Promise<Failed | undefined> {
    const { address } = this.#entries.get(key)!.entry;
    const failed = await failureOf(address, this.#entries.close(key));
    const { failedCloses = 0 } = this.#entries.get(key) ?? {};
    const isDoubtful = !this.#lines.list && failedCloses >= DOUBTFUL_CLOSES;
    return quietly || isDoubtful ? undefined : failed;
  }
}

interface Failed {
  readonly address: Network;
  readonly error: unknown;
}

function failureOf(address: Network, work: Promise<void>): Promise<Failed | undefined> {
  return work.then(() => undefined, (error) => ({ address, error }));
}

/** Waits for all of it. Throws `PartlyFailed` with the addresses of what failed. */
async function allDone(work: readonly Promise<Failed | undefined>[]): Promise<void> {
  const failed = (await Promise.all(work)).filter((each) => each !== undefined);
  const [first] = failed;
  if (!first) return;
  if (!(first.error instanceof OpenmeError)) throw first.error;
  throw new PartlyFailed(
    first.error,
    new Set(failed.map(({ address }) => formatNetwork(address))),
  );
}

/** The end is reckoned from now, however long the program takes. */
function entriesOf({ address, openings, clients }: ClientOpenings) {
  const nowMs = performance.now();
  return openings.map(({ timeoutMs, ...ports }) => ({
    key: entryKey({ address, ports }),
    entry: { address, ports, client: clients.join(",") },
    endsAtMs: nowMs + timeoutMs,
  }));
}
