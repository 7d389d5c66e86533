/**
 * The fleet process: connects to the engine and passes on what the keeper tells it and the engine says. It has neither a
 * key nor a file, and before it connects it has given up root and every permission but that for the network.
 */

import type { Channel } from "../separate/channel.ts";
import type { Clock } from "../values/moment.ts";
import { connectEngine } from "./connection.ts";
import { type FleetRole, type FromFleet, stateMessage, type ToFleet } from "./messages.ts";

/** How often the keeper hears that the process lives. */
const STATE_MS = 500;
/** Beyond that an engine has found a way around the bounds, and the process ends. */
const MOST_BYTES = 512 * 1024 * 1024;

/** What a fleet process works with. */
export interface FleetProcessParts {
  readonly messages: AsyncIterator<unknown>;
  readonly channel: Pick<Channel, "send">;
  /** Gives up every right of this process but to connect, for good. Throws where that fails. */
  readonly giveUpRights: () => void | Promise<void>;
  readonly clock: Clock;
  /** Bytes of memory that this process has. */
  readonly memory: () => number;
}

/** Runs until the keeper closes the channel. Throws where it takes too much memory. */
export async function runFleetProcess(
  { trust, ...access }: FleetRole,
  { messages, channel, giveUpRights, clock, memory }: FleetProcessParts,
): Promise<void> {
  await giveUpRights();
  const tell = (message: FromFleet) => channel.send(message);
  const engine = connectEngine({ ...access, trust: trust ?? undefined }, {
    entry: (entry) => tell({ entry }),
    changed: (state) => tell(stateMessage(state)),
  }, clock);
  const grown = Promise.withResolvers<never>();
  const ticking = setInterval(() => {
    tell(stateMessage(engine.state()));
    if (memory() > MOST_BYTES) grown.reject(new Error("the engine's replies took too much memory"));
  }, STATE_MS);
  try {
    for (;;) {
      const { done, value } = await Promise.race([messages.next(), grown.promise]);
      if (done) return;
      const message = value as ToFleet;
      if ("publish" in message) engine.publish(message.publish);
      else {
        const { claim, name, forMs } = message;
        engine.claim(name, forMs).catch(() => null).then((ours) => tell({ claimed: claim, ours }));
      }
    }
  } finally {
    clearInterval(ticking);
    await engine.close();
  }
}
