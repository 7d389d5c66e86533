/** The health process: listens on the health port. What it answers is the keeper's to say, which alone knows the grants. */

import { bindHealthPort, type HealthAnswer, serveHealth } from "../health/listener.ts";
import { formatAddress } from "../values/address.ts";
import type { HealthQuestion, HealthRole } from "./health.ts";
import { type ListenerProcessParts, runListenerProcess } from "./listener_process.ts";

/** Answers until the keeper closes the channel. */
export async function runHealthProcess(
  { port, wildcards }: HealthRole,
  parts: ListenerProcessParts,
): Promise<void> {
  await runListenerProcess({
    bind: () => bindHealthPort(port, wildcards),
    serve: (listeners, askKeeper) => {
      const ask = (question: HealthQuestion) => askKeeper(question);
      return serveHealth(listeners, {
        knows: async (address) =>
          await ask({ of: "grant", address: formatAddress(address) }) === true,
        answerFor: async (address) =>
          await ask({ of: "report", address: formatAddress(address) }) as HealthAnswer | null ??
            undefined,
      });
    },
  }, parts);
}
