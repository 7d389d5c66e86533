/** How `add` and `rotate` give out a new profile: on stdout, as a file, as a QR code, as JSON or as a link. */

import { escapeUnprintable } from "../values/text.ts";
import {
  type NewProfile,
  renderProfileJson,
  renderProfileLink,
  renderProfileYaml,
} from "../config/profile_text.ts";
import { OpenmeError } from "../values/errors.ts";
import {
  type Arguments,
  type Context,
  flagError,
  givenFlag,
  type Parameters,
  renderJson,
  textFlag,
} from "./context.ts";
import type { ServerFile } from "./edit_server_file.ts";
import { makeFile } from "./new_file.ts";
import { type NewFile, printOrUndo, withNewFiles } from "./undo.ts";

/** The flags for it. */
export const PROFILE_FLAGS: Parameters = {
  "--profile NAME": `what the profile is called (default: server.default_profile, or "default")`,
  "--pubkey BASE64":
    `the client's own public key, from "openme keygen" there: no private key is made here`,
  "--ssh-key FILE": `the client's own ssh key: the .pub file, or an authorized_keys (FILE#COMMENT or
    FILE#FINGERPRINT for one of several); - for standard input. The ssh-agent there signs the knocks,
    and no private key is made here`,
  "--out FILE": "write the profile (YAML) to a new file, mode 0600; - for standard output",
  "--qr": "show it as a QR code for the mobile apps",
  "--qr-out FILE": "write the QR code to a new file, .png or .svg, mode 0600",
  "--link":
    `print it as an openme:// link (with none of --out, --qr, --qr-out and --link: print it as
    YAML)`,
  "--json": `print what was done (docs/json.md); the profile is not in it, but goes where --out or
    --qr-out say, or with --link is in it as "link"`,
};

/** Checks the flags before anything is done. */
export function checkProfileFlags(args: Arguments): void {
  const qrFile = textFlag(args, "qr-out");
  if (qrFile !== undefined && !/\.(png|svg)$/i.test(qrFile)) {
    throw flagError("qr-out", "a file name that ends in .png or .svg", qrFile);
  }
  if (textFlag(args, "out") === "") throw flagError("out", "a file name", "");
  const json = args.values["json"] === true;
  const shown = ["qr", json ? "json" : "link"].filter((flag) => args.values[flag]);
  if (textFlag(args, "out") === "-") shown.push("out -");
  if (shown.length > 1) {
    throw new OpenmeError("USAGE", `--${shown[0]} and --${shown[1]} exclude each other`, {
      hint: "standard output has room for one of them",
    });
  }
  // Of a key that is made here, the private half would be lost.
  if (json && !givenFlag(args, ["out", "qr-out", "link", "pubkey", "ssh-key"])) {
    throw new OpenmeError("USAGE", "--json prints what was done, and not the profile", {
      hint: "say where the profile goes: --out FILE, or --link to have it in the JSON",
    });
  }
}

/**
 * Writes the files that were asked for, saves the edit of the server's file, and prints the rest. In this order, so that
 * no client is registered whose private key got lost; where saving or printing fails, all of it is undone.
 */
export async function printProfile(
  profile: NewProfile,
  { name, args, context, file, result }: {
    /** Of the client. */
    name: string;
    args: Arguments;
    context: Context;
    file: Pick<ServerFile, "save" | "restore">;
    /** What `--json` prints of the client. */
    result: Record<string, unknown>;
  },
): Promise<void> {
  const files = await renderFiles(profile, args);
  const shown = await renderShown(profile, { args, context, files, result });
  await withNewFiles(files, (...file) => makeFile(file, context), async () => {
    // A file that holds the profile too is enough.
    if (shown !== "" && profile.privateKey && files.length === 0) {
      await requireOutput(name, context);
    }
    await file.save();
    if (shown === "") return;
    await printOrUndo(shown, context, {
      what: `the profile of ${name}`,
      undo: file.restore,
      hint: "see where standard output goes, or write the profile to a file: --out FILE",
      doneHint:
        `${name} has a key that nobody holds; make another: openme rotate ${name} --grace 0`,
    });
  });
  for (const [path] of files) context.stderr(`openme: wrote ${escapeUnprintable(path)}`);
}

/** What `--out` and `--qr-out` ask for. */
async function renderFiles(profile: NewProfile, args: Arguments): Promise<NewFile[]> {
  const files: NewFile[] = [];
  const out = outFileOf(args);
  if (out !== undefined) files.push([out, renderProfileYaml(profile)]);
  const qrOut = textFlag(args, "qr-out");
  if (qrOut !== undefined) {
    const { qrPng, qrSvg } = await import("./qr.ts");
    const render = /\.png$/i.test(qrOut) ? qrPng : qrSvg;
    files.push([qrOut, render(renderProfileJson(profile))]);
  }
  return files;
}

/** What goes to standard output. */
async function renderShown(
  profile: NewProfile,
  { args, context, files, result }: {
    args: Arguments;
    context: Context;
    files: readonly NewFile[];
    result: Record<string, unknown>;
  },
): Promise<string> {
  if (args.values["qr"]) {
    const { qrText } = await import("./qr.ts");
    return qrText(renderProfileJson(profile), { colors: !context.env("NO_COLOR") });
  }
  const link = args.values["link"] ? renderProfileLink(profile) : undefined;
  if (args.values["json"]) {
    return renderJson({
      ...result,
      profile: profile.name,
      file: outFileOf(args),
      "qr_file": textFlag(args, "qr-out"),
      link,
    });
  }
  if (link !== undefined) return link + "\n";
  return files.length === 0 || textFlag(args, "out") === "-" ? renderProfileYaml(profile) : "";
}

/** The file of `--out`; `-` is standard output. */
function outFileOf(args: Arguments): string | undefined {
  const out = textFlag(args, "out");
  return out === "-" ? undefined : out;
}

/** Throws where the profile would be lost. */
async function requireOutput(name: string, context: Context): Promise<void> {
  if (!await context.outputIsLost()) return;
  throw new OpenmeError(
    "OUTPUT",
    `cannot print the profile of ${name}: standard output is closed, or leads to /dev/null; nothing has changed`,
    { hint: "the profile is shown once: let it go to a file, --out FILE, or into openme import" },
  );
}

/** Says what to do with the profile. */
export function tellHowToKeep({ privateKey, identity }: NewProfile, context: Context): void {
  context.stderr(
    identity !== undefined
      ? "openme: the profile has no private key in it: the client's ssh-agent signs (docs/client.md, Your ssh key)"
      : privateKey
      ? "openme: the profile holds a private key: keep it where nobody else can read it (chmod 600)"
      : "openme: the profile has no private key in it: on the client, openme import puts the two together",
  );
}
