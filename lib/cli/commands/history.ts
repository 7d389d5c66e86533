/** `openme history`: grants and refused knocks, from the database. */

import { escapeUnprintable } from "../../values/text.ts";
import { shownPorts } from "../../values/ports.ts";
import { readHistory } from "../../state/read.ts";
import { type Command, renderJson, STATE_DIR, textFlag } from "../context.ts";
import { requireKnownClient } from "../known_client.ts";
import { findState, requireState } from "../load.ts";
import { renderTable } from "../output.ts";
import { formatTime, spanFlag } from "../flags.ts";
import { askFleet, textOf, timeOf, valuesOf } from "../fleet_question.ts";
import { describeEntry, inWords, type ShownEntry } from "../history_entry.ts";

const NEWEST = 200;

export const history: Command = {
  about:
    `Shows which knocks were accepted, from where, to which ports and for how long; and which knocks of
registered clients were refused and why (one line per reason, client and minute). Packets of
others are not in it.`,
  parameters: {
    "--client CLIENT": "only this client",
    "--since SPAN": "as far back as this: 24h, 7d (default: the newest 200)",
    "--fleet": "of every host of the fleet, each host's newest 60",
    "--json":
      `{"history": [{"at", "event", "client", "source", "address", "ports", "expires_at", "reason",
      "clock_ahead_ms", "cause"}]}; with "failed": true where the firewall refused it, "ended_at"
      and "ended_why" where it ended before its time; with --fleet also "others": [{"host",
      "error", "history"}]: docs/json.md`,
    ...STATE_DIR,
  },
  example: "sudo openme history --client alice --since 24h",
  run: async (args, context) => {
    const sinceMs = spanFlag(args, "since");
    const { config, stateDir } = await findState(args, context);
    requireState(args, config);
    const client = textFlag(args, "client");
    const entries = readHistory(stateDir, {
      client,
      sinceMs: sinceMs === undefined ? undefined : Date.now() - sinceMs,
      limit: sinceMs === undefined ? NEWEST : Number.MAX_SAFE_INTEGER,
    });
    if (client !== undefined && entries.length === 0) {
      requireKnownClient(client, { config, stateDir });
    }
    const shown = entries.map((entry) => ({
      ...entry,
      ports: shownPorts(entry.ports, config?.healthPort),
    }));
    if (args.values["fleet"]) {
      const request = { command: "history", client, sinceMs };
      const { host, answers } = await askFleet(stateDir, request, context);
      const hosts = valuesOf(answers, "history");
      if (args.values["json"]) {
        context.stdout(renderJson({ history: shown.map(describeEntry), others: hosts }));
      } else {
        const others = hosts.flatMap(({ host, history }) =>
          history.map((entry) => [
            ...[timeOf(entry["at"]), host],
            ...[entry["client"], entry["source"], entry["what"]].map(textOf),
          ])
        );
        const own = shown.map((entry) => {
          const [at = "", ...rest] = rowOf(entry);
          return [at, host, ...rest];
        });
        const rows = [...own, ...others].sort(([a = ""], [b = ""]) => a.localeCompare(b));
        context.stdout(renderTable(["TIME", "HOST", "CLIENT", "FROM", "WHAT"], rows));
      }
      return answers.every(({ error }) => error === null) ? 0 : 1;
    }
    if (args.values["json"]) {
      context.stdout(renderJson({ history: shown.map(describeEntry) }));
    } else if (shown.length === 0) context.stderr("openme: nothing has happened");
    else {
      const head = ["TIME", "CLIENT", "FROM", "WHAT"];
      context.stdout(renderTable(head, shown.map(rowOf)));
    }
    return 0;
  },
};

function rowOf(entry: ShownEntry): string[] {
  const { atMs, client, source } = entry;
  return [formatTime(atMs), client, source, inWords(entry)].map(escapeUnprintable);
}
