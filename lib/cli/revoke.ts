/** `openme revoke`: a client's key is no good from now on. */

import { removeClient } from "../config/server_edit.ts";
import { askServer } from "../control.ts";
import type { CloseReport, CloseRequest } from "../control_requests.ts";
import { fingerprint } from "../crypto_sync.ts";
import { messageOf, OpenmeError } from "../errors.ts";
import type { Cut } from "../firewall/cut.ts";
import { subtractPortRanges } from "../ports.ts";
import { escapeUnprintable } from "../quote.ts";
import { tellCut } from "./close.ts";
import { type Command, configPath, renderJson, textFlag } from "./context.ts";
import { editServerFile, keepPortsGuarded, requireClient } from "./edit_server.ts";

export const revoke: Command = {
  summary: "take a client's key back; its grants end at once",
  help:
    `Takes a client out of the server's configuration. A running "openme serve" withdraws the client's open grants in
the same second; connections that are established by then live on, unless --kill cuts them. Ports that nobody else's
entry and no group names go into the group "guarded", so that they stay closed.

Usage: openme revoke NAME [--kill] [--json] [--state-dir DIR]

  --kill           cut the client's established connections too, through the running "openme serve"
  --json           print what was revoked: {"revoked": {"client", "fingerprint"}}, with --kill also
                   "cut": {"connections", "left", "missing"}, or null where serve could not be asked: docs/json.md
  --state-dir DIR  with --kill: where serve keeps its state (default: server.state_dir)

--kill cuts by address: everyone behind the client's address is cut from the client's ports. Where serve does not run,
or cannot cut, the key is revoked all the same, and the exit code is 1.

Example:
  sudo openme revoke alice --kill
`,
  options: {
    kill: { type: "boolean" },
    json: { type: "boolean" },
    "state-dir": { type: "string" },
  },
  positionals: 1,
  run: async (args, context) => {
    const name = args.positionals[0];
    if (name === undefined) {
      throw new OpenmeError("USAGE", "openme revoke needs the client's NAME", {
        hint: "openme list shows them all",
      });
    }
    const kill = args.values["kill"] === true;
    const json = args.values["json"] === true;
    const givenDir = textFlag(args, "state-dir");
    if (givenDir !== undefined && !kill) {
      throw new OpenmeError("USAGE", "--state-dir does nothing without --kill", {
        hint: "see openme revoke --help",
      });
    }
    const path = configPath(args);
    const edited = await editServerFile(path, async (files) => {
      const { config, editClient, fileOf, save } = files;
      const client = requireClient(config, name);
      const file = fileOf(name);
      const { guardedPorts } = editClient(name, (text) => removeClient(text, name));
      const left = subtractPortRanges(config.guardedPorts, guardedPorts);
      const told = keepPortsGuarded(files, left, path);
      await save();
      return { client, file, told, stateDir: givenDir ?? config.stateDir };
    });
    const key = fingerprint(edited.client.publicKey);
    context.stderr(`openme: revoked ${name} (key ${key}) in ${escapeUnprintable(edited.file)}`);
    if (edited.file !== path) {
      context.stderr("openme: if another program writes that file, take the client out there too");
    }
    edited.told.forEach(context.stderr);
    const cut = kill ? await askToCut(name, edited.stateDir) : undefined;
    if (json) {
      const revoked = { client: name, fingerprint: key };
      const shown = cut instanceof OpenmeError ? null : cut;
      context.stdout(renderJson({ revoked, ...(kill ? { cut: shown } : {}) }));
    }
    if (cut instanceof OpenmeError) throw cut;
    if (cut) tellCut(cut, { json }, context);
    return 0;
  },
};

/** Has `serve` cut what the client still holds; what prevents that comes back as an error. */
async function askToCut(name: string, stateDir: string): Promise<Cut | OpenmeError> {
  const request: CloseRequest = { command: "close", client: name, kill: true, revoked: true };
  try {
    const { cut } = await askServer(stateDir, request) as CloseReport;
    return cut ?? { connections: 0, left: 0, missing: [] };
  } catch (cause) {
    return new OpenmeError(
      "STATE",
      `the key is revoked, but no connection was cut: ${messageOf(cause)}`,
      {
        hint: (cause instanceof OpenmeError && cause.hint ? `${cause.hint}; ` : "") +
          `then: openme close ${name} --kill`,
        cause,
      },
    );
  }
}
