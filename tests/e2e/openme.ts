/** openme in a lab: its subcommands run to their end, and a running `serve`. */

import assert from "node:assert/strict";
import type { Lab, Output, Side } from "./lab.ts";
import { OPENME } from "../support/openme_command.ts";
import { LINE_MS, type Program } from "../support/spawned.ts";

/** How long `serve` may take to listen. With firewalld it runs a dozen Python programs first, one after the other. */
const START_MS = 40_000;

/** Runs a subcommand on one side to its end. */
export function openme(lab: Lab, side: Side, args: readonly string[]): Promise<Output> {
  return lab.output(side, [...OPENME, ...args]);
}

/** `openme init` for a new configuration in `dir`; returns the path of the file. */
export async function init(lab: Lab, dir: string, args: readonly string[]): Promise<string> {
  const config = `${dir}/config.yaml`;
  const { code, stderr } = await openme(lab, "server", ["init", "--config", config, ...args]);
  assert.equal(code, 0, stderr);
  return config;
}

/** `openme add NAME`; returns the client's YAML. */
export async function add(
  lab: Lab,
  config: string,
  name: string,
  args: readonly string[],
): Promise<string> {
  const command = ["add", name, "--config", config, ...args];
  const { code, stdout, stderr } = await openme(lab, "server", command);
  assert.equal(code, 0, stderr);
  return stdout;
}

/** `openme knock` with a client's configuration file. `hosts` stands in for /etc/hosts where it is given. */
export function knock(
  lab: Lab,
  side: Side,
  clientConfig: string,
  args: readonly string[] = [],
  hosts?: string,
): Promise<Output> {
  const command = [...OPENME, "knock", ...args, "--client-config", clientConfig];
  if (!hosts) return lab.output(side, command);
  // `ip netns exec` runs everything in a mount namespace of its own.
  const script = 'mount --bind "$0" /etc/hosts && exec "$@"';
  return lab.output(side, ["sh", "-c", script, hosts, ...command]);
}

/** Starts `openme serve` without waiting for anything. */
export function startServe(
  lab: Lab,
  config: string,
  args: readonly string[] = [],
  { side = "server", ...options }: Deno.CommandOptions & { readonly side?: Side } = {},
): Served {
  return new Served(lab.start(side, [...OPENME, "serve", "--config", config, ...args], options));
}

/** Starts `openme serve`; resolves once it takes knocks. */
export async function serve(
  lab: Lab,
  config: string,
  args: readonly string[] = [],
  options: Deno.CommandOptions & { readonly side?: Side } = {},
): Promise<Served> {
  const served = startServe(lab, config, args, options);
  await served.waitForLine(/listening/, START_MS);
  return served;
}

/** A running server. */
export class Served implements AsyncDisposable {
  readonly #program: Program;

  constructor(program: Program) {
    this.#program = program;
  }

  /** Everything it has logged, standard error. */
  get lines(): readonly string[] {
    return this.#program.stderr.all;
  }

  /** Standard output, of which there should be none. */
  get output(): readonly string[] {
    return this.#program.stdout.all;
  }

  get pid(): number {
    return this.#program.pid;
  }

  get status(): Promise<Deno.CommandStatus> {
    return this.#program.status;
  }

  /** The first line, from line `from` on, that matches. */
  waitForLine(pattern: RegExp, timeoutMs = LINE_MS, from = 0): Promise<string> {
    return this.#program.stderr.waitFor(pattern, timeoutMs, from);
  }

  /** Sends a signal and waits for the end. */
  kill(signal: Deno.Signal): Promise<Deno.CommandStatus> {
    return this.#program.kill(signal, 10_000);
  }

  /** Ends it as a service manager does. Rejects where it complains. */
  async stop(): Promise<void> {
    const { code } = await this.kill("SIGTERM");
    assert.equal(code, 0, this.lines.join("\n"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#program[Symbol.asyncDispose]();
  }
}
