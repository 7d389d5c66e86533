/** `openme rename`: the same client under another name. */

import { renameClient, renameNeeded } from "../../config/edit_server.ts";
import { OpenmeError } from "../../values/errors.ts";
import { escapeUnprintable, quote } from "../../values/text.ts";
import { type Command, configPath, renderJson } from "../context.ts";
import { printOrUndo } from "../undo.ts";
import { editServerFile, requireClient, requireName } from "../edit_server_file.ts";

export const rename: Command = {
  about:
    `Gives a client another name in the server's configuration. Key, ports and open grants stay as they
are; the history keeps the name that the client had at the time.`,
  arguments: "CLIENT NEW",
  parameters: {
    "--json": `print what was renamed: {"renamed": {"from", "to"}}: docs/json.md`,
  },
  example: "sudo openme rename laptop alice-laptop",
  run: async (args, context) => {
    const [from, to] = args.positionals as [string, string];
    requireName(to, "a client");
    const path = configPath(args);
    const file = await editServerFile(path, async (server) => {
      const { config, editClient, save, restore } = server;
      requireClient(config, from);
      if (config.clients.some(({ name }) => name === to)) {
        throw new OpenmeError(
          "CONFIG",
          `cannot rename ${quote(from)}: there is a client ${quote(to)} already`,
          { hint: "openme list shows them all" },
        );
      }
      const file = editClient(from, (text) => renameClient(text, from, to));
      for (const { name, rules } of config.clients) {
        if (!rules?.needs?.includes(from)) continue;
        editClient(name, (text) => renameNeeded(text, name, from, to));
      }
      await save();
      if (args.values["json"]) {
        const shown = renderJson({ renamed: { from, to } });
        await printOrUndo(shown, context, { what: "what was renamed", undo: restore });
      }
      return file;
    });
    context.stderr(`openme: renamed ${from} to ${to} in ${escapeUnprintable(file)}`);
    return 0;
  },
};
