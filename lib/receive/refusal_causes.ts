/** Why a registered client was refused, for people. */

import { formatOffset, type RefusalReason } from "./refusals.ts";

/** What a reason means in plain words, and what to do about it. */
export function causeOf(reason: RefusalReason, aheadMs: number | undefined): string {
  switch (reason) {
    case "stale":
      return aheadMs === undefined
        ? "its clock differs from this server's: set it"
        : `its clock is ${formatOffset(aheadMs)}: set it (timedatectl set-ntp true)`;
    case "expired":
      return "its key has expired: openme rotate gives it a new one, and expires in the configuration says until when";
    case "target":
      return "it asked to let in an address that no remote client can have: check --ip, or the proxy in front of it";
    case "limit":
      return "it knocks too often, or from too many addresses, for what is kept of one client";
    case "from":
      return "it came from an address outside the networks in its entry: from in the configuration has them";
    case "hours":
      return "it came outside the hours in its entry: hours in the configuration has them";
    case "uses":
      return "its key has been used as often as its entry allows: openme rotate gives it a new one";
    case "code_missing":
      return "it carried no code, and its entry has totp: totp: true in the profile makes openme ask for one";
    case "code_wrong":
      return "its code is none of now: a slip, a clock that is off (the server's, or the app's), or another's guess with its key";
    case "code_used":
      return "its code was used before: an authenticator app shows another one every 30 s";
    case "code_locked":
      return "it sent too many wrong codes, so no code of it is taken for a while: where that was not its owner, somebody has its key, and openme rotate ends that";
    case "needs":
      return "it needs a second person: each client in needs has to knock within a minute before or after it";
    case "unclaimed":
      return "the fleet's engine did not say whether the knock was used at another host: openme doctor says why";
    case "late":
      return "another host of the fleet let it in so long ago that nothing of its time was left here";
    case "backend":
      return "the firewall refused to let it in: openme doctor, and firewall_failed in the log of openme serve, say why";
    default:
      return "it could not be told from junk";
  }
}
