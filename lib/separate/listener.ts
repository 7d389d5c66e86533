/**
 * The keeper's side of a process that listens for requests: starts it, tells it where, and answers what it asks. The
 * process parses HTTP, so it is trusted with nothing: what it sends is short, and read only as fast as `messages` allows,
 * so it cannot make the keeper busy or grow.
 */

import { pause } from "../system/clock.ts";
import type { Listening } from "../system/http.ts";
import type { Clock } from "../values/moment.ts";
import { quote } from "../values/text.ts";
import { TokenBucket } from "../values/token_bucket.ts";
import type { StartedProcess } from "./process.ts";

const READ_ON_MS = 50;
/** How long the process may take to listen, and to end. */
const START_MS = 10_000;
const END_MS = 1000;

/** What a process is told of a question: a value, or null. */
export interface Reply {
  readonly answer: number;
  readonly value: unknown;
}

/** What it takes of a process that was started to listen. */
export type Started = Pick<StartedProcess, "channel"> & { kill(): unknown };

/** What the keeper of one process works with. */
export interface ListeningParts {
  /** For errors. */
  readonly name: string;
  /** The first message to it, which says where to listen. */
  readonly role: object;
  readonly process: Started;
  /** What is read of it. */
  readonly messages: { readonly perSecond: number; readonly capacity: number };
  /** Answers a question; `undefined` for what is none, which ends the process. */
  readonly answer: (question: unknown) => Promise<unknown> | undefined;
  readonly clock: Clock;
}

/** Has a process listen. Throws where it cannot. */
export async function listenBy(parts: ListeningParts): Promise<Listening> {
  const process = new ListeningProcess(parts);
  await process.begun;
  return process;
}

class ListeningProcess implements Listening {
  readonly #parts: ListeningParts;
  readonly #messages: AsyncIterator<unknown>;
  /** Rejects where the process does not listen. */
  readonly begun: Promise<void>;
  readonly ended: Promise<void>;
  #isClosed = false;
  #isKilled = false;
  #killer: ReturnType<typeof setTimeout> | undefined;

  constructor(parts: ListeningParts) {
    this.#parts = parts;
    this.#messages = parts.process.channel.messages[Symbol.asyncIterator]();
    this.begun = this.#begin();
    this.ended = this.begun.catch(() => this.close()).then(() => this.#answerAll());
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const { process } = this.#parts;
    process.channel.close();
    this.#killer = setTimeout(() => this.#kill(), END_MS);
  }

  /** What it has sent so far is read at once then, and ignored: it must not hold up the server's end. */
  #kill(): void {
    this.#isKilled = true;
    this.#parts.process.kill();
  }

  async #begin(): Promise<void> {
    const { name, role, process } = this.#parts;
    const killer = setTimeout(() => this.#kill(), START_MS);
    process.channel.send(role);
    const { done, value } = await this.#messages.next();
    clearTimeout(killer);
    const { listening, failed } = Object(value);
    if (listening === true) return;
    if (typeof failed === "string") throw new Error(failed);
    const said = quote(JSON.stringify(value) ?? "what is no message");
    throw new Error(
      `the ${name} process ${done ? "ended, or took too long to start" : `said ${said}`}`,
    );
  }

  /** Answers until something else than a question comes, and reads until the process has ended. */
  async #answerAll(): Promise<void> {
    const { process, messages, clock } = this.#parts;
    const bucket = new TokenBucket(messages);
    for (;;) {
      const { done, value } = await this.#messages.next();
      if (done) break;
      // At the end too: a flood must not hold up the server.
      while (!this.#isKilled && bucket.take(1, clock.now().steadyMs) === 0) {
        await pause(READ_ON_MS);
      }
      if (!this.#isClosed) await this.#answer(value);
    }
    clearTimeout(this.#killer);
    process.channel.close();
  }

  async #answer(message: unknown): Promise<void> {
    const { process, answer } = this.#parts;
    const { ask } = Object(message);
    const answering = Number.isSafeInteger(ask) ? answer(message) : undefined;
    if (!answering) return this.close();
    const reply: Reply = { answer: ask, value: await answering ?? null };
    process.channel.send(reply);
  }
}
