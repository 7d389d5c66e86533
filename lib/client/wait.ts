/**
 * Knocks until a port accepts: what `knock --wait`, `connect` and `status --knock` share. A datagram can be lost, so a
 * second of silence is answered with another knock; each is fresh, and one too many only restarts the grant's time.
 */

import type { Address } from "../values/address.ts";
import { addressesOf, knockAt, type Sent, wayOf } from "./knock.ts";
import type { Profile } from "../config/profiles.ts";
import { pause } from "../system/clock.ts";
import { dialFirst, type Dialled } from "./dial.ts";
import type { Log } from "../system/log.ts";

/** How long nothing may happen before the next knock. */
export const KNOCK_AGAIN_MS = 1000;
/**
 * What the server is given to open before the first attempt. One that came too early would be dropped, and the system
 * repeats it only after a second.
 */
const OPENS_WITHIN_MS = 100;

/** What is to open, and how long it may take. */
export interface WaitOptions {
  /** Whom to connect to: the profile's server, where it is `undefined`. */
  readonly host: string | undefined;
  readonly port: number;
  /** Who is to be let in: whoever the knock comes from, where it is `undefined`. */
  readonly target: Address | undefined;
  readonly family: 4 | 6 | undefined;
  readonly timeoutMs: number;
  /** Told of each knock, at debug. */
  readonly log?: Log;
  /** How long not to knock: an earlier knock is still under way. @default {0} */
  readonly quietMs?: number;
  /** Told of every round of knocks that was sent. */
  readonly knocked?: (sent: readonly Sent[]) => Promise<void>;
}

/** What came of it, what became of the first knocks, and how many times it knocked. */
export type Waited = Dialled & {
  readonly sent: readonly Sent[];
  readonly knocks: number;
  /** The name that had not resolved when the time was over, so that nothing was tried. */
  readonly unresolved?: string;
};

/** Rejects with `OpenmeError`, code `SOCKET`, where a name does not resolve or not even the first knock could be sent. */
export async function knockUntilOpen(profile: Profile, options: WaitOptions): Promise<Waited> {
  const { host = profile.serverHost, port, target, family, timeoutMs } = options;
  const { quietMs = 0, knocked, log } = options;
  const way = await wayOf(profile, family);
  const over = new AbortController();
  const timer = setTimeout(() => over.abort(), timeoutMs);
  try {
    const knockAddresses = await inTime(addressesOf(profile.serverHost, way), over.signal);
    const addresses = host === profile.serverHost || !knockAddresses
      ? knockAddresses
      : await inTime(addressesOf(host, way, "the HOST that was given"), over.signal);
    if (!knockAddresses || !addresses) {
      const unresolved = knockAddresses ? host : profile.serverHost;
      return { kind: "closed", tried: [], sent: [], knocks: 0, unresolved };
    }
    let knocks = 0;
    const knockOnce = async () => {
      const sent = await knockAt(knockAddresses, profile, {
        target,
        way,
        ...(log && { log }),
      });
      knocks++;
      await knocked?.(sent);
      return sent;
    };
    const sent = quietMs > 0 ? [] : await knockOnce();
    const knocking = (async () => {
      for (let pauseMs = quietMs || KNOCK_AGAIN_MS;; pauseMs = KNOCK_AGAIN_MS) {
        await pause(pauseMs, over.signal);
        if (over.signal.aborted) return;
        // A network that goes away for a moment may be back at the next one.
        await knockOnce().catch(() => {});
      }
    })();
    if (quietMs === 0) await pause(OPENS_WITHIN_MS, over.signal);
    const dialled = await dialFirst(addresses, port, over.signal, way.from);
    over.abort();
    await knocking;
    return { ...dialled, sent, knocks };
  } finally {
    clearTimeout(timer);
    over.abort();
  }
}

/** What comes of `work`, or `undefined` once `signal` aborts: the system's resolver takes no deadline. */
export async function inTime<T>(work: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  const over = Promise.withResolvers<undefined>();
  const end = () => over.resolve(undefined);
  if (signal.aborted) end();
  signal.addEventListener("abort", end, { once: true });
  try {
    return await Promise.race([work, over.promise]);
  } finally {
    signal.removeEventListener("abort", end);
    work.catch(() => {}); // what becomes of it later is nobody's concern
  }
}
