/** `openme doctor`: looks for what is wrong, on a server and on a client, and says what to do. */

import { type Finding, paintFor, renderFindings, warn } from "../output.ts";
import { OpenmeError } from "../../values/errors.ts";
import { escapeUnprintable } from "../../values/text.ts";
import {
  type Arguments,
  clientConfigPath,
  type Command,
  configPath,
  type Context,
  homeOf,
  renderJson,
  STATE_DIR,
  textFlag,
} from "../context.ts";
import { PROFILE_VARIABLE } from "../load_profile.ts";
import { CODE } from "../network_flags.ts";

export const doctor: Command = {
  about:
    `Looks for what is wrong and says what to do: on a server where there is a server's configuration,
on a client where there are profiles.`,
  arguments: "[PROFILE]",
  parameters: {
    "PROFILE": `which profile to look at (default: the only one, or "default")`,
    "--server": "only this host as a server",
    "--client": "only this host as a client; knocks once and asks the server's health port",
    "--json":
      `{"findings": [{"level": "ok", "warn" or "fail", "what", "found", "hint"}]}: docs/json.md`,
    ...CODE,
    ...STATE_DIR,
  },
  notes:
    `The firewall is looked at by the backend that is in use, which a running serve is asked for. What
the programs of firewall: command have done is not looked at. Without a file, OPENME_PROFILE holds
the profile.

Exit codes: 0 nothing is wrong (there may be warnings), 1 something is.`,
  example: "sudo openme doctor",
  run: async (args, context) => {
    const { server, client, closed } = await whichOf(args, context);
    const findings: Finding[] = [];
    if (server) {
      const { examineServer } = await import("./doctor_server.ts");
      findings.push(...await examineServer(args, context));
    }
    if (client) {
      const { examineClient } = await import("./doctor_client.ts");
      findings.push(...await examineClient(args, context));
    }
    if (closed) {
      const found = `${configPath(args)}: permission denied: not looked at as a server`;
      findings.push(warn("config", found, "if it is one: sudo openme doctor --server"));
    }
    const clean = findings.map((finding) => ({
      ...finding,
      found: escapeUnprintable(finding.found),
      ...(finding.hint === undefined ? {} : { hint: escapeUnprintable(finding.hint) }),
    }));
    const paint = paintFor(context);
    context.stdout(
      args.values["json"]
        ? renderJson({ findings: clean })
        : renderFindings(clean, (level, text) => paint(COLOURS[level], text)),
    );
    return findings.some(({ level }) => level === "fail") ? 1 : 0;
  },
};

const COLOURS = { ok: "green", warn: "yellow", fail: "red" } as const;

/** What to look at. `closed`: beside a profile there is a server's configuration that this user may not read. */
async function whichOf(args: Arguments, context: Context) {
  const { server, client } = args.values;
  if (server && client) {
    throw new OpenmeError("USAGE", "--server and --client exclude each other", {
      hint: "leave out both to look at both",
    });
  }
  if (server && args.positionals.length > 0) {
    throw new OpenmeError("USAGE", "a server has no profile", { hint: "see openme doctor --help" });
  }
  if (server || client) return { server, client, closed: false };
  const there = args.positionals.length === 0 ? await find(configPath(args)) : "missing";
  const closed = there === "closed";
  if (await hasProfiles(args, context)) return { server: there === "there", client: true, closed };
  // One that this user may not read, too: examineServer says what to do.
  if (there !== "missing") return { server: true, client: false, closed: false };
  throw new OpenmeError("CONFIG", "there is neither a server's configuration nor a profile here", {
    hint: "on a server: openme init --server HOST; on a client: a profile from openme add NAME",
  });
}

/** Whether this user has profiles; none without a known home. */
async function hasProfiles(args: Arguments, context: Context): Promise<boolean> {
  if (textFlag(args, "client-config") === undefined) {
    if (context.env(PROFILE_VARIABLE) !== undefined) return true;
    if (homeOf(context) === undefined) return false;
  }
  return await find(clientConfigPath(args, context)) !== "missing";
}

/** Whether there is a file; `closed` where this user may not see it. */
async function find(path: string): Promise<"there" | "closed" | "missing"> {
  try {
    await Deno.stat(path);
    return "there";
  } catch (error) {
    return error instanceof Deno.errors.PermissionDenied ? "closed" : "missing";
  }
}
