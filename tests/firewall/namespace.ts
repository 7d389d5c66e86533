/** A network namespace of a test's own, in which it may do with nftables what it likes. */

import assert from "node:assert/strict";
import { type ProgramRun, runProgram } from "../../lib/system/run_program.ts";
import { Program } from "../support/spawned.ts";
import { lacks, unless } from "../support/programs.ts";

/** Alive as long as a program that waits in it. */
export class Namespace implements AsyncDisposable {
  readonly #holder: Program;
  readonly #pid: string;

  private constructor(holder: Program, pid: string) {
    this.#holder = holder;
    this.#pid = pid;
  }

  /** An empty namespace. Rejects where there can be none. */
  static async create(): Promise<Namespace> {
    // One after the other: files under /proc/net belong to the user that root is when the network namespace is made.
    const args = ["-r", "unshare", "-n", "sh", "-c", "echo $$; exec cat"];
    const holder = new Program("unshare", { args });
    try {
      return new Namespace(holder, await holder.stdout.waitFor(/^\d+$/));
    } catch (error) {
      await holder[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Runs a program in it: what a backend is given. */
  readonly run = (run: ProgramRun): Promise<string> =>
    runProgram({
      ...run,
      program: "nsenter",
      args: ["-t", this.#pid, "-U", "-n", "--preserve-credentials", "--", run.program, ...run.args],
    });

  /** Runs `nft`; rejects with what it says where it does not like the text. */
  nft(args: readonly string[], stdin = ""): Promise<string> {
    return this.run({ program: "nft", args, stdin, timeoutMs: 10_000 });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#holder[Symbol.asyncDispose]();
  }
}

/** Why there can be no namespace here, or `undefined` where there can. */
async function whyNot(): Promise<string | undefined> {
  if (Deno.build.os !== "linux") return "needs Linux";
  const programs = lacks("nft", "unshare", "nsenter");
  if (programs !== undefined) return programs;
  try {
    await using namespace = await Namespace.create();
    await namespace.nft(["list", "ruleset"]);
    return undefined;
  } catch {
    return "needs root or user namespaces";
  }
}

const missing = await whyNot();

/**
 * Registers a test that gets a namespace. Where there can be none, or what it `needs` beside is not there, it is skipped,
 * and its title says why; with `OPENME_E2E=require` it fails instead.
 */
export function namespaceTest(
  title: string,
  body: (namespace: Namespace) => Promise<void>,
  { needs }: { needs?: string | undefined } = {},
): void {
  const lacking = missing ?? needs;
  Deno.test({
    ...unless(lacking, title),
    fn: async () => {
      assert.equal(lacking, undefined, "OPENME_E2E=require, but this host cannot");
      await using namespace = await Namespace.create();
      await body(namespace);
    },
  });
}
