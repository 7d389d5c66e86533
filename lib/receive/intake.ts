/** The way of datagrams, put together: socket, queue, scheduler, pipeline. */

import { setImmediate } from "node:timers";
import type { ServerConfig } from "../config/server.ts";
import type { KnockTags } from "../crypto/keys.ts";
import { knockTags, publicKeyOf } from "../crypto/sync.ts";
import { EphemeralKeys } from "./ephemeral_keys.ts";
import { Pipeline, type PipelineParts } from "./pipeline.ts";
import { KnockQueue } from "./queue.ts";
import { PACE_BATCHES, PACE_ONE_BY_ONE, Scheduler } from "./scheduler.ts";
import type { KnockSocket } from "./socket.ts";

/** Takes knocks off a socket and has them judged. */
export class Intake {
  readonly pipeline: Pipeline;
  readonly #socket: KnockSocket;
  readonly #queue: KnockQueue;
  readonly #scheduler: Scheduler;

  constructor(
    config: ServerConfig,
    { socket, ...parts }: Omit<PipelineParts, "keys"> & { readonly socket: KnockSocket },
  ) {
    const keys = new EphemeralKeys();
    const pipeline = this.pipeline = new Pipeline(config, { ...parts, keys });
    const steadyMs = () => parts.clock.now().steadyMs;
    this.#socket = socket;
    this.#queue = new KnockQueue({
      tags: tagsOf(config),
      keys,
      steadyMs,
      dropped: (reason, source) => pipeline.drop(reason, source),
    });
    this.#scheduler = new Scheduler({
      queue: this.#queue,
      pace: socket.takesBatches ? PACE_BATCHES : PACE_ONE_BY_ONE,
      judge: (queued) => pipeline.judge.take(queued),
      later: (idle) => pipeline.judge.continueDeferred(idle),
      drop: (reason, source) => pipeline.drop(reason, source),
      steadyMs,
      soon: (turn) => setImmediate(turn),
      afterSleep: (turn) => setTimeout(turn, 0),
    });
  }

  /** Takes knocks until `signal` aborts; throws where the socket fails. */
  async listen(signal: AbortSignal): Promise<void> {
    await this.#socket.listen({
      take: (datagram, source) => this.#scheduler.offer(datagram, source),
      drained: () => this.#scheduler.judgeNow(),
    }, signal);
  }

  /** From now on this configuration holds. */
  reconfigure(config: ServerConfig): void {
    this.pipeline.reconfigure(config);
    this.#queue.retag(tagsOf(config));
  }

  /** Judges nothing more. */
  stop(): void {
    this.#scheduler.stop();
  }
}

/** The tags of the server's key, and of the one before it while a rotation is under way. */
function tagsOf({ publicKey, previousPrivateKey }: ServerConfig): KnockTags[] {
  const keys = previousPrivateKey
    ? [publicKey, publicKeyOf("X25519", previousPrivateKey)]
    : [publicKey];
  return keys.map(knockTags);
}
