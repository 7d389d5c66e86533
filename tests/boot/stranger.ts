/** A stranger who tries the server's ssh port, 50 times a second by IPv4 and IPv6 in turn, for as long as a test lasts. */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { IPV4, IPV6, type Lab } from "../e2e/lab.ts";
import { LINE_MS, type Program } from "../support/spawned.ts";
import { waitFor, withinTurns } from "../support/wait.ts";

const EVERY_MS = 20;
/** How long a closed port is given to answer. Everything is on one machine: an open one takes a millisecond. */
const CLOSED_AFTER_MS = 400;
const SSH = 22;

/** The stranger, with an address that never knocks. */
export class Stranger {
  readonly #program: Program;

  private constructor(program: Program) {
    this.#program = program;
  }

  static async start(lab: Lab): Promise<Stranger> {
    // Attempts end soon: 3 s after the first packet instead of two minutes.
    await lab.run("other", ["sysctl", "-qw", "net.ipv4.tcp_syn_retries=1"]);
    const script = fileURLToPath(import.meta.url);
    const flags = ["--quiet", "--no-config", "--no-lock", "--allow-net"];
    return new Stranger(lab.start("other", [Deno.execPath(), "run", ...flags, script]));
  }

  /** Waits until attempts fail, if they do not already. */
  async isShutOut(): Promise<void> {
    await waitFor("a closed port", () => {
      const last = this.#tries().slice(-5);
      return last.length === 5 && last.every((each) => each === "shut");
    });
  }

  /** Asserts that the port was closed to every attempt from now on until `meanwhile` is done. */
  async seesNothing<T>(meanwhile: () => Promise<T>): Promise<T> {
    const before = this.#tries().length;
    const result = await meanwhile();
    // The answers to attempts that are under way come in.
    const at = this.#tries().length;
    await waitFor(
      "the last attempts",
      () => this.#tries().length > at + CLOSED_AFTER_MS / EVERY_MS,
    );
    const tries = this.#tries().slice(before);
    const open = tries.filter((each) => each !== "shut");
    assert.deepEqual(open, [], `open in ${open.length} of ${tries.length} attempts`);
    return result;
  }

  /** Waits until an attempt succeeds. */
  async getsIn(): Promise<void> {
    await this.#program.stdout.waitFor(/^open/, LINE_MS, this.#tries().length);
  }

  #tries(): string[] {
    return this.#program.stdout.all;
  }
}

if (import.meta.main) {
  const since = performance.now();
  for (let tries = 0;; tries++) {
    const hostname = [IPV4.server, IPV6.server][tries % 2]!;
    const attempt = Deno.connect({ hostname, port: SSH }).then((connection) => {
      connection.close();
      return `open to ${hostname} after ${Math.round(performance.now() - since)} ms`;
    }, () => "shut");
    // deno-lint-ignore no-console
    withinTurns(attempt, CLOSED_AFTER_MS, "shut").then(console.log);
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
}
