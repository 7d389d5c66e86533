/** The server itself: its version, its state on disk, its configuration, the clock. */

import type { Running } from "../server.ts";
import type { Clock } from "../values/moment.ts";
import { wallMsOf } from "../values/moment.ts";
import { VERSION } from "../values/version.ts";
import { ClockSteps } from "./clock_steps.ts";
import type { MetricMaker } from "./registry.ts";
import type { Told } from "./told.ts";

const LOOK_MS = 1000;

/** Declares the metrics of the server as a whole. They look at the clock until `signal` aborts. */
export function addProcess(
  make: MetricMaker,
  { running, told, clock, signal }: {
    running: Running;
    told: Told;
    clock: Clock;
    signal: AbortSignal;
  },
): void {
  const now = () => wallMsOf(clock.now()) / 1000;
  const startedAt = now();
  make.gauge({
    name: "openme_build_info",
    help: "1, with the version of openme.",
    labelNames: ["version"],
  }, (gauge) => gauge.set({ version: VERSION }, 1));
  make.gauge({
    name: "openme_start_time_seconds",
    help: "When the server began to take knocks, in seconds since 1970.",
  }, (gauge) => gauge.set(startedAt));
  make.gauge({
    name: "openme_clients",
    help: "Registered clients.",
  }, (gauge) => gauge.set(running.config().clients.length));
  make.gauge({
    name: "openme_state_sound",
    help: "1 while everything that must outlive the process is on disk, otherwise 0.",
  }, (gauge) => gauge.set(Number(running.condition().isSound)));

  let [isLoaded, loadedAt] = [true, startedAt];
  told.onLogged("reloaded", () => [isLoaded, loadedAt] = [true, now()]);
  told.onLogged("config_rejected", () => isLoaded = false);
  make.gauge({
    name: "openme_config_last_reload_successful",
    help: "1 where the configuration was good when it was last read, otherwise 0.",
  }, (gauge) => gauge.set(Number(isLoaded)));
  make.gauge({
    name: "openme_config_last_reload_success_timestamp_seconds",
    help: "When the configuration in force was read, in seconds since 1970.",
  }, (gauge) => gauge.set(loadedAt));

  const steps = make.counter({
    name: "openme_clock_steps_total",
    help: "How often the wall clock jumped by half a second or more, a sleep of the machine too.",
    labelNames: ["direction"],
  });
  for (const direction of ["ahead", "back"]) steps.inc({ direction }, 0);
  const clockSteps = new ClockSteps();
  const look = () => {
    const direction = clockSteps.look(clock.now());
    if (direction) steps.inc({ direction });
  };
  look();
  const timer = setInterval(look, LOOK_MS);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
}
