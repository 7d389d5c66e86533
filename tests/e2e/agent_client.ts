/** The test's end of an agent: requests go out as JSON lines, answers come back by number. */

import { fileURLToPath } from "node:url";
import type { Lab, Side } from "./lab.ts";
import type { Reachability, Request } from "./agent.ts";
import type { Program } from "../support/spawned.ts";

/** How long a closed port is given to answer. Everything is on one machine: an open one takes a millisecond. */
const CLOSED_AFTER_MS = 400;

/** Where a datagram is sent from; the system chooses what is not given. */
export interface Binding {
  readonly address?: string;
  readonly port?: number;
}

/** An agent that runs on one side of a lab. */
export class Agent {
  readonly #program: Program;
  #lastNumber = 0;

  private constructor(program: Program) {
    this.#program = program;
  }

  static async start(lab: Lab, side: Side): Promise<Agent> {
    const script = fileURLToPath(new URL("./agent.ts", import.meta.url));
    const flags = ["--quiet", "--no-config", "--no-lock", "--unstable-net", "-A"];
    const agent = new Agent(lab.start(side, [Deno.execPath(), "run", ...flags, script]));
    await agent.#ask({ op: "ping" });
    return agent;
  }

  /** Opens echo services on all addresses, IPv4 and IPv6; the UDP ones in the given multicast groups as well. */
  async listen(ports: { tcp?: number[]; udp?: number[]; groups?: string[] }): Promise<void> {
    await this.#ask({ op: "listen", tcp: [], udp: [], groups: [], ...ports });
  }

  /** Tries one TCP connection. */
  async connect(host: string, port: number, timeoutMs = CLOSED_AFTER_MS): Promise<Reachability> {
    return await this.#ask({ op: "connect", host, port, timeoutMs }) as Reachability;
  }

  /** Whether a TCP connection comes about. */
  async reaches(host: string, port: number, timeoutMs = CLOSED_AFTER_MS): Promise<boolean> {
    return await this.connect(host, port, timeoutMs) === "open";
  }

  /** Opens a TCP connection and keeps it. */
  async hold(host: string, port: number): Promise<HeldConnection> {
    const id = await this.#ask({ op: "hold", host, port, timeoutMs: 2000 }) as number;
    return {
      echoes: async (timeoutMs = 2000) =>
        await this.#ask({ op: "echo", id, text: crypto.randomUUID(), timeoutMs }) as boolean,
      close: async () => void await this.#ask({ op: "close", id }),
    };
  }

  /** Whether a UDP datagram, also a broadcast or multicast one, is echoed. Each call has a source port of its own. */
  async echoesUdp(host: string, port: number, timeoutMs = CLOSED_AFTER_MS): Promise<boolean> {
    return await this.#ask({ op: "udp", host, port, timeoutMs }) as boolean;
  }

  /** Sends one datagram as it is. */
  async send(bytes: Uint8Array, host: string, port: number, bind: Binding = {}): Promise<void> {
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    await this.#ask({ op: "send", hex, host, port, bind });
  }

  async #ask(request: Request): Promise<unknown> {
    const number = ++this.#lastNumber;
    await this.#program.writeLine(JSON.stringify({ number, ...request }));
    const line = await this.#program.stdout.waitFor(new RegExp(`^\\{"number":${number},`), 15_000);
    const { value, error } = JSON.parse(line) as { value?: unknown; error?: string };
    if (error !== undefined) throw new Error(`agent: ${JSON.stringify(request)}: ${error}`);
    return value;
  }
}

/** A TCP connection that stays. */
export interface HeldConnection {
  /** Whether text that the client sends comes back. */
  echoes(timeoutMs?: number): Promise<boolean>;
  close(): Promise<void>;
}
