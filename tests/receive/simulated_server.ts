/**
 * A server's whole way of a datagram (queue, scheduler, pipeline) on a clock that goes on by what each step costs, so that
 * what a flood does to it comes out the same on every machine. Costs are those that docs/performance.md states.
 */

import type { Address } from "../../lib/values/address.ts";
import type { ServerConfig } from "../../lib/config/server.ts";
import { bytesToHex, type KeyPair, keyPairOf } from "../../lib/crypto/keys.ts";
import { knockTags, signatureVerifier } from "../../lib/crypto/sync.ts";
import { ServerLog } from "../../lib/receive/server_log.ts";
import type { Guard } from "../../lib/firewall/guard.ts";
import { Grants } from "../../lib/grants.ts";
import { PACE_BATCHES, Scheduler } from "../../lib/receive/scheduler.ts";
import { KnockQueue } from "../../lib/receive/queue.ts";
import { EphemeralKeys } from "../../lib/receive/ephemeral_keys.ts";
import type { Log } from "../../lib/system/log.ts";
import { Pipeline } from "../../lib/receive/pipeline.ts";
import { ReplayMemory } from "../../lib/replay.ts";
import { StateStore } from "../../lib/state/store.ts";
import { MOST_AT_ONCE } from "../../lib/receive/socket.ts";
import {
  indexOf,
  must,
  SERVER_PRIVATE_KEY,
  SERVER_PUBLIC_KEY,
  START_MS,
} from "../support/knocks.ts";

/**
 * ms: taking a datagram off the socket and looking at its tag; the curve and the seal, and the seal alone where the curve
 * is remembered; a signature; sleeping.
 */
const COST = {
  offer: 0.006,
  unseal: 0.105,
  unsealAgain: 0.016,
  verify: 0.046,
  sleep: 1.1,
} as const;

/** A datagram that arrives `atMs` after the start. */
export interface Arrival {
  readonly atMs: number;
  readonly datagram: Uint8Array;
  readonly source: Address;
}

const SILENT: Log = {
  error: () => {},
  warn: () => {},
  info: () => {},
  debug: () => {},
  enabled: () => false,
};

/** A server with so many clients, each of whom may open port 22. */
export class SimulatedServer implements Disposable {
  readonly clients: readonly KeyPair[];
  readonly grants = new Grants();
  readonly replay = new ReplayMemory();
  readonly pipeline: Pipeline;
  /** The first start is a moment before: what is dated earlier is refused. */
  #nowMs = -1;
  readonly #dir = Deno.makeTempDirSync({ prefix: "openme-attack-" });
  readonly database = `${this.#dir}/state.db`;
  readonly #store: StateStore;
  readonly #scheduler: Scheduler;
  /** What the event loop does next, and when. */
  #turns: { readonly atMs: number; readonly run: () => void }[] = [];

  private constructor(clients: readonly KeyPair[]) {
    this.clients = clients;
    const { replay } = this;
    const clock = {
      now: () => ({
        steadyMs: this.#nowMs,
        wallNs: BigInt(START_MS) * 1_000_000n + BigInt(Math.round(this.#nowMs * 1e6)),
      }),
      bootId: "simulated",
    };
    this.#store = StateStore.open({
      dir: this.#dir,
      replay,
      replayWindowNs: 60_000_000_000n,
      clock,
      log: SILENT,
    }).store;
    this.#nowMs = 0;
    const keys = new EphemeralKeys();
    const drops = new ServerLog(SILENT);
    const guard = { changed: () => {} } as unknown as Guard; // what is let in is read off the grants
    const pipeline = this.pipeline = new Pipeline(this.configOf(clients), {
      grants: this.grants,
      replay,
      store: this.#store,
      guard,
      clock,
      log: SILENT,
      drops,
      keys,
    });
    const steadyMs = () => this.#nowMs;
    const queue = new KnockQueue({
      tags: [knockTags(SERVER_PUBLIC_KEY)],
      keys,
      steadyMs,
      dropped: (reason, source) => pipeline.drop(reason, source),
    });
    this.#scheduler = new Scheduler({
      queue,
      pace: PACE_BATCHES,
      judge: (waiting) => {
        const again = waiting.kind === "repeated" || waiting.kind === "late";
        this.#nowMs += again ? COST.unsealAgain : COST.unseal;
        pipeline.judge.take(waiting);
      },
      later: (idle) => pipeline.judge.continueDeferred(idle),
      drop: (reason, source) => pipeline.drop(reason, source),
      steadyMs,
      soon: (run) => void this.#turns.push({ atMs: this.#nowMs, run }),
      afterSleep: (run) => void this.#turns.push({ atMs: this.#nowMs + COST.sleep, run }),
    });
  }

  static async create(count: number): Promise<SimulatedServer> {
    const seeds = Array.from({ length: count }, () => crypto.getRandomValues(new Uint8Array(32)));
    return new SimulatedServer(
      await Promise.all(seeds.map((seed) => keyPairOf("Ed25519", seed))),
    );
  }

  /** Lets it all arrive, and goes on for two seconds after the last. */
  run(arrivals: readonly Arrival[]): void {
    const waiting = arrivals.toSorted((a, b) => a.atMs - b.atMs);
    const endMs = must(waiting.at(-1)).atMs + 2000;
    let next = 0;
    while (this.#nowMs < endMs) {
      for (let i = 0; i < MOST_AT_ONCE && next < waiting.length; i++) {
        const { atMs, datagram, source } = waiting[next]!;
        if (atMs > this.#nowMs) break;
        this.#scheduler.offer(datagram, source);
        this.#nowMs += COST.offer;
        next++;
      }
      this.#turns.sort((a, b) => a.atMs - b.atMs);
      const turn = this.#turns.shift();
      const arrivesMs = waiting[next]?.atMs ?? endMs;
      if (turn && turn.atMs <= Math.max(arrivesMs, this.#nowMs)) {
        this.#nowMs = Math.max(this.#nowMs, turn.atMs);
        turn.run();
      } else {
        if (turn) this.#turns.push(turn);
        this.#nowMs = Math.max(this.#nowMs, arrivesMs);
      }
    }
  }

  [Symbol.dispose](): void {
    this.#scheduler.stop();
    this.#store.close();
    Deno.removeSync(this.#dir, { recursive: true });
  }

  /** A configuration with these clients, named after their place among all of them. */
  configOf(some: readonly KeyPair[]): ServerConfig {
    const clients = some.map((pair) => {
      const { publicKey } = pair;
      const verify = signatureVerifier(publicKey);
      return {
        name: `client${this.clients.indexOf(pair)}`,
        key: bytesToHex(publicKey),
        verify: (message: Uint8Array, signature: Uint8Array) => {
          this.#nowMs += COST.verify;
          return verify(message, signature);
        },
        ports: [{ protocol: "tcp", first: 22, last: 22 }],
        expiresAtMs: undefined,
        expiresNs: undefined,
      };
    });
    return {
      privateKey: SERVER_PRIVATE_KEY,
      publicKey: SERVER_PUBLIC_KEY,
      knockTimeoutMs: 300_000,
      replayWindowMs: 60_000,
      keys: indexOf(clients),
    } as unknown as ServerConfig;
  }
}
