/** `openme import FILE`: profiles into the client's file. */

import { putProfiles } from "../../config/edit_profiles.ts";
import {
  parseClientConfig,
  parseClientValues,
  profilesOf,
  readProfiles,
} from "../../config/profiles.ts";
import { loadingFrom } from "../../config/fields.ts";
import { OpenmeError } from "../../values/errors.ts";
import { decodeText, loadError, readPlainFile } from "../../system/read_file.ts";
import { escapeUnprintable, looksLikeSecret, quote } from "../../values/text.ts";
import {
  type Arguments,
  clientConfigPath,
  type Context,
  renderJson,
  textFlag,
} from "../context.ts";
import { requireName } from "../edit_server_file.ts";
import { changeClientFile } from "../edit_client_file.ts";
import { keyFiles, readKeyFile } from "../key_file.ts";
import { printOrUndo } from "../undo.ts";

/** Far more than any profile has. */
const MOST_BYTES = 1 << 20;

const FORMS_HINT =
  "a profile is the YAML that openme add prints, the JSON of a QR code or an openme:// link";

type Values = Map<string, unknown>;

/** Imports all profiles of the file; `-` is standard input. */
export async function importProfiles(
  from: string,
  args: Arguments,
  context: Context,
): Promise<void> {
  const text = await readSource(from, context);
  const shown = from === "-" ? "standard input" : from;
  const profiles = await profilesIn(text, shown, args, context).catch((cause) => {
    if (!(cause instanceof OpenmeError) || cause.code !== "CONFIG" || cause.hint) throw cause;
    throw new OpenmeError(cause.code, cause.message, { cause, hint: FORMS_HINT });
  });
  const path = clientConfigPath(args, context);
  const undo = await changeClientFile(path, async (old) => {
    if (old?.trim() && !args.values["force"]) {
      refuseTaken(profiles, await parseClientConfig(old, path), path);
    }
    const edited = loadingFrom(path, () => putProfiles(old, profiles));
    await parseClientConfig(edited, path);
    return edited;
  });
  if (args.values["json"]) {
    const imported = [...profiles].map(([profile, values]) => {
      const host = values.get("server_host");
      if (!Array.isArray(host)) return { profile, host };
      return { profile, host: host[0], ...(host.length > 1 ? { hosts: host } : {}) };
    });
    await printOrUndo(renderJson({ profiles: imported }), context, {
      what: "what was imported",
      undo,
    });
  }
  if (!context.interactive) return;
  const names = [...profiles.keys()];
  context.stderr(`openme: imported ${names.join(", ")} into ${escapeUnprintable(path)}`);
  context.stderr(`openme: next: openme knock ${names.length === 1 ? names[0] : "PROFILE"}`);
}

async function readSource(from: string, context: Context): Promise<string> {
  await refuseSecret(from);
  const text = from === "-"
    ? await readStdin(context)
    : await readPlainFile(from, "name the file that openme add has made, or - for standard input");
  if (text.length <= MOST_BYTES) return text;
  const shown = from === "-" ? "standard input" : from;
  throw new OpenmeError("CONFIG", `cannot load ${quote(shown, 1000)}: it is too long`, {
    hint: FORMS_HINT,
  });
}

/** Refuses the profile itself in place of a file's name, without repeating it. */
async function refuseSecret(from: string): Promise<void> {
  if (!looksLikeSecret(from) || await Deno.stat(from).then(() => true, () => false)) return;
  throw new OpenmeError(
    "USAGE",
    "openme import: expected a FILE, got what looks like the profile or a key itself",
    { hint: "other users of this machine can see arguments; instead: echo LINK | openme import" },
  );
}

async function readStdin({ stdin, stderr }: Context): Promise<string> {
  if (Deno.stdin.isTerminal()) stderr("openme: paste the profile, then press Ctrl-D");
  try {
    return decodeText(await stdin());
  } catch (cause) {
    throw loadError("standard input", cause, { missingHint: "" });
  }
}

/** The profiles of a text in any form, whole and checked, under the names that they are to have. */
async function profilesIn(
  text: string,
  shown: string,
  args: Arguments,
  context: Context,
): Promise<Map<string, Values>> {
  const values = await parseClientValues(text, shown);
  const entries = loadingFrom(shown, () => profilesOf(values));
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
  for (const [name, { value }] of entries) {
    if (value instanceof Map) {
      await addPrivateKey(value, shown, args, context);
      dropPostKnock(name, value, args, context);
    }
    profiles.set(as ?? name, value as Values);
  }
  if (profiles.size === 0) {
    throw new OpenmeError("CONFIG", `cannot load ${quote(shown, 1000)}: there is no profile in it`);
  }
  await readProfiles(new Map([["profiles", profiles]]), shown); // says what is wrong
  return profiles;
}

/** The sender of a profile could run anything here: a line for each knock is the owner's to write. */
function dropPostKnock(name: string, profile: Values, args: Arguments, context: Context): void {
  const line = profile.get("post_knock");
  if (line === undefined || line === null || line === "" || args.values["allow-post-knock"]) return;
  profile.delete("post_knock");
  context.stderr(`openme: left out the post_knock of ${name}: ${quote(String(line), 500)}`);
  context.stderr("openme: hint: --allow-post-knock keeps it");
}

/** Gives a profile without a private key the one stored here that its public key belongs to. */
async function addPrivateKey(
  profile: Values,
  shown: string,
  args: Arguments,
  context: Context,
): Promise<void> {
  if (profile.has("private_key") || profile.has("identity")) return;
  const publicKey = profile.get("public_key");
  if (typeof publicKey !== "string") return; // the check that follows says what is missing
  const wanted = publicKey.replaceAll(/\s/g, "");
  const given = textFlag(args, "key");
  const files = given === undefined ? await keyFiles(args, context) : [given];
  for (const file of files) {
    // A file that holds no key is skipped, unless it was named.
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

function refuseTaken(
  profiles: ReadonlyMap<string, unknown>,
  there: ReadonlyMap<string, unknown>,
  path: string,
): void {
  const taken = [...profiles.keys()].find((name) => there.has(name));
  if (taken === undefined) return;
  throw new OpenmeError(
    "CONFIG",
    `cannot import ${quote(taken)}: ${path} has a profile of that name`,
    { hint: "give it another name with --as NAME, or replace the old one with --force" },
  );
}
