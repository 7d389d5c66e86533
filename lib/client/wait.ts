/**
 * Knocks until a port accepts, for `knock --wait`, `connect` and `status --knock`. A datagram can be lost, so it knocks
 * again after a second of silence; each knock is fresh, and one too many only restarts the grant's time.
 */

import type { Address } from "../values/address.ts";
import { addressesOf, knockAt, type Sent, type SigningProfile, wayOf } from "./knock.ts";
import { pause } from "../system/clock.ts";
import { dialFirst, type Dialled } from "./dial.ts";
import type { Log } from "../system/log.ts";

/** How long after a knock the next one is sent. */
export const KNOCK_AGAIN_MS = 1000;
/**
 * How long after a knock the first connection is tried. One that is too early is dropped, and the system repeats it only
 * after a second.
 */
const OPENS_WITHIN_MS = 100;

/** What is to open, and how long it may take. */
export interface WaitOptions {
  /** The host to connect to; `undefined` for the profile's server. */
  readonly host: string | undefined;
  readonly port: number;
  /** The address to let in; `undefined` for the source of the knock. */
  readonly target: Address | undefined;
  readonly family: 4 | 6 | undefined;
  readonly timeoutMs: number;
  /** Logs each knock at debug. */
  readonly log?: Log | undefined;
  /** How long not to knock, while an earlier knock is under way. @default {0} */
  readonly quietMs?: number;
  /** Called after every round of knocks. */
  readonly knocked?: (sent: readonly Sent[]) => Promise<void>;
}

/** The connection or the attempts, the first knocks, and how many rounds of knocks there were. */
export type Waited = Dialled & {
  readonly sent: readonly Sent[];
  readonly knocks: number;
  /** The name that had not resolved when the time was over. */
  readonly unresolved?: string;
};

/** Rejects with `OpenmeError`, code `SOCKET`, where a name does not resolve or not even the first knock could be sent. */
export async function knockUntilOpen(
  profile: SigningProfile,
  options: WaitOptions,
): Promise<Waited> {
  const { host = profile.serverHost, port, target, family, timeoutMs } = options;
  const { quietMs = 0, knocked, log } = options;
  const way = await wayOf(profile, family);
  const over = new AbortController();
  let timer = setTimeout(() => over.abort(), timeoutMs);
  const startMs = performance.now();
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
      const sent = await knockAt(knockAddresses, profile, { target, way, log });
      knocks++;
      await knocked?.(sent);
      return sent;
    };
    // The first knock is not on the clock: an agent may ask its user before it signs.
    const leftMs = startMs + timeoutMs - performance.now();
    clearTimeout(timer);
    const sent = quietMs > 0 ? [] : await knockOnce();
    timer = setTimeout(() => over.abort(), leftMs);
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

/** The result of `work`, or `undefined` once `signal` aborts: the system's resolver takes no deadline. */
export async function inTime<T>(work: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  const over = Promise.withResolvers<undefined>();
  const end = () => over.resolve(undefined);
  if (signal.aborted) end();
  signal.addEventListener("abort", end, { once: true });
  try {
    return await Promise.race([work, over.promise]);
  } finally {
    signal.removeEventListener("abort", end);
    work.catch(() => {}); // a failure after the time is over
  }
}
