/** `openme knock --continuous`: knocks until the process is asked to stop, also over a network that comes and goes. */

import { knockAtEach } from "../../client/hosts.ts";
import type { Attempted } from "../../client/knock.ts";
import { pause } from "../../system/clock.ts";
import { messageOf } from "../../values/errors.ts";
import type { Context } from "../context.ts";
import { type Knocker, tellLine } from "../knock_outcome.ts";
import { tellSent } from "../sent.ts";

/** How often, until when, and where it is told. */
interface Pace {
  readonly intervalMs: number;
  readonly signal: AbortSignal;
  readonly context: Context;
}

/** The first knock; it tries until there is a network. `undefined` where it is stopped before. */
export async function knockFirst(
  knocker: Knocker,
  pace: Pace,
): Promise<readonly Attempted[] | undefined> {
  for (let failing = false;; failing = true) {
    const sent = await tryToKnock(knocker, failing, pace);
    if (sent && failing) {
      tellLine(pace.context, `openme: knocking at ${knocker.profile.serverHost}`);
    }
    if (sent) return sent;
    await pause(pace.intervalMs, pace.signal);
    if (pace.signal.aborted) return undefined;
  }
}

/** All knocks after the first. */
export async function keepKnocking(knocker: Knocker, pace: Pace): Promise<void> {
  for (let failing = false;;) {
    await pause(pace.intervalMs, pace.signal);
    if (pace.signal.aborted) return;
    const sent = await tryToKnock(knocker, failing, pace);
    if (sent && failing) {
      tellLine(pace.context, `openme: knocking at ${knocker.profile.serverHost} again`);
    } else if (sent) tellSent(knocker.profile, sent, pace.context);
    failing = !sent;
  }
}

/** The name is resolved each time, since either machine may have moved. A failure is told once, not each time. */
async function tryToKnock(
  { profile, host: _, ...options }: Knocker,
  failing: boolean,
  { context }: Pace,
): Promise<readonly Attempted[] | undefined> {
  try {
    return await knockAtEach(profile, options);
  } catch (error) {
    if (!failing) tellLine(context, `openme: error: ${messageOf(error)}; trying again`);
    return undefined;
  }
}
