/** `openme import`: profiles into the client's file, or clients of other programs into the server's. */

import { OpenmeError } from "../../values/errors.ts";
import { quote } from "../../values/text.ts";
import { type Arguments, type Command, givenFlag } from "../context.ts";

/** The other programs. */
const OTHERS = ["fwknop", "knockd"] as const;

export const importCommand: Command = {
  about:
    `Puts a profile into the client's file (mode 0600): YAML from "openme add", the JSON of a QR code,
or an openme:// link. A profile without a private key gets the one that "openme keygen" stored
here. With fwknop or knockd: turns their access.conf or knockd.conf into groups and clients of the
server's configuration, and lists what has no counterpart. Every client gets a new key; its
profile goes to a file in --out-dir.`,
  arguments: "[fwknop|knockd|FILE] [FILE]",
  usage: [
    "[FILE|-] [--as NAME] [--key FILE] [--force] [--allow-post-knock] [--json]",
    "fwknop|knockd FILE [--out-dir DIR] [--dry-run] [--json]",
  ],
  parameters: {
    "FILE": "what to read (default -: standard input)",
    "--as NAME": "what the profile is to be called (default: its own name)",
    "--key FILE": "the private key (default: whichever .key file beside the profiles fits)",
    "--force": "replace profiles of the same name",
    "--allow-post-knock": "keep the commands that the profile wants run after each knock",
    "--out-dir DIR": "where the new clients' profiles go, one file each (default: here)",
    "--dry-run": "change nothing, only say what would be added",
    "--json": `print what was imported: {"profiles": [{"profile", "host"}]} or {"groups", "clients",
      "left_out"}: docs/json.md`,
  },
  example: "openme import laptop.yaml",
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
    const { importProfiles } = await import("./import_profiles.ts");
    await importProfiles(first, args, context);
    return 0;
  },
};

function refuse(args: Arguments, flags: readonly string[], what: string): void {
  const flag = givenFlag(args, flags);
  if (flag === undefined) return;
  throw new OpenmeError("USAGE", `${flag} does not go with ${what}`, {
    hint: "see openme import --help",
  });
}
