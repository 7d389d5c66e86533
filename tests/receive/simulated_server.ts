/**
 * A server's whole way of a datagram (the kernel's rates, the socket's buffer, admission, pipeline) on a clock that goes on
 * by what each step costs, so that what a flood does to it comes out the same on every machine. Costs are those that
 * docs/performance.md states.
 */

import type { Address } from "../../lib/values/address.ts";
import type { ServerConfig } from "../../lib/config/server.ts";
import { bytesToHex, type KeyPair, keyPairOf } from "../../lib/crypto/keys.ts";
import { signatureVerifier } from "../../lib/crypto/sync.ts";
import { ServerLog } from "../../lib/receive/server_log.ts";
import type { Guard } from "../../lib/firewall/guard.ts";
import { Grants } from "../../lib/grants.ts";
import { Admission } from "../../lib/receive/admission.ts";
import { EphemeralKeys } from "../../lib/receive/ephemeral_keys.ts";
import type { Log } from "../../lib/system/log.ts";
import { Pipeline } from "../../lib/receive/pipeline.ts";
import { SignerSearch } from "../../lib/receive/signer_search.ts";
import { ReplayMemory } from "../../lib/replay.ts";
import { StateStore } from "../../lib/state/store.ts";
import { CurrentStamps } from "../../lib/receive/stamps.ts";
import { UNSTAMPED_PER_SECOND } from "../../lib/firewall/plan.ts";
import { ephemeralKeyOf } from "../../lib/packet.ts";
import { formatAddress } from "../../lib/values/address.ts";
import { TokenBucket } from "../../lib/values/token_bucket.ts";
import {
  indexOf,
  must,
  SERVER_PRIVATE_KEY,
  SERVER_PUBLIC_KEY,
  START_MS,
} from "../support/knocks.ts";

/**
 * ms: taking a datagram off the socket and looking at its tag; the curve and the AEAD, and the AEAD alone where its key is
 * remembered; a signature; sleeping.
 */
const COST = {
  receive: 0.008,
  unseal: 0.105,
  unsealAgain: 0.015,
  verify: 0.046,
  sleep: 1.1,
} as const;
/** Knocks that the socket's buffer holds, on Linux with glibc. */
const BUFFER = 21_000;
/** Datagrams that the runtime hands over in a row before it looks at its timers. */
const IN_A_ROW = 129;
/** What the kernel passes on of a source. */
const PER_SOURCE = { perSecond: 2000, capacity: 1000 };

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
  readonly search: SignerSearch;
  /** The first start is a moment before: what is dated earlier is refused. */
  #nowMs = -1;
  readonly #dir = Deno.makeTempDirSync({ prefix: "openme-attack-" });
  readonly database = `${this.#dir}/state.db`;
  readonly #store: StateStore;
  readonly #keys = new EphemeralKeys();
  readonly #admission: Admission;
  readonly #stamps: CurrentStamps;
  readonly #sources = new Map<string, TokenBucket>();
  readonly #unstamped = new TokenBucket({
    perSecond: UNSTAMPED_PER_SECOND,
    capacity: UNSTAMPED_PER_SECOND / 10,
  });
  /** When the search for clients goes on. */
  #searchMs = Infinity;

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
    const drops = new ServerLog(SILENT);
    const guard = { changed: () => {} } as unknown as Guard; // what is let in is read off the grants
    this.pipeline = new Pipeline(this.configOf(clients), {
      grants: this.grants,
      replay,
      store: this.#store,
      guard,
      clock,
      log: SILENT,
      drops,
      accepted: (key, source) => this.search.accepted(key, source),
    });
    const { signed, dropped } = this.pipeline;
    this.search = new SignerSearch(this.configOf(clients), {
      ...{ clock, signed, dropped, keys: this.#keys },
    });
    this.#stamps = new CurrentStamps(this.configOf(clients), clock.now());
    this.#admission = new Admission(this.configOf(clients), {
      stamps: this.#stamps,
      keys: this.#keys,
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
    const coming = arrivals.toSorted((a, b) => a.atMs - b.atMs).filter((each) =>
      this.#passes(each)
    );
    const endMs = must(coming.at(-1)).atMs + 2000;
    let [next, inARow, first] = [0, 0, 0];
    /** From `first` on. */
    const buffer: Arrival[] = [];
    while (this.#nowMs < endMs) {
      for (; next < coming.length && coming[next]!.atMs <= this.#nowMs; next++) {
        if (buffer.length - first < BUFFER) buffer.push(coming[next]!);
      }
      const waiting = inARow < IN_A_ROW ? buffer[first] : undefined;
      inARow = waiting ? inARow + 1 : 0;
      if (waiting) first++;
      if (waiting) this.take(waiting.datagram, waiting.source);
      else if (this.#searchMs <= this.#nowMs) this.#search();
      else if (buffer.length === first) {
        this.#nowMs = Math.min(this.#searchMs, coming[next]?.atMs ?? endMs);
      }
    }
  }

  /** Takes a datagram off the socket; returns why it was not judged, if it was not. */
  take(datagram: Uint8Array, source: Address): string | undefined {
    this.#nowMs += COST.receive;
    const again = this.#keys.get(ephemeralKeyOf(datagram)) !== undefined;
    const admitted = this.#admission.admit(datagram, this.#nowMs);
    if (typeof admitted === "string") return admitted;
    const startMs = this.#nowMs;
    this.#nowMs += again ? COST.unsealAgain : COST.unseal;
    this.search.take(datagram, () => source, admitted);
    this.#admission.took(admitted, this.#nowMs - startMs);
    if (this.#searchMs === Infinity) this.#searchLater();
    return undefined;
  }

  #search(): void {
    this.search.continueDeferred();
    this.#searchLater();
  }

  #searchLater(): void {
    this.#searchMs = this.search.hasDeferred ? this.#nowMs + COST.sleep : Infinity;
  }

  /** Whether the kernel passes a datagram on, as nft does. */
  #passes({ atMs, datagram, source }: Arrival): boolean {
    const name = formatAddress(source);
    const meter = this.#sources.get(name) ?? new TokenBucket(PER_SOURCE);
    this.#sources.set(name, meter);
    if (meter.take(1, atMs) === 0) return false;
    return this.#stamps.has(datagram) || this.#unstamped.take(1, atMs) > 0;
  }

  [Symbol.dispose](): void {
    this.#store.close();
    Deno.removeSync(this.#dir, { recursive: true });
  }

  /** From now on these are the clients. */
  reconfigure(some: readonly KeyPair[]): void {
    const config = this.configOf(some);
    this.search.reconfigure(config);
    this.pipeline.reconfigure(config);
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
        client: {
          name: `client${this.clients.indexOf(pair)}`,
          ports: [{ protocol: "tcp", first: 22, last: 22 }],
        },
        expiresAtMs: undefined,
        expiresNs: undefined,
      };
    });
    return {
      privateKey: SERVER_PRIVATE_KEY,
      publicKey: SERVER_PUBLIC_KEY,
      knockTimeoutMs: 300_000,
      replayWindowMs: 60_000,
      onlyStampedKnocks: false,
      keys: indexOf(clients),
    } as unknown as ServerConfig;
  }
}
