/** Whether the firewall does what it is asked to. */

import type { Running } from "../server.ts";
import type { MetricMaker } from "./registry.ts";
import type { Told } from "./told.ts";

/** What fails, by the event of the log: a change for one knock, the whole guard, a look at it. */
const FAILURES = [
  ["change_failed", "change"],
  ["firewall_failed", "install"],
  ["check_failed", "check"],
] as const;

/** Declares the metrics of the firewall. */
export function addFirewall(
  make: MetricMaker,
  { running, told }: { running: Running; told: Told },
): void {
  const failures = make.counter({
    name: "openme_firewall_failures_total",
    help: "Runs of the firewall that failed, by what they were to do.",
    labelNames: ["step"],
  });
  let isInPlace = true;
  for (const [event, step] of FAILURES) {
    failures.inc({ step }, 0);
    told.onLogged(event, () => {
      failures.inc({ step });
      isInPlace = false;
    });
  }
  const missing = make.counter({
    name: "openme_rules_missing_total",
    help: "How often rules of the guard were gone or changed, by another program or person.",
  });
  told.onLogged("rules_missing", () => {
    missing.inc();
    isInPlace = false;
  });
  const repairs = make.counter({
    name: "openme_rules_restored_total",
    help: "How often the guard was put back whole, after a failure or where rules were missing.",
  });
  told.onLogged("rules_restored", () => {
    repairs.inc();
    isInPlace = true;
  });
  make.gauge({
    name: "openme_rules_in_place",
    help: "1 while the guard stands as it should, 0 from a failure or missing rules to the repair.",
  }, (gauge) => gauge.set(Number(isInPlace)));
  make.gauge({
    name: "openme_firewall_queue_length",
    help: "Addresses whose change waits for the firewall.",
  }, (gauge) => gauge.set(running.condition().waiting));
}
