/** The metrics process: listens, and answers with the keeper's text. */

import { bindMetrics, serveMetrics } from "../metrics/listener.ts";
import { type ListenerProcessParts, runListenerProcess } from "./listener_process.ts";
import type { MetricsQuestion, MetricsRole } from "./metrics.ts";

/** Answers until the keeper closes the channel. */
export async function runMetricsProcess(
  { address }: MetricsRole,
  parts: ListenerProcessParts,
): Promise<void> {
  const question: MetricsQuestion = { of: "metrics" };
  await runListenerProcess({
    bind: async () => [await bindMetrics(address)],
    serve: (listeners, ask) =>
      serveMetrics(listeners, async () => await ask(question) as string | null ?? undefined),
  }, parts);
}
