/**
 * Knocks until a port accepts, for `knock --wait`, `connect` and `status --knock`. A datagram can be lost, so it knocks
 * again after a second of silence; each knock is fresh, and one too many only restarts the grant's time.
 */

import { type Address, formatAddress } from "../values/address.ts";
import { type Door, takeTurns, type Turns } from "./hosts.ts";
import { knockAt, type Sent, type SigningProfile } from "./knock.ts";
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

/** How long a code is surely good after it was given: a server takes it to the end of the next 30 s. */
const CODE_GOOD_MS = 25_000;

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

/** The connection or the attempts, the first knocks at each host, and how many rounds of knocks there were. */
export type Waited = Dialled & {
  /** The door of the connection, or the last one. */
  readonly door?: Door | undefined;
  readonly sent: readonly Sent[];
  readonly knocks: number;
  /** Why hosts could not be knocked at. */
  readonly missed?: readonly string[] | undefined;
  /** The name that had not resolved when the time was over. */
  readonly unresolved?: string | undefined;
};

/** Without a connection. */
export type Closed = Waited & { readonly kind: "closed" };

/** Rejects with `OpenmeError`, code `SOCKET`, where a name does not resolve or not even one knock could be sent. */
export async function knockUntilOpen(
  profile: SigningProfile,
  options: WaitOptions,
): Promise<Waited> {
  const turns = await takeTurns(
    profile,
    options,
    (door, { turnMs }) => waitAt(profile, door, { ...options, timeoutMs: turnMs }),
    ({ kind }) => kind === "open",
  );
  const last = turns.outcomes.at(-1);
  return last?.kind === "open" ? { ...last, ...knocksOf(turns.outcomes) } : closedOf(turns);
}

/** One result of turns in which nothing opened. */
export function closedOf({ outcomes, missed, unresolved }: Turns<Waited>): Closed {
  const attempts = outcomes.flatMap((each) => each.kind === "closed" ? each.tried : []);
  const latest = new Map(attempts.map((each) => [formatAddress(each.address), each]));
  const door = outcomes.at(-1)?.door;
  const tried = [...latest.values()];
  return { kind: "closed", tried, door, ...knocksOf(outcomes), missed, unresolved };
}

/** The knocks of all turns. */
function knocksOf(outcomes: readonly Waited[]): Pick<Waited, "sent" | "knocks"> {
  return {
    sent: firstOf(outcomes.flatMap(({ sent }) => sent)),
    knocks: outcomes.reduce((sum, { knocks }) => sum + knocks, 0),
  };
}

/** The first knock at each address. */
export function firstOf(sent: readonly Sent[]): Sent[] {
  const places = new Map<string, Sent>();
  for (const each of sent) {
    const place = `${each.host} ${formatAddress(each.address)}`;
    if (!places.has(place)) places.set(place, each);
  }
  return [...places.values()];
}

/** Knocks at one door until it opens. Rejects as {@linkcode knockUntilOpen} does. */
export async function waitAt(
  profile: SigningProfile,
  door: Door,
  options: Omit<WaitOptions, "host" | "family">,
): Promise<Waited> {
  const { port, target, timeoutMs, quietMs = 0, knocked, log } = options;
  const { host, knockAt: knockAddresses, dial, way } = door;
  const over = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    let knocks = 0;
    const knockOnce = async () => {
      const sent = await knockAt(knockAddresses, { ...profile, serverHost: host }, {
        target,
        way,
        log,
      });
      knocks++;
      await knocked?.(sent);
      return sent;
    };
    // The first knock is not on the clock: an agent may ask its user before it signs.
    const sent = quietMs > 0 || isPast(profile.code) ? [] : await knockOnce();
    timer = setTimeout(() => over.abort(), timeoutMs);
    const knocking = (async () => {
      for (let pauseMs = quietMs || KNOCK_AGAIN_MS;; pauseMs = KNOCK_AGAIN_MS) {
        await pause(pauseMs, over.signal);
        if (over.signal.aborted || isPast(profile.code)) return;
        // A network that goes away for a moment may be back at the next one.
        await knockOnce().catch(() => {});
      }
    })();
    if (quietMs === 0) await pause(OPENS_WITHIN_MS, over.signal);
    const dialled = await dialFirst(dial, port, over.signal, way.from);
    over.abort();
    await knocking;
    return { ...dialled, door, sent, knocks };
  } finally {
    clearTimeout(timer);
    over.abort();
  }
}

/** A code that is good no longer would count as a wrong one. */
function isPast(code: SigningProfile["code"]): boolean {
  return code !== undefined && performance.now() - code.givenMs > CODE_GOOD_MS;
}
