/**
 * `openme sessions`: who is let in now, from the database. A running `serve` is asked for what is not in it: knocks with
 * a wrong key and, with `firewall: command`, rules that no grant covers.
 */

import { describeSnapshot, renderSessions } from "../sessions_table.ts";
import { askServer } from "../../control/socket.ts";
import type { ServerReport } from "../../control/requests.ts";
import { messageOf, OpenmeError } from "../../values/errors.ts";
import { escapeUnprintable } from "../../values/text.ts";
import { tellDrops } from "../../receive/recent_drops.ts";
import { readSnapshot } from "../../state/read.ts";
import { type Command, renderJson, STATE_DIR } from "../context.ts";
import { findState, requireState } from "../load.ts";
import { askFleet, type Entry, textOf, timeOf, valuesOf } from "../fleet_question.ts";
import { renderTable } from "../output.ts";
import { inWords } from "./fleet.ts";
import { rulesWithoutGrant } from "../without_grant.ts";

export const sessions: Command = {
  about: "Shows who is let in now, from where, to which ports and for how long.",
  parameters: {
    "--watch": "draw the table each second until stopped, with the time left as a bar",
    "--fleet": "at every host of the fleet (server.fleet), not with --watch",
    "--json": `{"grants": [{"client", "address", "ports", "opened_at", "expires_at"}], "clients":
      [{"client", "last_seen_at"}]}: docs/json.md; with "failed": true where the firewall refused
      it, and "closes_at" where it stays open while it is used; with --watch one such line a second; with firewall: command also "without_grant":
      [{"address", "ports", "seen"}], rules that let an address in and that no grant covers, and
      from a running serve how many knocks of the last hour were "undecrypted" or had an
      "unknown_key" (both without --watch); with --fleet also "others": [{"host", "error", "grants"}]`,
    ...STATE_DIR,
  },
  example: "sudo openme sessions --watch",
  run: async (args, context) => {
    const { config, stateDir } = await findState(args, context);
    requireState(args, config);
    const json = args.values["json"] === true;
    if (args.values["watch"] && args.values["fleet"]) {
      throw new OpenmeError("USAGE", "--watch and --fleet exclude each other", {
        hint: "watch -n 5 openme sessions --fleet",
      });
    }
    if (args.values["watch"]) {
      const { watchSessions } = await import("./sessions_watch.ts");
      await watchSessions({ config, stateDir, json }, context);
      return 0;
    }
    const nowMs = Date.now();
    if (args.values["fleet"]) {
      const own = describeSnapshot(readSnapshot(stateDir, nowMs), config, nowMs);
      const { host, answers } = await askFleet(stateDir, { command: "sessions" }, context);
      const hosts = valuesOf(answers, "grants");
      if (json) context.stdout(renderJson({ ...own, others: hosts }));
      else {
        const all = [{ host, grants: own.grants as Entry[] }, ...hosts];
        const rows = all.flatMap(({ host, grants }) =>
          grants.map((grant) => [
            ...[textOf(host), textOf(grant["client"]), textOf(grant["address"])],
            ...[textOf(grant["ports"]), timeOf(grant["closes_at"] ?? grant["expires_at"])],
          ])
        );
        if (rows.length === 0) context.stderr("openme: nobody is let in at the moment");
        else context.stdout(renderTable(["HOST", "CLIENT", "ADDRESS", "PORTS", "UNTIL"], rows));
      }
      return answers.every(({ error }) => error === null) ? 0 : 1;
    }
    const snapshot = readSnapshot(stateDir, nowMs);
    const stray = await rulesWithoutGrant({ config, stateDir, grants: snapshot.grants })
      .catch((error) => {
        context.stderr(`openme: warning: ${escapeUnprintable(messageOf(error))}`);
        return [];
      });
    const { recentDrops: drops, fleet } = await serverReport(stateDir) ?? {};
    if (json) {
      const more = {
        ...(config?.firewall === "command" ? { without_grant: stray } : {}),
        ...(drops && { "undecrypted": drops.decrypt, "unknown_key": drops.signature }),
      };
      context.stdout(renderJson({ ...describeSnapshot(snapshot, config, nowMs), ...more }));
      return 0;
    }
    if (snapshot.grants.length === 0) context.stderr("openme: nobody is let in at the moment");
    else context.stdout(renderSessions(snapshot, config, nowMs));
    for (const { address, ports, seen } of stray) {
      context.stderr(
        `openme: warning: no grant covers ${address} ${ports.join(" ")}, which ${
          seen ? "is open" : "a dead openme serve had opened, and may still be open"
        }`,
      );
    }
    if (fleet && !fleet.engine.up) {
      context.stderr(`openme: warning: the engine of the fleet ${inWords(fleet)}`);
    }
    for (const line of drops ? tellDrops(drops) : []) context.stderr(`openme: ${line}`);
    if (stray.length > 0) {
      context.stderr(
        "openme: hint: a running openme serve closes it: see its log and openme doctor",
      );
    }
    return 0;
  },
};

/** What only a running server knows; `undefined` where none runs. */
async function serverReport(stateDir: string): Promise<ServerReport | undefined> {
  try {
    return await askServer(stateDir, { command: "status" }) as ServerReport;
  } catch {
    return undefined;
  }
}
