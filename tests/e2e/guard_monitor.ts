/**
 * Every change of the server's ruleset as the kernel commits it, from `nft monitor`, and whether guarded ports were
 * closed after each: what no prober can be quick enough to tell. It sees iptables-nft too, and nothing of iptables-legacy.
 */

import type { Lab } from "./lab.ts";
import type { Program } from "../support/spawned.ts";
import { waitFor } from "../support/wait.ts";

/** Chains that close the guarded ports where all of one line have rules. */
const CLOSING = [
  ["inet openme prerouting", "inet openme guard"],
  ["ip", "ip6"].flatMap((family) =>
    ["PREROUTING", "OPENME_GRANTS"].map((chain) => `${family} mangle ${chain}`)
  ),
];

/** Watches from its start on, on a host without rules. */
export class GuardMonitor implements AsyncDisposable {
  readonly #lab: Lab;
  readonly #program: Program;
  #marks = 0;

  private constructor(lab: Lab, program: Program) {
    this.#lab = lab;
    this.#program = program;
  }

  static async start(lab: Lab): Promise<GuardMonitor> {
    const monitor = new GuardMonitor(lab, lab.start("server", ["nft", "monitor"]));
    await monitor.#catchUp();
    return monitor;
  }

  /** One line for every commit after the first that closed the ports: whether they were closed after it, and by whom. */
  async commits(): Promise<{ closed: boolean; by: string }[]> {
    await this.#catchUp();
    const rules = new Map<string, number>();
    const commits: { closed: boolean; by: string }[] = [];
    for (const line of this.#program.stdout.all) {
      const rule = /^(add|insert|delete) rule (\S+ \S+ \S+) /.exec(line);
      if (rule) {
        const count = (rules.get(rule[2]!) ?? 0) + (rule[1] === "delete" ? -1 : 1);
        rules.set(rule[2]!, count);
      }
      if (!line.startsWith("# new generation")) continue;
      const closed = CLOSING.some((chains) => chains.every((each) => (rules.get(each) ?? 0) > 0));
      if (closed || commits.length > 0) commits.push({ closed, by: line });
    }
    return commits;
  }

  /** Until it has shown a change that is made now, it may not have shown the one before. */
  async #catchUp(): Promise<void> {
    await waitFor("nft monitor", async () => {
      const name = `mark${this.#marks++}`;
      await this.#lab.nft(`add table netdev ${name}; delete table netdev ${name}`);
      return await this.#program.stdout.waitFor(new RegExp(`delete table netdev ${name}$`), 200)
        .then(() => true, () => false);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#program[Symbol.asyncDispose]();
  }
}
