/** `openme revoke`: a client's key is no good from now on. */

import { removeClient } from "../config/server_edit.ts";
import { fingerprint } from "../crypto_sync.ts";
import { OpenmeError } from "../errors.ts";
import { subtractPortRanges } from "../ports.ts";
import { type Command, configPath } from "./context.ts";
import { editServerFile, keepPortsGuarded, requireClient } from "./edit_server.ts";

export const revoke: Command = {
  summary: "take a client's key back; its grants end at once",
  help:
    `Takes a client out of the server's configuration. A running "openme serve" withdraws the client's open grants in
the same second; connections that are established by then live on. Ports that nobody else's entry and no group names
go into the group "guarded", so that they stay closed.

Usage: openme revoke NAME [--json]

  --json   print what was revoked: {"revoked": {"name", "fingerprint"}}

Example:
  sudo openme revoke alice
`,
  options: { json: { type: "boolean" } },
  positionals: 1,
  run: async (args, context) => {
    const name = args.positionals[0];
    if (name === undefined) {
      throw new OpenmeError("USAGE", "openme revoke needs the client's NAME", {
        hint: "openme list shows them all",
      });
    }
    const path = configPath(args);
    const { client, told } = await editServerFile(path, async ({ config, edit, save }) => {
      const client = requireClient(config, name);
      const { guardedPorts } = edit((text) => removeClient(text, name));
      const left = subtractPortRanges(config.guardedPorts, guardedPorts);
      const told = keepPortsGuarded(edit, left, path);
      await save();
      return { client, told };
    });
    if (args.values["json"]) {
      const revoked = { name, fingerprint: fingerprint(client.publicKey) };
      context.stdout(JSON.stringify({ revoked }) + "\n");
    }
    context.stderr(
      `openme: revoked ${name} (key ${fingerprint(client.publicKey)}) in ${path}`,
    );
    told.forEach(context.stderr);
    return 0;
  },
};
