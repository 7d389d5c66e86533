/** A real Redis on the loopback, which a test may treat badly, and what a host has heard of an engine. */

import { connectEngine } from "../../lib/fleet/connection.ts";
import type { Engine, EngineAccess, EngineListener, EngineState } from "../../lib/fleet/engine.ts";
import { processClock } from "../../lib/system/clock.ts";
import { Program } from "../support/spawned.ts";
import { waitFor } from "../support/wait.ts";

export function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

/** An engine that keeps nothing on disk. */
export class RealRedis implements AsyncDisposable {
  readonly port = freePort();
  readonly #options: readonly string[];
  #program: Program | undefined;

  private constructor(options: readonly string[]) {
    this.#options = options;
  }

  static async start(...options: string[]): Promise<RealRedis> {
    const redis = new RealRedis(options);
    await redis.start();
    return redis;
  }

  async start(): Promise<void> {
    const port = this.#options.includes("--tls-port") ? [] : ["--port", String(this.port)];
    const options = this.#options.map((each) => each.replace("PORT", String(this.port)));
    const args = [...port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", ...options];
    this.#program = new Program("redis-server", { args, cwd: "/tmp" });
    await this.#program.stdout.waitFor(/Ready to accept/);
  }

  async stop(): Promise<void> {
    await this.#program?.[Symbol.asyncDispose]();
  }

  signal(name: Deno.Signal): void {
    this.#program!.signal(name);
  }

  /** Sends a command of words, and gives what comes back, as it is. */
  async send(...commands: string[]): Promise<string> {
    using connection = await Deno.connect({ hostname: "127.0.0.1", port: this.port });
    await connection.write(
      new TextEncoder().encode(commands.map((each) => `${each}\r\n`).join("")),
    );
    const buffer = new Uint8Array(4096);
    return new TextDecoder().decode(buffer.subarray(0, await connection.read(buffer) ?? 0));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** One host's connection, and what it was told. */
export class Host implements EngineListener, AsyncDisposable {
  readonly entries: string[] = [];
  readonly states: EngineState[] = [];
  readonly engine;

  constructor(
    port: number,
    access: Partial<EngineAccess> = {},
    connect: (access: EngineAccess, listener: EngineListener) => Engine = (access, listener) =>
      connectEngine(access, listener, processClock()),
  ) {
    const claimant = crypto.randomUUID();
    const url = `redis://127.0.0.1:${port}`;
    const all = { url, trust: undefined, name: "test", claimant, sinceMs: 60_000, ...access };
    this.engine = connect(all, this);
  }

  entry(entry: string): void {
    this.entries.push(entry);
  }

  changed(state: EngineState): void {
    this.states.push(state);
  }

  async up(): Promise<void> {
    const { engine } = this;
    const options = { everyMs: 5, timeoutMs: 15_000 };
    await waitFor("the engine", () => engine.state().isUp, options);
  }

  /** Until it is away for this reason. */
  async down(why: RegExp): Promise<void> {
    const { engine } = this;
    await waitFor(`${why} in ${JSON.stringify(engine.state())}`, () => {
      const { isUp, why: known } = engine.state();
      return !isUp && why.test(known!);
    }, { everyMs: 5, timeoutMs: 15_000 });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.engine.close();
  }
}
