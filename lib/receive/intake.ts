/** The way of datagrams up to the signature, put together: socket, admission, the search for the signer. */

import type { ServerConfig } from "../config/server.ts";
import type { SignedKnock } from "../gate.ts";
import { type Address, parseAddress } from "../values/address.ts";
import type { Clock } from "../values/moment.ts";
import { Admission, type AdmissionConfig } from "./admission.ts";
import { EphemeralKeys } from "./ephemeral_keys.ts";
import { type SearchConfig, SignerSearch } from "./signer_search.ts";
import type { KnockSocket } from "./socket.ts";
import type { CurrentStamps, StampsConfig } from "./stamps.ts";

/** What is needed of a configuration to tell knocks of registered clients from everything else. */
export type KnockConfig = AdmissionConfig & SearchConfig & StampsConfig;

/** Is told what was received. */
export interface KnockSink {
  /** A knock with a good signature. */
  readonly signed: (knock: SignedKnock) => void;
  /** A datagram was dropped. `source` parses it: that takes as long as all before. */
  readonly dropped: (reason: string, source: () => Address, client?: string) => void;
  /** So many more were dropped, from anywhere. */
  readonly droppedMore: (reason: string, datagrams: number) => void;
}

/** Where knocks come from: this process, or another one. */
export interface KnockSource {
  /** Takes knocks until `signal` aborts; rejects where it can no longer receive. */
  listen(signal: AbortSignal): Promise<void>;
  /** Puts this configuration in force; resolves once no knock is judged by the one before. */
  reconfigure(config: ServerConfig): Promise<void>;
  /** A knock under this key from there passed every check. */
  accepted(key: string, source: Address): void;
  /** Nothing more is told to the sink. */
  stop(): void;
  /** Lets the knock port go; resolves once it is free. */
  close(): Promise<void>;
}

/** What an intake works with. */
export interface IntakeParts {
  readonly socket: KnockSocket;
  readonly stamps: Pick<CurrentStamps, "has">;
  readonly clock: Clock;
  readonly sink: Omit<KnockSink, "droppedMore">;
}

/** Takes datagrams off a socket, and finds the knocks among them. */
export class Intake implements KnockSource {
  readonly #parts: IntakeParts;
  readonly #admission: Admission;
  readonly #search: SignerSearch;
  #searching = false;
  #stopped = false;

  constructor(config: KnockConfig, parts: IntakeParts) {
    const { stamps, clock, sink: { signed, dropped } } = parts;
    const keys = new EphemeralKeys();
    this.#parts = parts;
    this.#admission = new Admission(config, { stamps, keys });
    this.#search = new SignerSearch(config, { clock, keys, signed, dropped });
  }

  async listen(signal: AbortSignal): Promise<void> {
    await this.#parts.socket.listen((datagram, from) => this.#take(datagram, from), signal);
  }

  reconfigure(config: KnockConfig): Promise<void> {
    this.#search.reconfigure(config);
    this.#admission.reconfigure(config);
    return Promise.resolve();
  }

  accepted(key: string, source: Address): void {
    this.#search.accepted(key, source);
  }

  stop(): void {
    this.#stopped = true;
  }

  close(): Promise<void> {
    this.#parts.socket.close();
    return Promise.resolve();
  }

  /** Looks at a datagram in the step that received it: a knock waits for no timer, and no turn of the event loop. */
  #take(datagram: Uint8Array, from: string): void {
    if (this.#stopped) return;
    const { clock, sink } = this.#parts;
    const { steadyMs } = clock.now();
    const admitted = this.#admission.admit(datagram, steadyMs);
    // Most datagrams of a flood are dropped without that anyone asks.
    const source = () => parseAddress(from)!;
    if (typeof admitted === "string") return sink.dropped(admitted, source);
    this.#search.take(datagram, source, admitted);
    this.#admission.took(admitted, clock.now().steadyMs - steadyMs);
    this.#searchOn();
  }

  /** Goes on with deferred knocks, a ms at a time and with sleep in between, in which the socket is read. */
  #searchOn(): void {
    if (this.#searching || this.#stopped || !this.#search.hasDeferred) return;
    this.#searching = true;
    setTimeout(() => {
      this.#searching = false;
      if (!this.#stopped) this.#search.continueDeferred();
      this.#searchOn();
    }, 0);
  }
}
