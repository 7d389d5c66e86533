/**
 * The keeper's side of a taker: knocks that another process receives, which can do nothing else. Nothing that it sends is
 * trusted: it may name registered clients, and the keeper decides as for any knock. Its messages cost bounded time and
 * memory. When it ends, the server ends.
 */

import { type Address, formatAddress, parseAddress } from "../values/address.ts";
import { OpenmeError } from "../values/errors.ts";
import type { Clock } from "../values/moment.ts";
import { escapeUnprintable } from "../values/text.ts";
import { TokenBucket } from "../values/token_bucket.ts";
import { pause } from "../system/clock.ts";
import type { Log } from "../system/log.ts";
import type { KnockConfig, KnockSink, KnockSource } from "../receive/intake.ts";
import type { Channel } from "./channel.ts";
import {
  type FromTaker,
  type KnocksRole,
  readMessage,
  sentConfig,
  type ToTaker,
} from "./messages.ts";

/** Messages that are read; an honest taker finds fewer knocks. It waits while others are not read. */
const MESSAGES = { perSecond: 5000, capacity: 5000 };
/** A knock that passed every check counts for so many: it is written to disk and to the firewall. */
const ACCEPTED_COSTS = 10;
/** How long a taker may take to begin, to put a configuration in force (longer, beside a flood), and to end. */
const START_MS = 10_000;
const CONFIGURE_MS = 60_000;
const END_MS = 1000;
const TELL_AGAIN_MS = 60_000;
/** When the taker hears whose knocks were accepted, and of how many at once: it remembers no more. */
const TELL_MS = 50;
const MOST_ACCEPTED = 256;

/** The knocks of a process that has bound the knock port and given up its rights. */
export type TakersSource = (
  sink: KnockSink,
  parts: { readonly clock: Clock; readonly log: Log },
) => KnockSource;

/**
 * Has a process that was just started bind the port. `namespace`: the network namespace that it must be in. Throws
 * `OpenmeError`: `SOCKET` where the port cannot be bound, `STATE` where the process cannot be used.
 */
export async function beginTaker(
  channel: Channel,
  { port, wildcards, config, namespace }: {
    readonly port: number;
    readonly wildcards: readonly string[];
    readonly config: KnockConfig;
    readonly namespace: string;
  },
): Promise<TakersSource> {
  const messages = channel.messages[Symbol.asyncIterator]();
  const role: KnocksRole = { role: "knocks", port, wildcards, config: sentConfig(config) };
  channel.send(role);
  const timeout = new AbortController();
  const late = pause(START_MS, timeout.signal).then(() => undefined);
  const first = await Promise.race([messages.next(), late]).finally(() => timeout.abort());
  const message = first && !first.done ? readMessage(first.value) : undefined;
  if (message && "bound" in message && isSame(message.bound, namespace)) {
    return (sink, parts) => new TakersKnocks(channel, messages, { sink, ...parts });
  }
  channel.close();
  if (message && "failed" in message) {
    const text = (words: string) => escapeUnprintable(words.slice(0, 500));
    const hint = message.hint === undefined ? undefined : text(message.hint);
    throw new OpenmeError(message.isPort ? "SOCKET" : "STATE", text(message.failed), { hint });
  }
  const why = !first
    ? `it did not begin within ${START_MS / 1000} s`
    : first.done
    ? "it ended at once"
    : message && "bound" in message
    ? "it runs in another network namespace"
    : "it answered with something else than expected";
  throw new OpenmeError("STATE", `the process that is to take knocks cannot be used: ${why}`);
}

/** A namespace whose name one of them cannot read is taken to be the same. */
function isSame(one: string, other: string): boolean {
  return one === other || one === "" || other === "";
}

class TakersKnocks implements KnockSource {
  readonly #channel: Channel;
  readonly #messages: AsyncIterator<unknown>;
  readonly #parts: { readonly sink: KnockSink; readonly clock: Clock; readonly log: Log };
  readonly #allowed = new TokenBucket(MESSAGES);
  readonly #accepted: [key: string, source: Address][] = [];
  /** How many configurations it was sent, and who waits until one is in force. */
  #configs = 0;
  #configuring: { readonly number: number; readonly done: () => void }[] = [];
  readonly #hangs = Promise.withResolvers<string>();
  readonly #closed = new AbortController();
  #stopped = false;
  #ended: Promise<void> | undefined;
  #junk = 0;
  #toldAtMs = -Infinity;

  constructor(
    channel: Channel,
    messages: AsyncIterator<unknown>,
    parts: { readonly sink: KnockSink; readonly clock: Clock; readonly log: Log },
  ) {
    this.#channel = channel;
    this.#messages = messages;
    this.#parts = parts;
  }

  async listen(signal: AbortSignal): Promise<void> {
    this.#channel.send({ take: true } satisfies ToTaker);
    const aborted = new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
    this.#ended = this.#takeAll();
    const ended = this.#ended.then(() => "has ended");
    const what = await Promise.race([ended, this.#hangs.promise, aborted]);
    if (signal.aborted) return;
    throw new OpenmeError("SOCKET", `the process that takes knocks ${what}`, {
      hint: "the log says more: taker_said, or journalctl -u 'openme-taker@*'",
    });
  }

  async reconfigure(config: KnockConfig): Promise<void> {
    const number = ++this.#configs;
    const message: ToTaker = { config: sentConfig(config), number };
    this.#channel.send(message, "config"); // the newest comes, also to one that was held up
    const answered = new AbortController();
    const over = AbortSignal.any([answered.signal, this.#closed.signal]);
    pause(CONFIGURE_MS, over).then(() => over.aborted || this.#hangs.resolve("does not answer"));
    await new Promise<void>((done) => this.#configuring.push({ number, done }));
    answered.abort();
  }

  accepted(key: string, source: Address): void {
    this.#allowed.charge(ACCEPTED_COSTS);
    // Later: to write costs as much time as half of what opens.
    if (this.#accepted.push([key, source]) === 1) setTimeout(() => this.#tellAccepted(), TELL_MS);
  }

  stop(): void {
    this.#stopped = true;
  }

  /** Resolves once it has ended, and the port is free, or after a second. */
  async close(): Promise<void> {
    this.#channel.close();
    this.#closed.abort();
    this.#stopped = true;
    const late = new AbortController();
    await Promise.race([this.#ended ?? this.#takeAll(), pause(END_MS, late.signal)]);
    late.abort();
  }

  #tellAccepted(): void {
    const accepted = this.#accepted.splice(0).slice(-MOST_ACCEPTED);
    const sources = accepted.map(([key, source]) => [key, formatAddress(source)] as const);
    this.#channel.send({ accepted: sources } satisfies ToTaker);
  }

  async #takeAll(): Promise<void> {
    for (;;) {
      const { done, value } = await this.#messages.next();
      if (done) return;
      const { steadyMs } = this.#parts.clock.now();
      // At the end too: a flood must not hold up what puts everything back.
      if (this.#allowed.left(steadyMs) < 1) await pause(1000 / MESSAGES.perSecond * 50);
      this.#allowed.charge(1);
      if (!this.#stopped) this.#take(readMessage(value), steadyMs);
    }
  }

  #take(message: FromTaker | undefined, steadyMs: number): void {
    const { sink } = this.#parts;
    if (!message || "bound" in message || "failed" in message) return this.#tellOfJunk(steadyMs);
    if ("signed" in message) return sink.signed(message.signed);
    if ("configured" in message) return this.#configured(message.configured);
    if ("dropped" in message) {
      const { dropped, source } = message;
      return sink.dropped(dropped, () => parseAddress(source)!);
    }
    for (const [reason, datagrams] of Object.entries(message.droppedMore)) {
      sink.droppedMore(reason, datagrams);
    }
  }

  #configured(number: number): void {
    for (const each of this.#configuring) if (each.number <= number) each.done();
    this.#configuring = this.#configuring.filter((each) => each.number > number);
  }

  #tellOfJunk(steadyMs: number): void {
    this.#junk++;
    if (steadyMs - this.#toldAtMs < TELL_AGAIN_MS) return;
    this.#toldAtMs = steadyMs;
    this.#parts.log.error("taker_misbehaves", {
      messages: this.#junk,
      why: "it sent what openme's own process never sends: it may have been taken over",
      doing: "ignoring these; it can open what registered clients can, and nothing else",
      hint: "stop openme, and report this",
    });
  }
}
