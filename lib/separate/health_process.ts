/**
 * The health process: listens on the health port and answers requests with what the keeper tells it. It has neither a key
 * nor a file nor a grant, and before it reads a byte of a client it has given up root and every permission.
 */

import {
  bindHealthPort,
  type HealthAnswer,
  type HealthSource,
  serveHealth,
} from "../health/listener.ts";
import { type Address, formatAddress } from "../values/address.ts";
import { messageOf } from "../values/errors.ts";
import type { Channel } from "./channel.ts";
import type { HealthQuestion, HealthReply, HealthRole } from "./health.ts";

/** What a health process works with. */
export interface HealthProcessParts {
  readonly messages: AsyncIterator<unknown>;
  readonly channel: Pick<Channel, "send">;
  /** Gives up every right of this process, for good. Throws where that fails. */
  readonly giveUpRights: () => void | Promise<void>;
}

/** Answers until the keeper closes the channel. */
export async function runHealthProcess(
  { port, wildcards }: HealthRole,
  { messages, channel, giveUpRights }: HealthProcessParts,
): Promise<void> {
  const keeper = new KeeperSource(channel);
  let listeners: Deno.TcpListener[] = [];
  try {
    listeners = bindHealthPort(port, wildcards);
    await giveUpRights();
  } catch (cause) {
    for (const listener of listeners) listener.close();
    return channel.send({ failed: messageOf(cause).slice(0, 200) });
  }
  const listening = serveHealth(listeners, keeper);
  channel.send({ listening: true });
  for (let next = await messages.next(); !next.done; next = await messages.next()) {
    keeper.take(next.value as HealthReply);
  }
  listening.close();
}

/** Asks the keeper, which alone knows the grants. */
class KeeperSource implements HealthSource {
  readonly #channel: Pick<Channel, "send">;
  readonly #waiting = new Map<number, (value: unknown) => void>();
  #asked = 0;

  constructor(channel: Pick<Channel, "send">) {
    this.#channel = channel;
  }

  async knows(address: Address): Promise<boolean> {
    return await this.#ask("grant", address) === true;
  }

  async answerFor(address: Address): Promise<HealthAnswer | undefined> {
    return await this.#ask("report", address) as HealthAnswer | null ?? undefined;
  }

  /** Called for each message of the keeper. */
  take({ answer, value }: HealthReply): void {
    this.#waiting.get(answer)?.(value);
    this.#waiting.delete(answer);
  }

  #ask(of: HealthQuestion["of"], address: Address): Promise<unknown> {
    const question: HealthQuestion = { ask: ++this.#asked, of, address: formatAddress(address) };
    const { promise, resolve } = Promise.withResolvers<unknown>();
    this.#waiting.set(question.ask, resolve);
    this.#channel.send(question);
    return promise;
  }
}
