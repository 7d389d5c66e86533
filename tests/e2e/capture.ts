/** What was on the server's wires while a test ran: how many datagrams to, and from, the knock port. */

import { fileURLToPath } from "node:url";
import type { Lab } from "./lab.ts";
import type { Program } from "../support/spawned.ts";

/** What a capture has seen. A datagram over the loopback interface counts twice: on its way out and in. */
export interface Tally {
  readonly toPort: number;
  readonly fromPort: number;
  /** Packets that the capture missed. */
  readonly missed: number;
}

/** A capture on all of the server's interfaces, from `start` to `stop`. */
export class Capture {
  readonly #program: Program;

  private constructor(program: Program) {
    this.#program = program;
  }

  /** Resolves once nothing can go by unseen. */
  static async start(lab: Lab, port: number): Promise<Capture> {
    const script = fileURLToPath(new URL("./wire.ts", import.meta.url));
    const flags = ["--quiet", "--no-config", "--no-lock", "--unstable-net", "-A"];
    const command = [Deno.execPath(), "run", ...flags, script, String(port)];
    const program = lab.start("server", command);
    await program.stdout.waitFor(/^ready$/, 10_000);
    return new Capture(program);
  }

  /** Ends the capture, with everything that was sent before. */
  async stop(): Promise<Tally> {
    await this.#program.closeStdin();
    const end = await this.#program.stdout.waitFor(/^end /, 10_000);
    const count = (what: string) => this.#program.stdout.all.filter((line) => line === what).length;
    return {
      toPort: count("datagram to port"),
      fromPort: count("datagram from port"),
      missed: Number(end.slice("end ".length)),
    };
  }
}
