/** `openme history`: grants and refused knocks, from the database. */

import { formatDuration } from "../../values/duration.ts";
import { escapeUnprintable } from "../../values/text.ts";
import { causeOf } from "../../receive/refusal_causes.ts";
import type { RefusalReason } from "../../receive/refusals.ts";
import { shownPorts } from "../../values/ports.ts";
import { type HistoryEntry, readHistory } from "../../state/read.ts";
import { type Command, isoTime, renderJson, STATE_DIR, textFlag } from "../context.ts";
import { requireKnownClient } from "../known_client.ts";
import { findState, requireState } from "../load.ts";
import { renderTable } from "../output.ts";
import { formatTime, spanFlag } from "../flags.ts";

const NEWEST = 200;

export const history: Command = {
  about:
    `Shows which knocks were accepted, from where, to which ports and for how long; and which knocks of
registered clients were refused and why (one line per reason, client and minute). Packets of
others are not in it.`,
  parameters: {
    "--client CLIENT": "only this client",
    "--since SPAN": "as far back as this: 24h, 7d (default: the newest 200)",
    "--json":
      `{"history": [{"at", "event", "client", "source", "address", "ports", "expires_at", "reason",
      "clock_ahead_ms", "cause"}]}; with "failed": true where the firewall refused it, "ended_at"
      and "ended_why" where it ended before its time: docs/json.md`,
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
    if (args.values["json"]) {
      context.stdout(renderJson({ history: shown.map(describe) }));
    } else if (shown.length === 0) context.stderr("openme: nothing has happened");
    else {
      const head = ["TIME", "CLIENT", "FROM", "WHAT"];
      context.stdout(renderTable(head, shown.map(rowOf)));
    }
    return 0;
  },
};

/** An entry with its ports as text. */
type ShownEntry = Omit<HistoryEntry, "ports"> & { readonly ports: readonly string[] };

function describe(entry: ShownEntry) {
  const { atMs, event, client, source, address, ports, expiresAtMs, reason, aheadMs } = entry;
  const at = isoTime(atMs);
  if (reason !== undefined) {
    return {
      at,
      event,
      client,
      source,
      reason,
      ...(aheadMs === undefined ? {} : { "clock_ahead_ms": aheadMs }),
      cause: causeOf(reason as RefusalReason, aheadMs),
    };
  }
  const end = expiresAtMs === undefined ? null : isoTime(expiresAtMs);
  const { failed, ended } = entry;
  return {
    at,
    event,
    client,
    source,
    address,
    ports,
    "expires_at": end,
    ...(failed ? { failed } : {}),
    ...(ended ? { "ended_at": isoTime(ended.atMs), "ended_why": ended.why } : {}),
  };
}

function rowOf(entry: ShownEntry): string[] {
  const { atMs, client, source } = entry;
  return [formatTime(atMs), client, source, inWords(entry)].map(escapeUnprintable);
}

function inWords(entry: ShownEntry): string {
  const { event, source, address, ports, reason, aheadMs, failed } = entry;
  if (reason !== undefined) {
    return `refused (${reason}): ${causeOf(reason as RefusalReason, aheadMs)}`;
  }
  const whom = address === source ? "" : ` ${address}`;
  const what = `${whom}: ${ports.join(" ") || "the health port"}`;
  if (failed) {
    return `not ${event === "renewed" ? "renewed" : "let in"}${what}: the firewall refused`;
  }
  return `${event === "renewed" ? "renewed" : "let in"}${what} for ${howLong(entry)}`;
}

/** To the second; a grant that was ended within 10 s to the tenth. */
function howLong({ atMs, expiresAtMs, ended }: ShownEntry): string {
  const untilMs = ended?.atMs ?? expiresAtMs ?? atMs;
  const lastedMs = Math.max(0, untilMs - atMs);
  const stepMs = ended && lastedMs < 10_000 ? 100 : 1000;
  const lasted = formatDuration(Math.round(lastedMs / stepMs) * stepMs);
  return ended ? `${lasted} (${ended.why})` : lasted;
}
