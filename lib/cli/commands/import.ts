/** `openme import`: profiles into the client's file; what other programs' files say into the server's. */

import { putProfiles } from "../../config/edit_profiles.ts";
import { parseClientConfig, parseClientValues, readProfiles } from "../../config/profiles.ts";
import { loadingFrom, namedEntries, Section } from "../../config/fields.ts";
import { OpenmeError } from "../../values/errors.ts";
import { decodeText, loadError, readPlainFile } from "../../system/read_file.ts";
import { escapeUnprintable, looksLikeSecret, quote } from "../../values/text.ts";
import {
  type Arguments,
  clientConfigPath,
  type Command,
  type Context,
  renderJson,
  textFlag,
} from "../context.ts";
import { requireName } from "../edit_server_file.ts";
import { changeClientFile } from "../edit_client_file.ts";
import { readKeyFile } from "../key_file.ts";
import { folderOfKeys, KEY_SUFFIX } from "./keygen.ts";
import { printOrUndo } from "../print_or_undo.ts";

/** Far more than any profile, and nothing that could hurt. */
const MOST_BYTES = 1 << 20;

/** Whose files the server's side of this command reads. */
const OTHERS = ["fwknop", "knockd"] as const;

export const importCommand: Command = {
  summary: "take over a profile; or clients from fwknop or knockd",
  help:
    `Puts a profile into the client's file (mode 0600): YAML from "openme add", the JSON of a QR code, or an openme://
link. A profile without a private key gets the one that "openme keygen" stored here.
With fwknop or knockd: turns their access.conf or knockd.conf into groups and clients of the server's configuration,
and lists what has no counterpart. Every client gets a new key; its profile goes to a file in --out-dir.

Usage: openme import [FILE|-] [--as NAME] [--key FILE] [--force] [--allow-post-knock] [--json]
       openme import fwknop|knockd FILE [--out-dir DIR] [--dry-run] [--json]

  FILE                what to read (default -: standard input)
  --as NAME           what the profile is to be called (default: its own name)
  --key FILE          the private key (default: whichever .key file beside the profiles fits)
  --force             replace profiles of the same name
  --allow-post-knock  keep the commands that the profile wants run after each knock
  --out-dir DIR       where the new clients' profiles go, one file each (default: here)
  --dry-run           change nothing, only say what would come of it
  --json              print what was imported: {"profiles": [{"profile", "host"}]} or {"groups", "clients", "left_out"}:
                      docs/json.md

Example:
  openme import laptop.yaml
`,
  options: {
    as: { type: "string" },
    key: { type: "string" },
    force: { type: "boolean" },
    "allow-post-knock": { type: "boolean" },
    "out-dir": { type: "string" },
    "dry-run": { type: "boolean" },
    json: { type: "boolean" },
  },
  positionals: 2,
  run: async (args, context) => {
    const [first = "-", second] = args.positionals;
    const other = OTHERS.find((each) => each === first);
    if (other) {
      refuse(args, ["as", "key", "force", "allow-post-knock"], `openme import ${other}`);
      if (second === undefined) {
        throw new OpenmeError("USAGE", `openme import ${other} needs its configuration FILE`, {
          hint: `for a profile in a file of that name: openme import ./${other}`,
        });
      }
      const { importServer } = await import("./import_server.ts");
      return await importServer(other, second, args, context);
    }
    if (second !== undefined) {
      throw new OpenmeError("USAGE", `openme import: unexpected argument ${quote(second)}`, {
        hint: "see openme import --help",
      });
    }
    refuse(args, ["out-dir", "dry-run"], "a profile");
    await importProfiles(first, args, context);
    return 0;
  },
};

type Values = Map<string, unknown>;

const FORMS_HINT =
  "a profile is the YAML that openme add prints, the JSON of a QR code or an openme:// link";

/** The profile itself where the name of a file is expected: it is told no further, though others may have seen it. */
async function refuseSecret(from: string): Promise<void> {
  if (!looksLikeSecret(from) || await Deno.stat(from).then(() => true, () => false)) return;
  throw new OpenmeError(
    "USAGE",
    "openme import: expected a FILE, got what looks like the profile or a key itself",
    { hint: "other users of this machine can see arguments; instead: echo LINK | openme import" },
  );
}

async function importProfiles(from: string, args: Arguments, context: Context): Promise<void> {
  const shown = from === "-" ? "standard input" : from;
  await refuseSecret(from);
  if (from === "-" && Deno.stdin.isTerminal()) {
    context.stderr("openme: paste the profile, then press Ctrl-D");
  }
  const text = from === "-"
    ? await readStdin(context)
    : await readPlainFile(from, "name the file that openme add has made, or - for standard input");
  if (text.length > MOST_BYTES) {
    throw new OpenmeError("CONFIG", `cannot load ${quote(shown, 1000)}: it is too long`, {
      hint: FORMS_HINT,
    });
  }
  const profiles = await profilesIn(text, shown, args, context).catch((cause) => {
    if (!(cause instanceof OpenmeError) || cause.code !== "CONFIG" || cause.hint) throw cause;
    throw new OpenmeError(cause.code, cause.message, { cause, hint: FORMS_HINT });
  });
  const path = clientConfigPath(args, context);
  const change = async (old: string | undefined) => {
    if (old !== undefined) await refuseOthersThere(old, path, profiles, args);
    const edited = loadingFrom(path, () => putProfiles(old, profiles));
    await parseClientConfig(edited, path);
    return edited;
  };
  const undo = await changeClientFile(path, change);
  const names = [...profiles.keys()];
  if (args.values["json"]) {
    const shown = [...profiles].map(([profile, values]) => ({
      profile,
      host: values.get("server_host"),
    }));
    await printOrUndo(renderJson({ profiles: shown }), context, {
      what: "what was imported",
      undo,
    });
  }
  if (!context.interactive) return;
  context.stderr(`openme: imported ${names.join(", ")} into ${escapeUnprintable(path)}`);
  const only = names.length === 1 ? ` ${names[0]}` : " PROFILE";
  context.stderr(`openme: next: openme knock${only}`);
}

async function readStdin({ stdin }: Context): Promise<string> {
  try {
    return decodeText(await stdin());
  } catch (cause) {
    throw loadError("standard input", cause, { missingHint: "" });
  }
}

/** The profiles in a text of whatever form, whole and checked, under the names that they are to have. */
async function profilesIn(
  text: string,
  shown: string,
  args: Arguments,
  context: Context,
): Promise<Map<string, Values>> {
  const values = await parseClientValues(text, shown);
  const entries = loadingFrom(shown, () => {
    const top = new Section(values, "", ["profiles"]);
    return namedEntries(top.required("profiles", "a map of profiles"), "profiles");
  });
  const as = textFlag(args, "as");
  if (as !== undefined) {
    requireName(as, "a profile");
    if (entries.length !== 1) {
      throw new OpenmeError("USAGE", `--as names one profile, and there are ${entries.length}`, {
        hint: "import them under their own names, or one by one",
      });
    }
  }
  const profiles = new Map<string, Values>();
  for (const [name, value] of entries) {
    if (!(value instanceof Map)) {
      await readProfiles(values, shown); // says what is wrong
      continue;
    }
    await addPrivateKey(value, shown, args, context);
    dropPostKnock(name, value, args, context);
    profiles.set(as ?? name, value);
  }
  if (profiles.size === 0) {
    throw new OpenmeError("CONFIG", `cannot load ${quote(shown, 1000)}: there is no profile in it`);
  }
  await readProfiles(new Map([["profiles", profiles]]), shown);
  return profiles;
}

/** A line that runs at every knock is the owner's to write: whoever sent the profile could run anything here. */
function dropPostKnock(name: string, profile: Values, args: Arguments, context: Context): void {
  const line = profile.get("post_knock");
  if (line === undefined || line === null || line === "" || args.values["allow-post-knock"]) return;
  profile.delete("post_knock");
  context.stderr(`openme: left out the post_knock of ${name}: ${quote(String(line), 500)}`);
  context.stderr("openme: hint: --allow-post-knock keeps it");
}

/** Where the profile has no private key of its own: the one stored here that its public key belongs to. */
async function addPrivateKey(
  profile: Values,
  shown: string,
  args: Arguments,
  context: Context,
): Promise<void> {
  if (profile.has("private_key")) return;
  const publicKey = profile.get("public_key");
  if (typeof publicKey !== "string") return; // the check that follows says what is missing
  const wanted = publicKey.replaceAll(/\s/g, "");
  const given = textFlag(args, "key");
  const files = given === undefined ? await keyFilesIn(folderOfKeys(args, context)) : [given];
  for (const file of files) {
    // What holds something else is skipped, unless it was asked for.
    const key = await readKeyFile(file).catch((cause) => {
      if (given !== undefined) throw cause;
    });
    if (key?.publicKey !== wanted) continue;
    profile.set("private_key", key.privateKey);
    return;
  }
  throw new OpenmeError(
    "KEY",
    `cannot import ${quote(shown, 1000)}: the profile has no private key, and none here fits it`,
    {
      hint: given === undefined
        ? "run it where openme keygen made the key, or name the file: --key FILE"
        : "is it the file that openme keygen wrote for this client?",
    },
  );
}

async function keyFilesIn(folder: string): Promise<string[]> {
  try {
    const entries = await Array.fromAsync(Deno.readDir(folder));
    return entries.filter(({ name }) => name.endsWith(KEY_SUFFIX)).map(({ name }) =>
      `${folder}/${name}`
    ).sort();
  } catch {
    return []; // no folder, no keys
  }
}

async function refuseOthersThere(
  old: string,
  path: string,
  profiles: ReadonlyMap<string, Values>,
  args: Arguments,
): Promise<void> {
  if (args.values["force"] || old.trim() === "") return;
  const there = await parseClientConfig(old, path);
  const taken = [...profiles.keys()].find((name) => there.has(name));
  if (taken === undefined) return;
  throw new OpenmeError(
    "CONFIG",
    `cannot import ${quote(taken)}: ${path} has a profile of that name`,
    {
      hint: "give it another name with --as NAME, or replace the old one with --force",
    },
  );
}

function refuse({ values }: Arguments, flags: readonly string[], what: string): void {
  const flag = flags.find((each) => values[each] !== undefined);
  if (flag === undefined) return;
  throw new OpenmeError("USAGE", `--${flag} does not go with ${what}`, {
    hint: "see openme import --help",
  });
}
