/**
 * Runs the iptables programs of one kind: lists tables, restores them, in each family that the kernel has.
 */

import type { Log } from "../../system/log.ts";
import type { RunProgram } from "../../system/run_program.ts";
import { type Family, hostFamilies } from "../host/families.ts";
import { readProc } from "../../system/proc.ts";
import { runFirewall } from "../run.ts";

const DEADLINE_MS = 5000;
/** Seconds to wait for the lock that all iptables programs share. */
const LOCK_WAIT = ["-w", "4"];
const FAILING_HINT = "see whether iptables works here by itself, as the same user: iptables -S";
const MISSING_HINT =
  "install iptables: apt-get install iptables (or apk add, dnf install, opkg install)";

/** `iptables`, `iptables-nft` or `iptables-legacy`, and what belongs to it. */
export class IptablesProgram {
  readonly name: string;
  /** Whether its tables are the old ones, not those of nf_tables. */
  readonly isLegacy: boolean;
  readonly #run: RunProgram;
  readonly #log: Log;
  #hasIpv6: boolean | undefined;

  private constructor(name: string, isLegacy: boolean, run: RunProgram, log: Log) {
    this.name = name;
    this.isLegacy = isLegacy;
    this.#run = run;
    this.#log = log;
  }

  /** Throws where there is no such program. */
  static async find(
    name: string,
    { run, log }: { run: RunProgram; log: Log },
  ): Promise<IptablesProgram> {
    const version = await call(run, { program: name, args: ["--version"] });
    return new IptablesProgram(name, !/nf_tables/.test(version), run, log);
  }

  /** IPv4, and IPv6 where the kernel has it: it may come later, and never goes. */
  async families(): Promise<readonly Family[]> {
    if (this.#hasIpv6) return [4, 6];
    const families = await hostFamilies(this.#run);
    const hasIpv6 = families.includes(6);
    if (!hasIpv6 && this.#hasIpv6 === undefined) {
      this.#log.warn("no_ipv6", { backend: this.name, doing: "guarding IPv4 only" });
    }
    this.#hasIpv6 = hasIpv6;
    return families;
  }

  /** What `-S` prints of a table, with `counters` also how often each rule was met; nothing where it is not there. */
  async list(
    family: Family,
    table: string,
    { counters = false }: { counters?: boolean } = {},
  ): Promise<string> {
    if (!await this.#has(family, table)) return "";
    return await call(this.#run, {
      program: this.#program(family, ""),
      args: [...LOCK_WAIT, "-t", table, ...counters ? ["-v"] : [], "-S"],
    });
  }

  async restore(family: Family, text: string): Promise<void> {
    await call(this.#run, {
      program: this.#program(family, "-restore"),
      args: ["--noflush", ...LOCK_WAIT],
      stdin: text,
    });
  }

  /** {@linkcode restore}, as a person would type it. */
  show(family: Family, text: string): string {
    return `${this.#program(family, "-restore")} --noflush ${
      LOCK_WAIT.join(" ")
    } <<'END'\n${text}END\n`;
  }

  /** Whether a table is there. To list one with iptables-legacy is to make it. */
  async #has(family: Family, table: string): Promise<boolean> {
    if (!this.isLegacy) return true;
    const names = await readProc(
      `/proc/net/${family === 4 ? "ip" : "ip6"}_tables_names`,
      this.#run,
    );
    return names?.split("\n").includes(table) ?? false;
  }

  #program(family: Family, suffix: "" | "-restore"): string {
    return (family === 4 ? this.name : this.name.replace("iptables", "ip6tables")) + suffix;
  }
}

function call(
  run: RunProgram,
  what: { program: string; args: string[]; stdin?: string },
): Promise<string> {
  return runFirewall(run, {
    ...what,
    timeoutMs: DEADLINE_MS,
    missingHint: MISSING_HINT,
    failingHint: FAILING_HINT,
  });
}
