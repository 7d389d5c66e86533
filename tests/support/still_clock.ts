/** A clock that a test moves. */

import type { Clock } from "../../lib/values/moment.ts";
import { NOW_NS } from "./knocks.ts";

/** A clock that stands still until it is moved. */
export class StillClock implements Clock {
  wallNs: bigint;
  steadyMs = 1_000_000;
  readonly bootId: string | undefined;

  constructor(wallNs = NOW_NS, boot: { id: string | undefined } = { id: "boot-1" }) {
    this.wallNs = wallNs;
    this.bootId = boot.id;
  }

  now() {
    return { wallNs: this.wallNs, steadyMs: this.steadyMs };
  }
}
