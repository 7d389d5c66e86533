/** Runs the iptables programs of one kind: lists their tables, restores them, and changes holes in the host's chains. */

import { messageOf, OpenmeError } from "../../values/errors.ts";
import type { PortRange } from "../../values/ports.ts";
import { readProc, tryReadProc } from "../../system/proc.ts";
import type { RunProgram } from "../../system/run_program.ts";
import type { BackendParts } from "../backend.ts";
import { type FirewallRun, runFirewall } from "../run.ts";
import type { HostChain } from "./chain.ts";
import { type Family, familyName, hostFamilies } from "./families.ts";
import { type HoleChange, renderIptablesHoles } from "./hole.ts";
import type { HostProgram, ProgramView } from "./look.ts";
import { HOST_TABLES, parseHostTable, publishedInNat } from "./read_iptables.ts";

const DEADLINE_MS = 5000;
/** Seconds to wait for the lock that all iptables programs share. */
const LOCK_WAIT = ["-w", "4"];

type Reads = Pick<BackendParts, "run" | "readLegacyTable">;

/** What one kind of iptables shows of the host. */
export interface IptablesView extends ProgramView {
  /** What `-S` prints of the mangle table, openme's chains too, by family. */
  readonly mangle: ReadonlyMap<Family, string>;
  /** Everything that was listed, to compare. */
  readonly text: string;
}

/** `iptables`, `iptables-nft` or `iptables-legacy`, with its ip6tables and its restore programs. */
export class IptablesProgram implements HostProgram<IptablesView> {
  readonly name: string;
  /** Whether its tables are the old ones, not those of nf_tables. */
  readonly isLegacy: boolean;
  readonly #run: RunProgram;
  readonly #isBeside: boolean;
  readonly #readTable: Reads["readLegacyTable"];
  #hasIpv6 = false;

  private constructor(
    name: string,
    { isLegacy, isBeside, run, readLegacyTable }: { isLegacy: boolean; isBeside: boolean } & Reads,
  ) {
    this.name = name;
    this.isLegacy = isLegacy;
    this.#isBeside = isBeside;
    this.#run = run;
    this.#readTable = readLegacyTable;
  }

  /** Throws where there is no such program. */
  static async find(name: string, reads: Reads): Promise<IptablesProgram> {
    const version = await runFirewall(reads.run, runOf(name, ["--version"]));
    const isLegacy = !/nf_tables/.test(version);
    return new IptablesProgram(name, { ...reads, isLegacy, isBeside: false });
  }

  /**
   * iptables-legacy, for a backend that works in nf_tables: packets pass both, and nft does not show the old tables. Where
   * the program is missing, it has loaded no rules.
   */
  static legacyBeside(reads: Reads): IptablesProgram {
    return new IptablesProgram("iptables-legacy", { ...reads, isLegacy: true, isBeside: true });
  }

  /** IPv4, and IPv6 where the kernel has it. IPv6 may come later, and never goes. */
  async families(): Promise<readonly Family[]> {
    if (this.#hasIpv6 || this.#isBeside) return [4, 6];
    const families = await hostFamilies(this.#run);
    this.#hasIpv6 = families.includes(6);
    return families;
  }

  /**
   * Of iptables-legacy: differs once any rule does, stamps apart, and costs no program where the kernel's tables can be
   * read. Else it is the listing for a program beside, and `undefined` for the backend's own, which lists them anyway.
   */
  async fingerprint(): Promise<string | undefined> {
    return await this.#fingerprint() ?? (this.#isBeside ? (await this.look()).text : undefined);
  }

  async #fingerprint(): Promise<string | undefined> {
    if (!this.#readTable) return undefined;
    const found: string[] = [];
    for (const family of await this.families()) {
      const isThere = await this.#tables(family);
      for (const table of ["nat", ...HOST_TABLES].filter(isThere)) {
        const fingerprint = await this.#readTable(family, table);
        if (fingerprint === undefined) return undefined;
        found.push(`${family} ${table} ${fingerprint}`);
      }
    }
    return found.join("\n");
  }

  /** Why rules cannot use this match; `undefined` where they can. Asks program and kernel, and changes no rule. */
  async matchFlaw(match: string): Promise<string | undefined> {
    const help = runOf(this.name, ["-m", match, "--help"]);
    try {
      await this.#call({ ...help, fatal: /missing kernel module/ });
      return undefined;
    } catch (error) {
      return `${this.name} or the kernel has no match "${match}": ${messageOf(error)}`;
    }
  }

  async look(): Promise<IptablesView> {
    const mangle = new Map<Family, string>();
    const chains: HostChain[] = [];
    const texts: string[] = [];
    let published: readonly PortRange[] | undefined = [];
    for (const family of await this.families()) {
      const isThere = await this.#tables(family);
      const list = async (table: string) => isThere(table) ? await this.#list(family, table) : "";
      const nat = await list("nat");
      const listings = await Promise.all(HOST_TABLES.map(list));
      for (const [i, table] of HOST_TABLES.entries()) {
        const place = { family: familyName(family), table };
        chains.push(...parseHostTable(this.name, place, listings[i]!));
        if (table === "mangle") mangle.set(family, listings[i]!);
      }
      const ports = publishedInNat(nat);
      published = published && ports && [...published, ...ports];
      texts.push(nat, ...listings);
    }
    return { chains, published, mangle, text: texts.join("\n") };
  }

  /** What `-S` prints of a table, with `counters` also how often each rule was met; nothing where it is not there. */
  async list(
    family: Family,
    table: string,
    { counters = false }: { counters?: boolean } = {},
  ): Promise<string> {
    if (!(await this.#tables(family))(table)) return "";
    return await this.#list(family, table, counters ? ["-v"] : []);
  }

  /** {@linkcode list}, by family. */
  async listAll(
    table: string,
    options: { counters?: boolean } = {},
  ): Promise<ReadonlyMap<Family, string>> {
    const listings = new Map<Family, string>();
    for (const family of await this.families()) {
      listings.set(family, await this.list(family, table, options));
    }
    return listings;
  }

  #list(family: Family, table: string, flags: readonly string[] = []): Promise<string> {
    const args = [...LOCK_WAIT, "-t", table, ...flags, "-S"];
    return this.#call(runOf(this.#program(family), args));
  }

  async restore(family: Family, text: string): Promise<void> {
    await this.#call(this.#restoring(family, text));
  }

  #restoring(family: Family, text: string): FirewallRun {
    return runOf(`${this.#program(family)}-restore`, ["--noflush", ...LOCK_WAIT], text);
  }

  render(changes: readonly HoleChange[]): FirewallRun[] {
    return ([4, 6] as const).flatMap((family) => {
      const own = changes.filter(({ chain }) => chain.family === familyName(family));
      return own.length > 0 ? [this.#restoring(family, renderIptablesHoles(own))] : [];
    });
  }

  /** Tells which tables are there. To list one with iptables-legacy is to make it. */
  async #tables(family: Family): Promise<(table: string) => boolean> {
    if (!this.isLegacy) return () => true;
    const names = await legacyTables(family, this.#run, { isRequired: !this.#isBeside });
    return (table) => names.includes(table);
  }

  async #call(what: FirewallRun): Promise<string> {
    try {
      return await runFirewall(this.#run, what);
    } catch (error) {
      const isMissing = error instanceof OpenmeError && /no such program/.test(error.message);
      if (this.#isBeside && isMissing && what.stdin === undefined) return "";
      throw error;
    }
  }

  #program(family: Family): string {
    return family === 4 ? this.name : this.name.replace("iptables", "ip6tables");
  }
}

/**
 * The tables of iptables-legacy that this host has. Where the kernel does not tell, none; with `isRequired` that is an
 * error.
 */
export async function legacyTables(
  family: Family,
  run: RunProgram,
  { isRequired = false }: { isRequired?: boolean } = {},
): Promise<string[]> {
  const read = isRequired ? readProc : tryReadProc;
  const names = await read(`/proc/net/${familyName(family)}_tables_names`, run);
  return names?.split("\n").filter(Boolean) ?? [];
}

function runOf(program: string, args: readonly string[], stdin?: string): FirewallRun {
  return {
    program,
    args,
    stdin,
    timeoutMs: DEADLINE_MS,
    missingHint:
      "install iptables: apt-get install iptables (or apk add, dnf install, opkg install)",
    failingHint: `see whether this works, as the same user: ${program.replace("-restore", "")} -S`,
  };
}
