/** `openme fleet`: the hosts that share this server's key, as the running server hears them. */

import type { FleetHost, FleetReport } from "../../control/requests.ts";
import { askServer } from "../../control/socket.ts";
import { formatDuration } from "../../values/duration.ts";
import { escapeUnprintable } from "../../values/text.ts";
import { type Command, renderJson, STATE_DIR } from "../context.ts";
import { findState } from "../load.ts";
import { renderTable } from "../output.ts";

export const fleet: Command = {
  about:
    `Shows the hosts of the fleet that this server is one of (server.fleet): who is heard, how long an
entry takes through the engine, how far each clock is off, and which clients a host lacks.`,
  parameters: {
    "--json":
      `{"fleet", "host", "engine": {"up", "why", "round_trip_ms"}, "when_down", "lag_ms", "others":
      [{"host", "version", "client_count", "lag_ms", "clock_ahead_ms", "heard_ms_ago", "lacks"}]}:
      docs/json.md`,
    ...STATE_DIR,
  },
  notes:
    `A host that is not heard for 100 s is left out. Exit codes: 0 the engine answers, 1 it does not.`,
  example: "sudo openme fleet",
  run: async (args, context) => {
    const { stateDir } = await findState(args, context);
    const report = await askServer(stateDir, { command: "fleet" }) as FleetReport;
    const { name, host, engine, lag, whenDown, hosts } = report;
    if (args.values["json"]) {
      context.stdout(renderJson({
        fleet: name,
        host,
        engine: {
          up: engine.up,
          why: engine.why,
          "round_trip_ms": milliseconds(engine.roundTrip),
        },
        "when_down": whenDown,
        "lag_ms": milliseconds(lag),
        others: hosts.map(describe),
      }));
      return engine.up ? 0 : 1;
    }
    context.stdout(`fleet ${name}, this host is ${host}\n`);
    context.stdout(`engine: ${inWords(report)}\n`);
    if (hosts.length === 0) context.stderr("openme: no other host is heard");
    else {
      const rows = hosts.map((each) => rowOf(each).map(escapeUnprintable));
      const head = ["HOST", "VERSION", "CLIENTS", "LAG", "CLOCK", "HEARD", "LACKS"];
      context.stdout(renderTable(head, rows));
    }
    return engine.up ? 0 : 1;
  },
};

/** The engine, for people. */
export function inWords({ engine, whenDown, lag }: FleetReport): string {
  if (!engine.up) {
    const doing = whenDown === "alone" ? "knocks open this host alone" : "nobody is let in";
    return `does not answer (${engine.why ?? "so far"}); until it does, ${doing}`;
  }
  const trip = engine.roundTrip === null ? "" : `, round trip ${shownMs(engine.roundTrip)}`;
  return `answers${trip}${lag === null ? "" : `, lag ${shownMs(lag)}`}`;
}

function describe({ host, version, clients, lag, clockAhead, heardAgo, lacks }: FleetHost) {
  return {
    host,
    version,
    "client_count": clients,
    "lag_ms": milliseconds(lag),
    "clock_ahead_ms": milliseconds(clockAhead),
    "heard_ms_ago": milliseconds(heardAgo),
    lacks,
  };
}

function rowOf({ host, version, clients, lag, clockAhead, heardAgo, lacks }: FleetHost): string[] {
  const offSeconds = Math.round(Math.abs(clockAhead) / 1000);
  const clock = offSeconds === 0
    ? "right"
    : `${formatDuration(offSeconds * 1000)} ${clockAhead > 0 ? "ahead" : "behind"}`;
  return [
    host,
    version,
    String(clients),
    lag === null ? "-" : shownMs(lag),
    clock,
    `${formatDuration(Math.floor(Math.max(0, heardAgo) / 1000) * 1000)} ago`,
    lacks === null ? "?" : lacks.join(" ") || "-",
  ];
}

function shownMs(ms: number): string {
  return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

function milliseconds(ms: number | null): number | null {
  return ms === null ? null : Math.round(ms * 10) / 10;
}
