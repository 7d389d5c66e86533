/** How a backend runs programs in the lab, how those runs fail, and what they leave. */

import { OpenmeError } from "../../../lib/values/errors.ts";
import { type ProgramRun, type RunProgram, runProgram } from "../../../lib/system/run_program.ts";
import type { Lab } from "../lab.ts";

/** Runs programs in the server's namespace; each test may get in the way. */
export class Runner {
  /** Where programs are that are not this machine's. */
  programs: ReadonlyMap<string, string> = new Map();
  /** Programs, by what they are called with, that hang instead. */
  hangs: ((call: ProgramRun) => boolean) | undefined;
  fails = false;
  missing = false;
  readonly #lab: Lab;

  constructor(lab: Lab) {
    this.#lab = lab;
  }

  readonly run: RunProgram = (call) => {
    const { program, args } = call;
    const inside = (...command: string[]) =>
      runProgram({
        ...call,
        program: "ip",
        args: ["netns", "exec", this.#lab.namespace("server"), ...command],
      });
    if (program === "cat") return inside(program, ...args);
    if (this.missing) return runProgram({ ...call, program: `openme-has-no-${program.slice(-9)}` });
    if (this.fails) return inside("sh", "-c", "echo not today >&2; exit 4");
    if (this.hangs?.(call)) {
      this.hangs = undefined;
      return inside("sleep", "20"); // longer than any deadline
    }
    return inside(this.programs.get(program) ?? program, ...args);
  };
}

/** A machine on which one run fails: the second that writes, or the first that reads after one that wrote. */
export class Half {
  hasFailed = false;
  #writes = 0;
  readonly #run: RunProgram;
  readonly #what: "write" | "read";

  constructor(run: RunProgram, what: "write" | "read") {
    this.#run = run;
    this.#what = what;
  }

  readonly run: RunProgram = async (call) => {
    const { program, stdin, args } = call;
    if (program === "cat" || this.hasFailed) return await this.#run(call);
    const writes = stdin !== undefined || /\/allow$/.test(program) || args.includes("-T") ||
      args.some((each) => /^--(?:add|remove)-rich-rule/.test(each));
    this.hasFailed = writes
      ? this.#what === "write" && this.#writes === 1
      : this.#what === "read" && this.#writes > 0;
    if (writes) this.#writes++;
    if (this.hasFailed) throw new OpenmeError("FIREWALL", "not today", { hint: "tomorrow" });
    return await this.#run(call);
  };
}

/** Everything that the host's programs show, without counters. */
export async function allRules(lab: Lab): Promise<string> {
  const lists = [["nft", "-s", "list", "ruleset"], ["iptables-legacy-save"], [
    "ip6tables-legacy-save",
  ]];
  const texts = await Promise.all(lists.map((command) => lab.run("server", command)));
  // The old kind cannot take its own empty tables out again, and prints the time.
  return texts.join("\n").replaceAll(/^#.*\n/gm, "").replaceAll(/\[\d+:\d+\]/g, "")
    .replaceAll(/\*mangle\n(:\w+ ACCEPT \n)+COMMIT\n/g, "");
}
