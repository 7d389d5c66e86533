/** The metrics by a process of their own: it listens and reads HTTP, and gets the text from the keeper. */

import type { MetricsAddress } from "../config/metrics.ts";
import type { Render } from "../metrics/listener.ts";
import { processClock } from "../system/clock.ts";
import type { Listening } from "../system/http.ts";
import { listenBy, type Started } from "./listener.ts";

/** What is read of the process: a message for each request. */
const MESSAGES = { perSecond: 50, capacity: 100 };

/** What the process is told first. */
export interface MetricsRole {
  readonly role: "metrics";
  readonly address: Extract<MetricsAddress, { transport: "tcp" }>;
}

/** What the process asks. The reply is the text, or null while there is none yet. */
export interface MetricsQuestion {
  readonly of: "metrics";
}

/** Listens in a process. Throws where it cannot. */
export function listenForMetrics(
  { address, process, render }: {
    readonly address: MetricsRole["address"];
    readonly process: Started;
    readonly render: Render;
  },
): Promise<Listening> {
  const role: MetricsRole = { role: "metrics", address };
  return listenBy({
    ...{ name: "metrics", role, process, messages: MESSAGES, clock: processClock() },
    answer: (question) => Object(question).of === "metrics" ? render() : undefined,
  });
}
