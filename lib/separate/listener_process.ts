/**
 * A process that listens for requests and answers them with what the keeper tells it. It has neither a key nor a file nor a
 * grant, and before it reads a byte of a client it has given up root and every permission.
 */

import type { Listening } from "../system/http.ts";
import { messageOf } from "../values/errors.ts";
import type { Channel } from "./channel.ts";
import type { Reply } from "./listener.ts";

/** What such a process works with. */
export interface ListenerProcessParts {
  readonly messages: AsyncIterator<unknown>;
  readonly channel: Pick<Channel, "send">;
  /** Gives up every right of this process, for good. Throws where that fails. */
  readonly giveUpRights: () => void | Promise<void>;
}

/** Asks the keeper a question, and gives its reply. */
export type AskKeeper = (question: object) => Promise<unknown>;

/** Answers until the keeper closes the channel. */
export async function runListenerProcess<L extends Deno.Listener>(
  { bind, serve }: {
    readonly bind: () => L[] | Promise<L[]>;
    readonly serve: (listeners: readonly L[], ask: AskKeeper) => Listening;
  },
  { messages, channel, giveUpRights }: ListenerProcessParts,
): Promise<void> {
  let listeners: L[] = [];
  try {
    listeners = await bind();
    await giveUpRights();
  } catch (cause) {
    for (const listener of listeners) listener.close();
    return channel.send({ failed: messageOf(cause).slice(0, 200) });
  }
  const waiting = new Map<number, (value: unknown) => void>();
  let asked = 0;
  const listening = serve(listeners, (question) => {
    const { promise, resolve } = Promise.withResolvers<unknown>();
    waiting.set(++asked, resolve);
    channel.send({ ask: asked, ...question });
    return promise;
  });
  channel.send({ listening: true });
  for (let next = await messages.next(); !next.done; next = await messages.next()) {
    const { answer, value } = next.value as Reply;
    waiting.get(answer)?.(value);
    waiting.delete(answer);
  }
  listening.close();
}
