/** The fleet, where the server is one host of one. */

import type { MetricMaker } from "./registry.ts";

/** What is known of a fleet. Times in ms. */
export interface FleetFigures {
  readonly isUp: boolean;
  readonly roundTripMs: number | undefined;
  /** How long an entry of this host takes through the engine. */
  readonly lagMs: number | null;
  /** The other hosts that were heard of late. */
  readonly hosts: readonly {
    readonly host: string;
    readonly lagMs: number | null;
    readonly aheadMs: number;
  }[];
}

/** Declares them, where there is a fleet. */
export function addFleet(
  make: MetricMaker,
  { fleet }: { readonly fleet?: (() => FleetFigures) | undefined },
): void {
  if (!fleet) return;
  make.gauge({
    name: "openme_fleet_engine_up",
    help: "1 while the engine of the fleet answers, otherwise 0.",
  }, (gauge) => gauge.set(Number(fleet().isUp)));
  make.gauge({
    name: "openme_fleet_round_trip_seconds",
    help: "The last round trip to the engine.",
  }, (gauge) => {
    const { roundTripMs } = fleet();
    if (roundTripMs !== undefined) gauge.set(roundTripMs / 1000);
  });
  make.gauge({
    name: "openme_fleet_lag_seconds",
    help: "How long the last entry of this host took through the engine.",
  }, (gauge) => gauge.set((fleet().lagMs ?? 0) / 1000));
  make.gauge({
    name: "openme_fleet_hosts",
    help: "Other hosts of the fleet that were heard in the last 100 s.",
  }, (gauge) => gauge.set(fleet().hosts.length));
  make.gauge({
    name: "openme_fleet_host_lag_seconds",
    help: "How long the last entry of another host took, as that host says.",
    labelNames: ["host"],
  }, (gauge) => {
    gauge.reset();
    for (const { host, lagMs } of fleet().hosts) gauge.set({ host }, (lagMs ?? 0) / 1000);
  });
  make.gauge({
    name: "openme_fleet_host_clock_ahead_seconds",
    help: "How far the clock of another host is ahead of this one's; negative: behind.",
    labelNames: ["host"],
  }, (gauge) => {
    gauge.reset();
    for (const { host, aheadMs } of fleet().hosts) gauge.set({ host }, aheadMs / 1000);
  });
}
