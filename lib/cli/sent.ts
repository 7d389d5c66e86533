/** The knocks that were sent, for people and as JSON. */

import type { Context } from "./context.ts";
import type { Profile } from "../config/profiles.ts";
import type { Attempted } from "../client/knock.ts";
import { formatAddress } from "../values/address.ts";

/** Says where it knocked, on a terminal. */
export function tellSent(profile: Profile, sent: readonly Attempted[], context: Context): void {
  if (!context.interactive) return;
  const hosts = Map.groupBy(
    sent.filter(({ failure }) => failure === undefined),
    ({ host }) => host,
  );
  const places = [...hosts].map(([host, each]) => `${host} (${each.map(addressOf).join(", ")})`);
  context.stderr(`openme: knocked at ${places.join(", ") || profile.serverHost}`);
  for (const each of sent) {
    if (each.failure !== undefined) {
      context.stderr(`openme: not sent to ${addressOf(each) ?? each.host}: ${each.failure}`);
    }
  }
}

/** The beginning of what `--json` prints; `host`: the one that opened. */
export function describeSent(
  profile: Profile,
  sent: readonly Attempted[],
  host = profile.serverHost,
) {
  return {
    profile: profile.name,
    host,
    sent: sent.map((each) => ({
      ...(profile.otherHosts ? { host: each.host } : {}),
      address: addressOf(each) ?? null,
      failure: each.failure ?? null,
    })),
  };
}

function addressOf({ address }: Attempted): string | undefined {
  return address && formatAddress(address);
}
