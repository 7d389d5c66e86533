/** OpenSSH's own keys and agents, made by `ssh-keygen`, `ssh-agent` and `ssh-add`. */

import assert from "node:assert/strict";
import { Program } from "./spawned.ts";
import { waitFor } from "./wait.ts";

/** Runs a program to its end; returns its standard output. */
export async function runTool(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  const options: Deno.CommandOptions = { args: [...args], env: { ...env }, stdin: "null" };
  const { code, stdout, stderr } = await new Deno.Command(program, options).output();
  const told = new TextDecoder().decode(stderr);
  assert.equal(code, 0, `${program}: ${told}`);
  return new TextDecoder().decode(stdout);
}

/** Makes `path` and `path.pub`. */
export async function makeSshKey(
  path: string,
  { passphrase = "", comment = "me@here", more = ["-t", "ed25519"] }: {
    readonly passphrase?: string;
    readonly comment?: string;
    readonly more?: readonly string[];
  } = {},
): Promise<void> {
  await runTool("ssh-keygen", ["-q", "-N", passphrase, "-C", comment, "-f", path, ...more]);
}

/** A running ssh-agent. */
export class SshAgent implements AsyncDisposable {
  readonly socket: string;
  readonly #program: Program;

  private constructor(socket: string, program: Program) {
    this.socket = socket;
    this.#program = program;
  }

  /** `askpass`: what it asks before it signs with a key of `ssh-add -c`. */
  static async start(socket: string, askpass = "/bin/false"): Promise<SshAgent> {
    const program = new Program("ssh-agent", {
      args: ["-D", "-a", socket],
      env: { SSH_ASKPASS: askpass, SSH_ASKPASS_REQUIRE: "force", DISPLAY: ":0" },
    });
    const there = () => Deno.stat(socket).then(() => true, () => false);
    await waitFor("the agent's socket", there);
    return new SshAgent(socket, program);
  }

  get env(): Record<string, string> {
    return { SSH_AUTH_SOCK: this.socket };
  }

  /** Runs `ssh-add`. */
  async add(...args: string[]): Promise<string> {
    return await runTool("ssh-add", args, this.env);
  }

  /** Sends it a signal, such as SIGSTOP. */
  signal(signal: Deno.Signal): void {
    this.#program.signal(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#program[Symbol.asyncDispose]();
  }
}
