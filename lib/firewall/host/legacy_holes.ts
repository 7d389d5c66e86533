/**
 * Holes in the chains of iptables-legacy for a backend that works in nf_tables: packets pass both, the mark is the same,
 * and nft shows nothing of the old tables.
 */

import { OpenmeError } from "../../values/errors.ts";
import type { PortRange } from "../../values/ports.ts";
import { tryReadProc } from "../../system/proc.ts";
import type { ProgramRun, RunProgram } from "../../system/run_program.ts";
import { type HostChain, isOnTheWay } from "./chain.ts";
import {
  HOST_TABLES,
  parseHostTable,
  parsePublished,
  renderByTable,
  renderHoleLines,
  renderHoleRemovalLines,
} from "./read_iptables.ts";
import { runFirewall } from "../run.ts";

const DEADLINE_MS = 5000;
const LOCK_WAIT = ["-w", "4"];

const FAMILIES = [
  { family: "ip", program: "iptables-legacy", names: "/proc/net/ip_tables_names" },
  { family: "ip6", program: "ip6tables-legacy", names: "/proc/net/ip6_tables_names" },
] as const;

/** What iptables-legacy shows of the host. */
export interface LegacyView {
  /** Those that a packet on its way in may pass. */
  readonly chains: readonly HostChain[];
  /** `undefined` where rules do not say which ports they send elsewhere. */
  readonly published: readonly PortRange[] | undefined;
}

/** Where holes are wanted. */
export interface WantedHoles {
  readonly wanted: boolean;
  readonly forward: boolean;
  /** The bit that they are for. */
  readonly mark: number;
}

/** The host's chains of iptables-legacy, seen from beside. */
export class LegacyHoles {
  readonly #run: RunProgram;

  constructor(run: RunProgram) {
    this.#run = run;
  }

  /** Only tables that are there are listed: to list one is to make it. Where the program is missing, nobody loaded any. */
  async look(): Promise<LegacyView> {
    const chains: HostChain[] = [];
    let published: readonly PortRange[] | undefined = [];
    for (const { family, program, names } of FAMILIES) {
      const tables = await legacyTables(this.#run, names);
      const list = async (table: string) =>
        tables.includes(table)
          ? await this.#call(program, [...LOCK_WAIT, "-t", table, "-S"]).catch(passMissing)
          : "";
      for (const table of HOST_TABLES) {
        const found = parseHostTable(family, table, await list(table));
        chains.push(...found.map((chain) => ({ ...chain, program: "iptables-legacy" })));
      }
      const ports = parsePublished(await list("nat"));
      published = published && ports && [...published, ...ports];
    }
    return { chains, published };
  }

  /** What puts the holes where they are wanted and takes all others out, a run a family. */
  render(chains: readonly HostChain[], want: WantedHoles): ProgramRun[] {
    return FAMILIES.flatMap(({ family, program }) => {
      const own = chains.filter((chain) => chain.family === family);
      const stdin = renderByTable(
        own,
        (each) =>
          each.flatMap((chain) =>
            want.wanted && isOnTheWay(chain, want)
              ? renderHoleLines([chain], want.mark)
              : renderHoleRemovalLines([chain])
          ),
      );
      if (!stdin) return [];
      const args = ["--noflush", ...LOCK_WAIT];
      return [{ program: `${program}-restore`, args, stdin, timeoutMs: DEADLINE_MS }];
    });
  }

  /**
   * Throws where the program does not take them; `requireThrough` is asked before with the chains on the way, to throw
   * something better where one of them is what keeps everyone out.
   */
  async put(
    chains: readonly HostChain[],
    want: WantedHoles,
    requireThrough?: (chains: readonly HostChain[]) => Promise<void>,
  ): Promise<void> {
    try {
      for (const each of this.render(chains, want)) {
        await this.#call(each.program, each.args, each.stdin);
      }
    } catch (cause) {
      await requireThrough?.(chains.filter((chain) => isOnTheWay(chain, want)));
      throw cause;
    }
  }

  async takeOut(): Promise<void> {
    await this.put((await this.look()).chains, { wanted: false, forward: false, mark: 0 });
  }

  #call(program: string, args: readonly string[], stdin?: string): Promise<string> {
    return runFirewall(this.#run, {
      program,
      args,
      stdin,
      timeoutMs: DEADLINE_MS,
      failingHint: "see whether it works here by itself, as the same user: iptables-legacy -S",
    });
  }
}

/** The tables of iptables-legacy that this host has, from `/proc/net/ip_tables_names` or `ip6_tables_names`. */
export async function legacyTables(run: RunProgram, path: string): Promise<string[]> {
  const names = await tryReadProc(path, run);
  return names.split("\n").filter(Boolean);
}

function passMissing(error: unknown): string {
  if (error instanceof OpenmeError && /no such program/.test(error.message)) return "";
  throw error;
}

/** What they are, for people. */
export function showRuns(runs: readonly ProgramRun[]): string {
  return runs.map(({ program, args, stdin }) =>
    stdin === undefined
      ? `${[program, ...args].join(" ")}\n`
      : `${[program, ...args].join(" ")} <<'END'\n${stdin}END\n`
  ).join("");
}
