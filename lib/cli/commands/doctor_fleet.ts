/** What `openme doctor` finds out about the fleet. */

import type { FleetReport } from "../../control/requests.ts";
import { askServer } from "../../control/socket.ts";
import { formatDuration } from "../../values/duration.ts";
import { messageOf } from "../../values/errors.ts";
import { fail, type Finding, hintOf, ok, warn } from "../output.ts";
import { inWords } from "./fleet.ts";

/** A round trip that a person notices at each knock, and clocks that make an entry look old. */
const SLOW_MS = 20;
const OFF_MS = 2000;

/** The engine's round trip, other hosts' clocks and clients. */
export async function examineFleet(stateDir: string): Promise<Finding[]> {
  let report: FleetReport;
  try {
    report = await askServer(stateDir, { command: "fleet" }) as FleetReport;
  } catch (error) {
    return [fail("fleet", messageOf(error), hintOf(error, "restart openme serve"))];
  }
  const { engine, hosts, name } = report;
  const found = `${name}: the engine ${inWords(report)}`;
  const trip = engine.roundTrip ?? 0;
  return [
    !engine.up
      ? fail("fleet", found, "see server.fleet.url, and whether the engine runs")
      : trip > SLOW_MS
      ? warn("fleet", found, "each knock waits for it: an engine that is nearer")
      : ok("fleet", found),
    ...hosts.length > 0 ? [ok("fleet", `${hosts.length} other hosts are heard`)] : [
      warn("fleet", "no other host is heard", "openme fleet, on each of them, says what it hears"),
    ],
    ...hosts.filter(({ clockAhead }) => Math.abs(clockAhead) > OFF_MS).map(({ host, clockAhead }) =>
      warn(
        "fleet",
        `the clock of ${host} is ${
          formatDuration(Math.round(Math.abs(clockAhead) / 1000) * 1000)
        } ${clockAhead > 0 ? "ahead of" : "behind"} this one`,
        "set both: timedatectl set-ntp true",
      )
    ),
    ...hosts.filter(({ lacks }) => lacks && lacks.length > 0).map(({ host, lacks }) =>
      warn(
        "fleet",
        `${host} lacks ${lacks!.slice(0, 10).join(", ")}`,
        "on purpose, or the files of the hosts differ",
      )
    ),
  ];
}
