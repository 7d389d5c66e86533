/**
 * The taker: a process that receives strangers' datagrams and finds the knocks of registered clients among them. It holds
 * the knock socket, the server's key and the clients' public keys, and nothing else: no file, no right, no state.
 */

import { hexToBytes, type VerifySignature } from "../crypto/keys.ts";
import { clientKeyHint, signatureVerifier } from "../crypto/sync.ts";
import type { GateClient } from "../gate.ts";
import type { KeyIndex } from "../receive/candidates.ts";
import { Intake, type KnockConfig, type KnockSink } from "../receive/intake.ts";
import type { KnockSocket } from "../receive/socket.ts";
import { DROP_LINES } from "../receive/server_log.ts";
import { CurrentStamps } from "../receive/stamps.ts";
import { formatAddress, parseAddress } from "../values/address.ts";
import { messageOf, OpenmeError } from "../values/errors.ts";
import type { Clock } from "../values/moment.ts";
import { inSlices } from "../system/slices.ts";
import type { Channel } from "./channel.ts";
import {
  type FromTaker,
  type KnocksRole,
  type SentConfig,
  sentMessage,
  type TakerDrop,
  type ToTaker,
} from "./messages.ts";

const SECOND_MS = 1000;

/** What a taker works with. */
export interface TakerParts {
  readonly messages: AsyncIterator<unknown>;
  readonly channel: Pick<Channel, "send">;
  readonly bind: (port: number, wildcards: readonly string[]) => Promise<KnockSocket>;
  /** Gives up every right of this process, for good. Throws where that fails. */
  readonly giveUpRights: () => Promise<void>;
  /** The network namespace of this process. */
  readonly namespace: string;
  readonly clock: Clock;
}

/** Takes knocks until the keeper closes the channel. */
export async function runTaker(
  { port, wildcards, config }: KnocksRole,
  { messages, channel, bind, giveUpRights, namespace, clock }: TakerParts,
): Promise<void> {
  const send = (message: FromTaker) => channel.send(sentMessage(message));
  const keys = new ReceivedKeys();
  let socket: KnockSocket | undefined;
  let known: KnockConfig;
  try {
    socket = await bind(port, wildcards);
    known = await keys.configOf(config);
    await giveUpRights();
  } catch (cause) {
    const hint = cause instanceof OpenmeError ? cause.hint : undefined;
    socket?.close();
    return send({ failed: messageOf(cause), hint, isPort: socket === undefined });
  }
  const stamps = new CurrentStamps(known, clock.now());
  const drops = new Drops(send);
  const sink = {
    signed: (signed) => send({ signed }),
    dropped: (reason, source) => drops.add(reason as TakerDrop, source),
  } satisfies Omit<KnockSink, "droppedMore">;
  const intake = new Intake(known, { socket, stamps, clock, sink });
  const end = new AbortController();
  const timer = setInterval(() => {
    drops.tick();
    const now = clock.now();
    if (stamps.isDue(now)) stamps.renew(now);
  }, SECOND_MS);
  send({ bound: namespace });
  let listening = Promise.resolve();
  for (let next = await messages.next(); !next.done; next = await messages.next()) {
    const message = next.value as ToTaker;
    if ("take" in message) {
      listening = intake.listen(end.signal);
      listening.catch((cause) => {
        throw cause; // ends the process, and with it the server
      });
    } else if ("config" in message) {
      const changed = await keys.configOf(message.config);
      stamps.reconfigure(changed, clock.now());
      intake.reconfigure(changed);
      send({ configured: message.number });
    } else {
      for (const [key, source] of message.accepted) intake.accepted(key, parseAddress(source)!);
    }
  }
  clearInterval(timer);
  end.abort();
  await listening;
}

/** The clients' keys of one configuration after the other. */
class ReceivedKeys {
  #byKey: ReadonlyMap<string, GateClient> = new Map();

  async configOf(sent: SentConfig): Promise<KnockConfig> {
    const { privateKey, previousPrivateKey, publicKey, clientKeys, ...rest } = sent;
    const keys = await inSlices(this.#index(clientKeys));
    this.#byKey = keys.byKey;
    return {
      ...rest,
      privateKey: hexToBytes(privateKey),
      previousPrivateKey: previousPrivateKey === null ? undefined : hexToBytes(previousPrivateKey),
      publicKey: hexToBytes(publicKey),
      keys,
    };
  }

  /** A key that was known before keeps its object: making one takes time. */
  *#index(clientKeys: readonly string[]): Generator<void, KeyIndex, void> {
    const byKey = new Map<string, GateClient>();
    const byHint = new Map<number, GateClient[]>();
    for (const key of clientKeys) {
      const publicKey = hexToBytes(key);
      const client = this.#byKey.get(key) ?? clientOf(key, signatureVerifier(publicKey));
      byKey.set(key, client);
      const hint = clientKeyHint(publicKey);
      byHint.set(hint, [...byHint.get(hint) ?? [], client]);
      yield;
    }
    return { byKey, byHint };
  }
}

/** Names and ends of keys are the keeper's. */
function clientOf(key: string, verify: VerifySignature): GateClient {
  return { name: "", key, verify, expiresNs: undefined };
}

/** Tells of as many single drops as the keeper logs; of the others once a second how many there were. */
class Drops {
  readonly #send: (message: FromTaker) => void;
  #left = DROP_LINES;
  #more: Partial<Record<TakerDrop, number>> = {};

  constructor(send: (message: FromTaker) => void) {
    this.#send = send;
  }

  add(reason: TakerDrop, source: Parameters<KnockSink["dropped"]>[1]): void {
    if (this.#left-- > 0) this.#send({ dropped: reason, source: formatAddress(source()) });
    else this.#more[reason] = (this.#more[reason] ?? 0) + 1;
  }

  tick(): void {
    if (Object.keys(this.#more).length > 0) this.#send({ droppedMore: this.#more });
    this.#more = {};
    this.#left = DROP_LINES;
  }
}
