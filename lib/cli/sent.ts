/** The knocks that were sent, for people and as JSON. */

import type { Context } from "./context.ts";
import type { Profile } from "../config/profiles.ts";
import type { Sent } from "../client/knock.ts";
import { formatAddress } from "../values/address.ts";

/** Says where it knocked, on a terminal. */
export function tellSent(profile: Profile, sent: readonly Sent[], context: Context): void {
  if (!context.interactive) return;
  const reached = sent.filter(({ failure }) => failure === undefined).map(({ address }) =>
    formatAddress(address)
  );
  context.stderr(`openme: knocked at ${profile.serverHost} (${reached.join(", ")})`);
  for (const { address, failure } of sent) {
    if (failure !== undefined) {
      context.stderr(`openme: not sent to ${formatAddress(address)}: ${failure}`);
    }
  }
}

/** The beginning of what `--json` prints. */
export function describeSent(profile: Profile, sent: readonly Sent[]) {
  return {
    profile: profile.name,
    host: profile.serverHost,
    sent: sent.map(({ address, failure }) => ({
      address: formatAddress(address),
      failure: failure ?? null,
    })),
  };
}
