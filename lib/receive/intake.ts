/** The way of datagrams, put together: socket, admission, judge, pipeline. */

import type { ServerConfig } from "../config/server.ts";
import { formatAddress, parseAddress } from "../values/address.ts";
import { Admission } from "./admission.ts";
import { EphemeralKeys } from "./ephemeral_keys.ts";
import { Pipeline, type PipelineParts } from "./pipeline.ts";
import type { KnockSocket } from "./socket.ts";
import type { CurrentStamps } from "./stamps.ts";

/** What an intake works with. */
export interface IntakeParts extends Omit<PipelineParts, "keys"> {
  readonly socket: KnockSocket;
  readonly stamps: Pick<CurrentStamps, "has">;
}

/** Takes knocks off a socket and has them judged. */
export class Intake {
  readonly pipeline: Pipeline;
  readonly #parts: IntakeParts;
  readonly #admission: Admission;
  #searching = false;
  #stopped = false;

  constructor(config: ServerConfig, parts: IntakeParts) {
    const keys = new EphemeralKeys();
    this.#parts = parts;
    this.pipeline = new Pipeline(config, { ...parts, keys });
    this.#admission = new Admission(config, { stamps: parts.stamps, keys });
  }

  /** Takes knocks until `signal` aborts; throws where the socket fails. */
  async listen(signal: AbortSignal): Promise<void> {
    await this.#parts.socket.listen((datagram, from) => this.#take(datagram, from), signal);
  }

  /** From now on this configuration holds. */
  reconfigure(config: ServerConfig): void {
    this.pipeline.reconfigure(config);
    this.#admission.reconfigure(config);
  }

  /** Judges nothing more. */
  stop(): void {
    this.#stopped = true;
  }

  /** Judges a datagram in the step that received it: a knock waits for no timer, and no turn of the event loop. */
  #take(datagram: Uint8Array, from: string): void {
    if (this.#stopped) return;
    const { clock, drops } = this.#parts;
    const { steadyMs } = clock.now();
    const admitted = this.#admission.admit(datagram, steadyMs);
    if (typeof admitted === "string") {
      // The address is only parsed where a line is written: that takes as long as all before.
      return drops.dropped(admitted, () => ({ source: formatAddress(parseAddress(from)!) }));
    }
    // IPv4 by its own text is read in a third of the time.
    const source = parseAddress(from.replace("::ffff:", ""));
    if (!source) return;
    this.pipeline.judge.take(datagram, source, admitted);
    this.#admission.took(admitted, clock.now().steadyMs - steadyMs);
    this.#search();
  }

  /** Goes on with deferred knocks, a ms at a time and with sleep in between, in which the socket is read. */
  #search(): void {
    const { judge } = this.pipeline;
    if (this.#searching || this.#stopped || !judge.hasDeferred) return;
    this.#searching = true;
    setTimeout(() => {
      this.#searching = false;
      if (!this.#stopped) judge.continueDeferred();
      this.#search();
    }, 0);
  }
}
