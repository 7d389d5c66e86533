/** Questions of a host to all others of its fleet, and the answers, through the stream. Bounded both ways. */

import { joinParts, MOST_PARTS, partsOf } from "./entry.ts";

/** What a host has answered: a value, or why there is none. */
export interface HostAnswer {
  readonly host: string;
  readonly value: unknown;
  readonly error: string | undefined;
}

/** Who is asked: a host, by its name and that of its process. */
export interface AskedHost {
  readonly host: string;
  readonly claimant: string;
}

/** A question that waits for its answers. */
interface Asked {
  /** By the host's process: the parts that have come. */
  readonly parts: Map<string, string[]>;
  /** By the host's process: what was answered in full. */
  readonly answers: Map<string, { readonly host: string; readonly answer: unknown }>;
  readonly expected: readonly AskedHost[];
  readonly done: () => void;
}

const MOST_ASKED = 16;
const MOST_HOSTS = 1024;
/** Questions that are remembered, so that none is answered twice; and those that are being answered at once. */
const MOST_SEEN = 4096;
const MOST_ANSWERING = 4;

/** What an exchange of questions works with. */
export interface AskingParts {
  readonly send: (
    body:
      | { readonly ask: unknown; readonly id: string }
      | { readonly answer: string; readonly id: string; readonly part: number; parts: number },
  ) => void;
  /** Answers a question of another host. */
  readonly answer: (request: unknown, host: string) => Promise<unknown>;
  readonly newId: () => string;
}

/** One host's questions and answers. */
export class Asking {
  readonly #parts: AskingParts;
  readonly #asked = new Map<string, Asked>();
  readonly #seen = new Set<string>();
  #answering = 0;

  constructor(parts: AskingParts) {
    this.#parts = parts;
  }

  /** Asks everyone; resolves once those that are expected have answered, or `late` has. */
  async ask(
    request: unknown,
    expected: readonly AskedHost[],
    late: Promise<unknown>,
  ): Promise<HostAnswer[]> {
    if (this.#asked.size >= MOST_ASKED) throw new RangeError("too many questions at once");
    const id = this.#parts.newId();
    const { promise, resolve } = Promise.withResolvers<void>();
    const asked: Asked = {
      parts: new Map(),
      answers: new Map(),
      expected,
      done: resolve,
    };
    this.#asked.set(id, asked);
    this.#parts.send({ ask: request, id });
    if (expected.length === 0) resolve();
    await Promise.race([promise, late]);
    this.#asked.delete(id);
    const silent = expected.filter(({ claimant }) => !asked.answers.has(claimant));
    return [
      ...[...asked.answers.values()].map(({ host, answer }) => answerOf(host, answer)),
      ...silent.map(({ host }) => ({ host, value: undefined, error: "no answer in time" })),
    ].sort((a, b) => a.host.localeCompare(b.host));
  }

  /** Another host asks. */
  async take({ ask, id }: { ask: unknown; id: string }, host: string): Promise<void> {
    if (this.#seen.has(id) || this.#answering >= MOST_ANSWERING) return;
    this.#seen.add(id);
    if (this.#seen.size > MOST_SEEN) this.#seen.delete(this.#seen.values().next().value!);
    this.#answering++;
    const answer = await this.#parts.answer(ask, host)
      .then((value) => ({ value }), (cause) => ({ error: String(cause?.message ?? cause) }));
    this.#answering--;
    const parts = partsOf(answer);
    parts.forEach((each, part) =>
      this.#parts.send({ answer: each, id, part, parts: parts.length })
    );
  }

  /** A part of another host's answer. */
  takePart(
    { answer, id, part, parts }: { answer: string; id: string; part: number; parts: number },
    { host, claimant }: AskedHost,
  ): void {
    const asked = this.#asked.get(id);
    if (!asked || parts > MOST_PARTS || asked.answers.has(claimant)) return;
    const got = asked.parts.get(claimant) ?? [];
    if (!asked.parts.has(claimant) && asked.parts.size >= MOST_HOSTS) return;
    asked.parts.set(claimant, got);
    got[part] = answer;
    if (got.length !== parts || Array.from(got).includes(undefined as unknown as string)) return;
    asked.answers.set(claimant, { host, answer: joinParts(got) });
    asked.parts.set(claimant, []);
    if (asked.expected.every((each) => asked.answers.has(each.claimant))) asked.done();
  }
}

function answerOf(host: string, answer: unknown): HostAnswer {
  const { value, error } = Object(answer);
  return { host, value, error: typeof error === "string" ? error.slice(0, 500) : undefined };
}
