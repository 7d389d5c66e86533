/**
 * The keeper's side of the health process: starts it, tells it the port, and answers what it asks. The process parses
 * HTTP, so it is trusted with nothing. It learns only of addresses that hold a grant for the port now; what it sends is
 * typed and short, and read only as fast as {@linkcode MESSAGES} allows, so it cannot make the keeper busy or grow.
 */

import type { HealthSource, Listening } from "../health/listener.ts";
import type { Listen } from "../health/port.ts";
import { pause } from "../system/clock.ts";
import { type Address, parseAddress } from "../values/address.ts";
import type { Clock } from "../values/moment.ts";
import { quote } from "../values/text.ts";
import { TokenBucket } from "../values/token_bucket.ts";
import type { StartedProcess } from "./process.ts";

/** What is read of the process: two messages for each request. */
const MESSAGES = { perSecond: 200, capacity: 400 };
const READ_ON_MS = 50;
/** How long the process may take to listen, and to end. */
const START_MS = 10_000;
const END_MS = 1000;

/** What the process is told first. */
export interface HealthRole {
  readonly role: "health";
  readonly port: number;
  /** Addresses to listen on: `::`, and `0.0.0.0` too where `::` takes no IPv4. */
  readonly wildcards: readonly string[];
}

/** What the process asks: whether an address holds a grant, or the answer to a request of it. */
export interface HealthQuestion {
  readonly ask: number;
  readonly of: "grant" | "report";
  readonly address: string;
}

/** What it is told then: a boolean, or a `HealthAnswer` or null. */
export interface HealthReply {
  readonly answer: number;
  readonly value: unknown;
}

/** What it takes of a process that was started for the port. */
type Started = Pick<StartedProcess, "channel"> & { kill(): unknown };

/** Listens in a process of its own. */
export function listenInProcess(
  { start, wildcards, clock }: {
    readonly start: () => Promise<Started>;
    readonly wildcards: readonly string[];
    readonly clock: Clock;
  },
): Listen {
  return async (port, source) => {
    const role: HealthRole = { role: "health", port, wildcards };
    const process = new HealthProcess(role, { process: await start(), source, clock });
    await process.begun;
    return process;
  };
}

class HealthProcess implements Listening {
  readonly #process: Started;
  readonly #messages: AsyncIterator<unknown>;
  readonly #source: HealthSource;
  readonly #clock: Clock;
  /** Rejects where the process does not listen. */
  readonly begun: Promise<void>;
  readonly ended: Promise<void>;
  #isClosed = false;
  #killer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    role: HealthRole,
    { process, source, clock }: {
      readonly process: Started;
      readonly source: HealthSource;
      readonly clock: Clock;
    },
  ) {
    this.#process = process;
    this.#messages = process.channel.messages[Symbol.asyncIterator]();
    this.#source = source;
    this.#clock = clock;
    this.begun = this.#begin(role);
    this.ended = this.begun.catch(() => this.close()).then(() => this.#answerAll());
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#process.channel.close();
    this.#killer = setTimeout(() => this.#process.kill(), END_MS);
  }

  async #begin(role: HealthRole): Promise<void> {
    const killer = setTimeout(() => this.#process.kill(), START_MS);
    this.#process.channel.send(role);
    const { done, value } = await this.#messages.next();
    clearTimeout(killer);
    const { listening, failed } = Object(value);
    if (listening === true) return;
    if (typeof failed === "string") throw new Error(failed);
    const said = quote(JSON.stringify(value) ?? "what is no message");
    throw new Error(
      `the health process ${done ? "ended, or took too long to start" : `said ${said}`}`,
    );
  }

  /** Answers until something else than a question comes, and reads until the process has ended. */
  async #answerAll(): Promise<void> {
    const bucket = new TokenBucket(MESSAGES);
    for (;;) {
      const { done, value } = await this.#messages.next();
      if (done) break;
      // At the end too: a flood must not hold up the server.
      while (bucket.take(1, this.#clock.now().steadyMs) === 0) await pause(READ_ON_MS);
      const question = readQuestion(value);
      if (!question) this.close();
      else if (!this.#isClosed) await this.#answer(question);
    }
    clearTimeout(this.#killer);
    this.#process.channel.close();
  }

  async #answer({ ask, of, address }: ReadQuestion): Promise<void> {
    const known = of === "grant"
      ? await this.#source.knows(address)
      : await this.#source.answerFor(address);
    const reply: HealthReply = { answer: ask, value: known ?? null };
    this.#process.channel.send(reply);
  }
}

type ReadQuestion = Omit<HealthQuestion, "address"> & { readonly address: Address };

function readQuestion(message: unknown): ReadQuestion | undefined {
  const { ask, of, address: text } = Object(message);
  const address = typeof text === "string" ? parseAddress(text) : undefined;
  const isQuestion = Number.isSafeInteger(ask) && (of === "grant" || of === "report");
  return isQuestion && address ? { ask, of, address } : undefined;
}
