/** What came of knocks, and the grants that they opened. */

import type { NotAdmitted } from "../receive/admission.ts";
import type { RefusalReason } from "../receive/refusals.ts";
import type { Running } from "../server.ts";
import { type Clock, wallMsOf } from "../values/moment.ts";
import type { MetricMaker } from "./registry.ts";
import type { Told } from "./told.ts";

/** What comes of a datagram that opens nothing: `refused` where it is a registered client's knock. */
const OUTCOMES: Readonly<Record<NotAdmitted | RefusalReason, "dropped" | "refused" | "failed">> = {
  size: "dropped",
  version: "dropped",
  "key_agreement": "dropped",
  decrypt: "dropped",
  signature: "dropped",
  tag: "dropped",
  unstamped: "dropped",
  overload: "dropped",
  expired: "refused",
  stale: "refused",
  target: "refused",
  replay: "refused",
  limit: "refused",
  from: "refused",
  hours: "refused",
  uses: "refused",
  needs: "refused",
  "code_missing": "refused",
  "code_wrong": "refused",
  "code_used": "refused",
  "code_locked": "refused",
  unclaimed: "refused",
  late: "refused",
  backend: "failed",
};
const KERNEL_REASONS = ["size", "rate", "unstamped"];
/** What ends a grant, by the event of the log. */
const ENDINGS = ["expired", "withdrawn"];

/** Seconds. */
const BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];

/** Names of clients are labels only where the configuration asks for them, and only so many. */
const MOST_CLIENTS = 1000;
/** No client's name: those begin with a letter. */
const OTHER_CLIENTS = "_others";

/** Declares the metrics of knocks and grants. */
export function addKnocks(
  make: MetricMaker,
  { running, told, clock }: { running: Running; told: Told; clock: Clock },
): void {
  const knocks = make.counter({
    name: "openme_knocks_total",
    help: "Datagrams to the knock port that openme has read, by what came of them.",
    labelNames: ["outcome", "reason"],
  });
  for (const outcome of ["granted", "renewed"]) knocks.inc({ outcome, reason: "" }, 0);
  const outcomes = new Map(Object.entries(OUTCOMES));
  for (const [reason, outcome] of outcomes) knocks.inc({ outcome, reason }, 0);
  told.onDropped((reason, datagrams) => {
    const outcome = outcomes.get(reason);
    if (outcome) knocks.inc({ outcome, reason }, datagrams);
  });

  const kernel = make.counter({
    name: "openme_kernel_drops_total",
    help:
      "Datagrams to the knock port that the kernel has dropped unread, looked up twice a minute.",
    labelNames: ["reason"],
  });
  for (const reason of KERNEL_REASONS) kernel.inc({ reason }, 0);
  told.onKernelDropped((reason, datagrams) => {
    if (KERNEL_REASONS.includes(reason)) kernel.inc({ reason }, datagrams);
  });

  const seconds = make.histogram({
    name: "openme_knock_to_rule_seconds",
    help: "From a knock with a good signature to the firewall's answer that its rule stands.",
  }, BUCKETS);
  const ended = make.counter({
    name: "openme_grants_ended_total",
    help: "Grants that have ended: their time was over, or they were withdrawn.",
    labelNames: ["how"],
  });
  for (const how of ENDINGS) {
    ended.inc({ how }, 0);
    told.onLogged(how, () => ended.inc({ how }));
  }
  const open = () => {
    const now = clock.now();
    return [...running.grants()].filter(({ endsSteadyMs, extended }) =>
      endsSteadyMs > now.steadyMs || (extended?.activeUntilMs ?? 0) > wallMsOf(now)
    );
  };
  make.gauge({
    name: "openme_open_grants",
    help: "Grants in force, also those that only traffic keeps open.",
  }, (gauge) => {
    gauge.set(open().length);
  });

  const { countGranted } = addClients(make, running, open);
  running.onOpened(({ grant, renewed, knockedAt }) => {
    knocks.inc({ outcome: renewed ? "renewed" : "granted", reason: "" });
    seconds.observe((clock.now().steadyMs - knockedAt.steadyMs) / 1000);
    if (running.config().metricsClientNames) countGranted(grant.client);
  });
}

/** The metrics that name clients: empty unless `server.metrics_client_names` is set. */
function addClients(
  make: MetricMaker,
  running: Running,
  open: () => readonly { readonly client: string }[],
) {
  const names = new Set<string>();
  const labelOf = (client: string) => {
    if (names.size < MOST_CLIENTS) names.add(client);
    return { client: names.has(client) ? client : OTHER_CLIENTS };
  };
  const granted = make.counter({
    name: "openme_client_knocks_total",
    help: "Knocks that were let in, by client; only with server.metrics_client_names.",
    labelNames: ["client"],
  });
  make.gauge({
    name: "openme_client_open_grants",
    help: "Grants in force, by client; only with server.metrics_client_names.",
    labelNames: ["client"],
  }, (gauge) => {
    gauge.reset();
    if (!running.config().metricsClientNames) return granted.reset();
    for (const { client } of open()) gauge.inc(labelOf(client));
  });
  return { countGranted: (client: string) => granted.inc(labelOf(client)) };
}
