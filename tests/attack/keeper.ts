/**
 * A keeper as `serve` puts it together, with the test on the other end of its taker's channel, and a firewall that only
 * remembers. After each change it holds what is open against the configuration.
 */

import assert from "node:assert/strict";
import type { ServerConfig } from "../../lib/config/server.ts";
import type { Backend, ClientOpenings } from "../../lib/firewall/backend.ts";
import { Guard } from "../../lib/firewall/guard.ts";
import { GRANT_CAPS, Grants } from "../../lib/grants.ts";
import type { KnockSource } from "../../lib/receive/intake.ts";
import { Pipeline } from "../../lib/receive/pipeline.ts";
import { ServerLog } from "../../lib/receive/server_log.ts";
import { ReplayMemory } from "../../lib/replay.ts";
import { channelOver } from "../../lib/separate/channel.ts";
import { beginTaker } from "../../lib/separate/knocks.ts";
import { StateStore } from "../../lib/state/store.ts";
import type { Log } from "../../lib/system/log.ts";
import { isHoldable } from "../../lib/values/address.ts";
import { type Clock, type Moment, wallMsOf } from "../../lib/values/moment.ts";
import { formatNetwork } from "../../lib/values/network.ts";
import { comparePortRanges, subtractPortRanges } from "../../lib/values/ports.ts";
import { memoryLog } from "../support/memory_log.ts";
import { NOW_NS } from "../support/knocks.ts";

const encoder = new TextEncoder();
/** As the keeper reads them (lib/separate/process.ts). */
const MOST_BYTES = 1024;

const START_MS = 1000;

/** Both clocks, which a test moves: {@linkcode NOW_NS} once the first keeper has started. */
export class MovedClock implements Clock {
  readonly bootId = "boot-1";
  wallNs = NOW_NS - BigInt(START_MS) * 1_000_000n;
  steadyMs = 1_000_000;

  now(): Moment {
    return { wallNs: this.wallNs, steadyMs: this.steadyMs };
  }

  pass(ms: number): void {
    this.wallNs += BigInt(Math.round(ms * 1e6));
    this.steadyMs += ms;
  }
}

export class Keeper implements AsyncDisposable {
  readonly clock: MovedClock;
  readonly grants = new Grants();
  readonly replay = new ReplayMemory();
  readonly pipeline: Pipeline;
  readonly events: ReturnType<typeof memoryLog>["events"];
  /** What the firewall holds now, by address. */
  readonly open = new Map<string, ClientOpenings>();
  /** How often the firewall was changed. */
  changes = 0;
  readonly #store: StateStore;
  readonly #guard: Guard;
  readonly #log: Log;
  readonly #serverLog: ServerLog;
  readonly #incoming: Uint8Array[] = [];
  #config: ServerConfig;
  #knocks: KnockSource | undefined;
  #wake = () => {};
  #isIdle = () => {};
  #hasClosed = false;
  readonly #stop = new AbortController();
  /** Rejects where the taker ended, or crashed the keeper. */
  #listening = Promise.resolve();

  private constructor(dir: string, config: ServerConfig, clock: MovedClock) {
    this.#config = config;
    this.clock = clock;
    const { log, events } = memoryLog();
    this.#log = log;
    this.events = events;
    const drops = this.#serverLog = new ServerLog(log);
    const { grants, replay } = this;
    const { store, stored } = StateStore.open({
      ...{ dir, replay, replayWindowNs: BigInt(config.replayWindowMs) * 1_000_000n, clock, log },
    });
    this.#store = store;
    const backend = {
      name: "remembers",
      apply: (changes: readonly ClientOpenings[]) => {
        this.changes++;
        for (const each of changes) {
          const at = formatNetwork(each.address);
          if (each.openings.length === 0) this.open.delete(at);
          else this.open.set(at, each);
          this.#requireAllowed(each);
        }
        return Promise.resolve();
      },
      remove: () => Promise.resolve(),
    } as unknown as Backend;
    this.#guard = new Guard({ backend, grants, clock, log });
    this.pipeline = new Pipeline(config, {
      ...{ grants, replay, store, guard: this.#guard, clock, log: drops.log, drops },
      accepted: (key, source) => this.#knocks?.accepted(key, source),
    });
    this.pipeline.resume(stored);
  }

  static async start(
    dir: string,
    config: ServerConfig,
    clock = new MovedClock(),
  ): Promise<Keeper> {
    const keeper = new Keeper(dir, config, clock);
    clock.pass(START_MS); // knocks dated before the first start are refused
    await keeper.#begin();
    return keeper;
  }

  async #begin(): Promise<void> {
    const channel = channelOver({
      read: async (buffer) => {
        while (this.#incoming.length === 0 && !this.#hasClosed) {
          this.#isIdle();
          await new Promise<void>((resolve) => this.#wake = resolve);
        }
        const next = this.#incoming.shift();
        if (!next) return null;
        const size = Math.min(next.length, buffer.length);
        buffer.set(next.subarray(0, size));
        if (size < next.length) this.#incoming.unshift(next.subarray(size));
        return size;
      },
      write: (bytes) => Promise.resolve(bytes.length),
      closeWrite: () => Promise.resolve(),
      close: () => {},
    }, { mostBytes: MOST_BYTES });
    this.#incoming.push(encoder.encode('{"bound":"here"}\n'));
    const knocks = await beginTaker(channel, {
      ...{ port: 54154, wildcards: ["::"], config: this.#config, namespace: "here" },
    });
    this.#knocks = knocks(this.pipeline, { clock: this.clock, log: this.#log });
    this.#listening = this.#knocks.listen(this.#stop.signal);
    this.#listening.catch(() => {});
  }

  /** The taker writes this; resolves once the keeper has read all of it, and the firewall has it. */
  async takes(...pieces: (Uint8Array | object)[]): Promise<void> {
    const idle = new Promise<void>((resolve) => this.#isIdle = resolve);
    this.#incoming.push(
      ...pieces.map((each) =>
        each instanceof Uint8Array ? each : encoder.encode(JSON.stringify(each) + "\n")
      ),
    );
    this.#wake();
    await Promise.race([idle, this.#listening]);
    await new Promise((resolve) => setTimeout(resolve, 0));
    this.requireAllowed();
  }

  /** A second is over. */
  tick(): void {
    this.#serverLog.tick();
    this.pipeline.expire();
  }

  reconfigure(config: ServerConfig): void {
    this.#config = config;
    this.#knocks?.reconfigure(config);
    this.pipeline.reconfigure(config);
  }

  /** Every grant is one that the configuration allows. */
  requireAllowed(): void {
    const now = this.clock.now();
    const all = [...this.grants.list()];
    assert.ok(all.length <= GRANT_CAPS.total);
    const perClient = new Map<string, number>();
    for (const { key, client, address, ports, endsSteadyMs, expiresAtMs } of all) {
      const registered = this.#config.keys.byKey.get(key);
      assert.ok(registered, `${client} is not registered`);
      assert.equal(client, registered.client.name);
      assert.ok(isHoldable(address.base), formatNetwork(address));
      assert.deepEqual(
        ports.toSorted(comparePortRanges),
        registered.client.ports.toSorted(comparePortRanges),
      );
      const { knockTimeoutMs } = this.#config;
      assert.ok(endsSteadyMs <= now.steadyMs + knockTimeoutMs);
      const endMs = Math.min(wallMsOf(now) + knockTimeoutMs, registered.expiresAtMs ?? Infinity);
      assert.ok(expiresAtMs <= endMs + 1);
      perClient.set(key, (perClient.get(key) ?? 0) + 1);
    }
    for (const count of perClient.values()) assert.ok(count <= GRANT_CAPS.perClient);
  }

  /** What the firewall is given for an address is what clients may have there, for as long. */
  #requireAllowed({ address, openings, clients }: ClientOpenings): void {
    const { knockTimeoutMs, clients: registered } = this.#config;
    const may = registered.filter(({ name }) => clients.includes(name)).flatMap(({ ports }) =>
      ports
    );
    assert.deepEqual(subtractPortRanges(openings, may), [], formatNetwork(address));
    for (const { timeoutMs } of openings) assert.ok(timeoutMs > 0 && timeoutMs <= knockTimeoutMs);
  }

  told(event: string): number {
    return this.events.filter((each) => each.event === event).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#hasClosed = true;
    this.#wake();
    await this.#knocks?.close();
    await this.#guard.stop();
    this.#store.close();
  }
}
