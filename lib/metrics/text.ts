/** The metrics of a running server as Prometheus' text. Every metric is declared in one of the files that this one adds. */

import type { Running } from "../server.ts";
import type { Clock } from "../values/moment.ts";
import { addFirewall } from "./firewall.ts";
import { addFleet, type FleetFigures } from "./fleet.ts";
import { addKnocks } from "./knocks.ts";
import type { Render } from "./listener.ts";
import { addProcess } from "./process.ts";
import { openRegistry } from "./registry.ts";
import { Told } from "./told.ts";

/** A text serves every request of this time: readers cannot keep the server busy. */
const SAME_MS = 200;

/** What the metrics are made of. */
export interface MetricsParts {
  readonly running: Running;
  readonly clock: Clock;
  /** The fleet, where the server is one host of one. */
  readonly fleet?: (() => FleetFigures) | undefined;
  /** Ends what looks by itself. */
  readonly signal: AbortSignal;
}

/** Loads the library, before the server gives up what that takes; the result begins to count, and gives the text. */
export async function loadMetrics(): Promise<(parts: MetricsParts) => Render> {
  const { registry, make } = await openRegistry();
  return (parts) => {
    const told = new Told();
    parts.running.observe(told);
    for (const add of [addKnocks, addFirewall, addProcess, addFleet]) add(make, { ...parts, told });
    let [text, madeAtMs] = [Promise.resolve(""), -Infinity];
    return () => {
      const { steadyMs } = parts.clock.now();
      if (steadyMs - madeAtMs >= SAME_MS) [text, madeAtMs] = [registry.metrics(), steadyMs];
      return text;
    };
  };
}
