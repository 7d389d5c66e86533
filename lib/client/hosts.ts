/**
 * The hosts of a profile, which share the server's key and hand each accepted knock to each other (docs/client.md,
 * "Several hosts"). One knock is enough, so they are tried in turn. The addresses of one name are tried in turn as well,
 * where it has several of a family. Each knock is sealed anew: a copy would be a replay to the other hosts.
 */

import type { Profile } from "../config/profiles.ts";
import { pause } from "../system/clock.ts";
import type { Address } from "../values/address.ts";
import { OpenmeError } from "../values/errors.ts";
import { inTime } from "./deadline.ts";
import {
  addressesOf,
  type Attempted,
  knock,
  type KnockOptions,
  type SigningProfile,
  type Way,
  wayOf,
} from "./knock.ts";

/** How long a host may take to open before the next is knocked at: time for a second knock, if one was lost. */
export const TURN_MS = 2000;
/** No turn is shorter: nothing opens faster. */
const LEAST_TURN_MS = 100;

/** Where to knock, and where to connect to then. */
export interface Door {
  /** The host to knock at, as the profile has it. */
  readonly host: string;
  /** At most one address of each family, where there are other doors. */
  readonly knockAt: readonly Address[];
  /** The host to connect to. */
  readonly dialledHost: string;
  readonly dial: readonly Address[];
  readonly way: Way;
}

/** What is to open, and in how much time. */
interface TurnOptions {
  /** The host to connect to; `undefined` for the one that was knocked at. */
  readonly host: string | undefined;
  readonly family: 4 | 6 | undefined;
  readonly timeoutMs: number;
}

/** What a turn may take, ms: until something has opened, and in all. */
export interface TurnTime {
  readonly turnMs: number;
  readonly leftMs: number;
}

/** What the turns were, the deciding one last. */
export interface Turns<T> {
  readonly outcomes: readonly T[];
  /** Why hosts could not be knocked at. */
  readonly missed: readonly string[];
  /** The name that had not resolved when the time was over. */
  readonly unresolved?: string;
}

/** The hosts of a profile, in the order in which they are tried. */
export function hostsOf({ serverHost, otherHosts = [] }: Profile): readonly string[] {
  return [serverHost, ...otherHosts];
}

/** The profile with this host of its own first; `undefined` where it has no such host. */
export function withFirstHost<P extends Profile>(profile: P, host: string): P | undefined {
  const hosts = hostsOf(profile);
  const serverHost = hosts.find((each) => each.toLowerCase() === host.toLowerCase());
  if (serverHost === undefined) return undefined;
  return { ...profile, serverHost, otherHosts: hosts.filter((each) => each !== serverHost) };
}

/** The profile with its first host alone. */
export function withoutOthers<P extends Profile>(profile: P): P {
  return { ...profile, otherHosts: undefined };
}

/** Knocks at every host, for when there is no look at what opens. Throws, code `SOCKET`, where no knock could be sent. */
export async function knockAtEach(
  profile: SigningProfile,
  options: KnockOptions,
): Promise<readonly Attempted[]> {
  if (!profile.otherHosts) return await knock(profile, options);
  const sent = await Promise.all(
    hostsOf(profile).map(async (host): Promise<readonly Attempted[]> => {
      try {
        return await knock({ ...profile, serverHost: host }, options);
      } catch (cause) {
        if (!isUnsent(cause)) throw cause;
        return [{ host, address: undefined, failure: cause.message }];
      }
    }),
  );
  const failures = sent.flat().flatMap(({ failure }) => failure ?? []);
  if (failures.length === sent.flat().length) throw noneSent(profile, failures);
  return sent.flat();
}

/**
 * Tries one door after another, and then again from the first, until one is open or the time is over. A profile with a single
 * door has one turn, which may take all of the time. Throws, code `SOCKET`, where no knock could be sent.
 */
export async function takeTurns<T extends { readonly kind: string }>(
  profile: SigningProfile,
  { host: given, family, timeoutMs }: TurnOptions,
  turn: (door: Door, time: TurnTime) => Promise<T>,
  isOpen: (outcome: T) => boolean,
): Promise<Turns<T>> {
  const chosen = given === undefined ? undefined : withFirstHost(profile, given);
  const asked = chosen?.serverHost ?? given;
  const hosts = hostsOf(chosen ?? profile);
  const isOnlyHost = hosts.length === 1;
  const way = await wayOf(profile, family);
  const outcomes: T[] = [];
  const missed = new Set<string>();
  let leftMs = timeoutMs;
  const mostMs = (isOnly: boolean) => isOnly ? leftMs : Math.min(TURN_MS, leftMs);
  const isOver = () => leftMs < LEAST_TURN_MS && outcomes.length + missed.size > 0;
  const resolve = async (host: string) => {
    const startMs = performance.now();
    const addresses = await resolveWithin(mostMs(isOnlyHost), {
      ...{ host, way, source: hosts.includes(host) ? undefined : "the HOST that was given" },
    });
    leftMs -= performance.now() - startMs;
    return addresses;
  };
  const miss = (cause: unknown, isOnly: boolean) => {
    if (isOnly || !isUnsent(cause)) throw cause;
    missed.add(cause.message);
  };

  const target = asked === undefined ? undefined : await resolve(asked);
  if (asked !== undefined && !target) return { outcomes, missed: [], unresolved: asked };
  const doors = new Map<string, readonly Door[]>();
  const findDoors = async (host: string) => {
    try {
      const addresses = host === asked ? target : await resolve(host);
      if (!addresses) missed.add(`${host}: no answer from the name server`);
      else doors.set(host, doorsOf(addresses, { host, asked, target, way }));
    } catch (cause) {
      miss(cause, isOnlyHost);
    }
  };
  do {
    const roundMs = performance.now();
    for (const host of hosts) {
      if (isOver()) break;
      if (!doors.has(host)) await findDoors(host);
      if (isOnlyHost && !doors.has(host)) return { outcomes, missed: [], unresolved: host };
      for (const door of doors.get(host) ?? []) {
        if (isOver()) break;
        const isOnly = isOnlyHost && doors.get(host)?.length === 1;
        const startMs = performance.now();
        let spentMs = mostMs(isOnly);
        try {
          const outcome = await turn(door, { turnMs: spentMs, leftMs });
          outcomes.push(outcome);
          if (isOnly || isOpen(outcome)) return { outcomes, missed: [...missed] };
          if (outcome.kind !== "closed") spentMs = leftMs;
        } catch (cause) {
          miss(cause, isOnly);
        }
        // The time of the first signature is not counted: a person may have been asked.
        leftMs -= Math.min(spentMs, performance.now() - startMs);
      }
    }
    if (outcomes.length === 0) throw noneSent(profile, [...missed]);
    const idleMs = Math.min(leftMs, roundMs + TURN_MS - performance.now());
    await pause(idleMs);
    leftMs -= Math.max(0, idleMs);
  } while (!isOver());
  return { outcomes, missed: [...missed] };
}

/** The addresses of a host, or `undefined` once the time is over. */
async function resolveWithin(
  timeoutMs: number,
  { host, way, source }: {
    readonly host: string;
    readonly way: Way;
    readonly source: string | undefined;
  },
): Promise<readonly Address[] | undefined> {
  const over = new AbortController();
  const timer = setTimeout(() => over.abort(), timeoutMs);
  try {
    return await inTime(addressesOf(host, way, source), over.signal);
  } finally {
    clearTimeout(timer);
  }
}

/** The doors of a host: its addresses, or the first of each family, then the second, and so on. */
function doorsOf(
  addresses: readonly Address[],
  { host, asked = host, target = addresses, way }: {
    readonly host: string;
    readonly asked: string | undefined;
    readonly target: readonly Address[] | undefined;
    readonly way: Way;
  },
): Door[] {
  const ranks = new Map<Address, number>();
  for (const family of [4, 6] as const) {
    addresses.filter((each) => each.family === family).forEach((each, i) => ranks.set(each, i));
  }
  const count = Math.max(...ranks.values()) + 1;
  return Array.from({ length: count }, (_, i) => {
    const knockAt = addresses.filter((each) => ranks.get(each) === i);
    const dial = host === asked ? knockAt : target;
    return { host, knockAt, dialledHost: asked, dial, way };
  });
}

/** Whether it says that a host has no address, or that no knock could be sent to it. */
function isUnsent(cause: unknown): cause is OpenmeError {
  return cause instanceof OpenmeError && cause.code === "SOCKET";
}

function noneSent({ name }: Profile, why: readonly string[]): OpenmeError {
  return new OpenmeError("SOCKET", `cannot knock at any host of ${name}: ${why.join("; ")}`, {
    hint: "is this machine online?",
  });
}
