/** How this host treats datagrams without a stamp of openme's own client, for `serve`, `plan` and `doctor`. */

import type { ServerConfig } from "../config/server.ts";
import type { Backend } from "../firewall/backend.ts";
import { UNSTAMPED_PER_SECOND } from "../firewall/plan.ts";
import { formatDuration } from "../values/duration.ts";

/** What happens to them, and where. */
export interface Unstamped {
  /** `limited`: they share one rate; `taken`: each is judged. */
  readonly are: "limited" | "dropped" | "taken";
  /** Why the kernel cannot do it; `undefined` where it does. */
  readonly flaw: string | undefined;
  /** For people. */
  readonly text: string;
}

/** Asks the backend; changes nothing. */
export async function unstampedKnocks(
  { onlyStampedKnocks, replayWindowMs }: ServerConfig,
  backend: Backend,
): Promise<Unstamped> {
  const flaw = backend.stampFlaw
    ? await backend.stampFlaw()
    : `${backend.name} does not look into datagrams`;
  if (onlyStampedKnocks) {
    const text =
      `${flaw === undefined ? "the kernel" : "openme"} drops those without the stamp of ` +
      `openme's own client: of other programs, and where a clock is off by more than ${
        formatDuration(replayWindowMs)
      }`;
    return { are: "dropped", flaw, text };
  }
  if (flaw !== undefined) {
    return { are: "taken", flaw, text: "openme tells knocks from junk, and the kernel does not" };
  }
  const text =
    `those without the stamp of openme's own client share ${UNSTAMPED_PER_SECOND} a second`;
  return { are: "limited", flaw, text };
}
