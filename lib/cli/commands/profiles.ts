/** `openme profiles`: lists the profiles of the client's file, renames or removes one. */

import { hostsOf } from "../../client/hosts.ts";
import { parseClientConfig, pickProfile, type Profile } from "../../config/profiles.ts";
import { removeProfile, renameProfile } from "../../config/edit_profiles.ts";
import { loadingFrom } from "../../config/fields.ts";
import { OpenmeError } from "../../values/errors.ts";
import { readSecretFile } from "../../system/read_file.ts";
import { escapeUnprintable, quote } from "../../values/text.ts";
import { changeClientFile } from "../edit_client_file.ts";
import {
  type Arguments,
  clientConfigPath,
  type Command,
  type Context,
  renderJson,
} from "../context.ts";
import { requireName } from "../edit_server_file.ts";
import { printOrUndo } from "../undo.ts";
import { renderTable } from "../output.ts";

const MISSING_HINT = "get a profile from the server: openme add NAME";

export const profiles: Command = {
  about: "Lists the profiles in the client's file, renames one or removes one.",
  arguments: "[rename|remove] [PROFILE] [NEW]",
  usage: [
    "[--json]",
    "rename PROFILE NEW [--json]",
    "remove PROFILE [--json]",
  ],
  parameters: {
    "--json": `{"profiles": [{"profile", "host"}]}, after the change: docs/json.md`,
  },
  notes:
    `A removed profile is gone with its private key; on the server its client stays until openme revoke.`,
  example: "openme profiles rename default home",
  run: async (args, context) => {
    const [what, ...names] = args.positionals;
    if (what === undefined) await list(args, context);
    else if (what === "rename" && names.length === 2) {
      const [from, to] = names as [string, string];
      requireName(to, "a profile");
      await change(args, context, {
        edit: (text, there) => {
          pickProfile(there, from);
          if (there.has(to)) {
            throw new OpenmeError(
              "CONFIG",
              `cannot rename ${quote(from)}: there is a profile ${quote(to)} already`,
              { hint: "openme profiles lists them" },
            );
          }
          return renameProfile(text, from, to);
        },
        told: `renamed ${from} to ${to}`,
      });
    } else if (what === "remove" && names.length === 1) {
      const [name] = names as [string];
      await change(args, context, {
        edit: (text, there) => {
          pickProfile(there, name);
          return removeProfile(text, name);
        },
        told: `removed ${name}`,
      });
    } else {
      throw new OpenmeError(
        "USAGE",
        "openme profiles: expected nothing, rename OLD NEW, or remove NAME",
        { hint: "see openme profiles --help" },
      );
    }
    return 0;
  },
};

async function list(args: Arguments, context: Context): Promise<void> {
  const path = clientConfigPath(args, context);
  const text = await readSecretFile(path, { missingHint: MISSING_HINT });
  const found = await parseClientConfig(text, path);
  if (args.values["json"]) return context.stdout(renderAll(found));
  const rows = [...found.values()].map((each) => [each.name, hostsOf(each).join(", ")]);
  context.stdout(renderTable(["PROFILE", "HOST"], rows));
}

function renderAll(found: ReadonlyMap<string, Profile>): string {
  const shown = [...found.values()].map((each) => ({
    profile: each.name,
    host: each.serverHost,
    ...(each.otherHosts ? { hosts: hostsOf(each) } : {}),
  }));
  return renderJson({ profiles: shown });
}

async function change(
  args: Arguments,
  context: Context,
  { edit, told }: {
    readonly edit: (text: string, there: ReadonlyMap<string, Profile>) => string;
    readonly told: string;
  },
): Promise<void> {
  const path = clientConfigPath(args, context);
  await readSecretFile(path, { missingHint: MISSING_HINT }); // no file is made for it
  let left: ReadonlyMap<string, Profile> = new Map();
  const undo = await changeClientFile(path, async (text = "") => {
    const there = await parseClientConfig(text, path);
    const edited = loadingFrom(path, () => edit(text, there));
    left = await parseClientConfig(edited, path);
    return edited;
  });
  if (args.values["json"]) {
    await printOrUndo(renderAll(left), context, { what: "what was changed", undo });
  }
  context.stderr(`openme: ${told} in ${escapeUnprintable(path)}`);
}
