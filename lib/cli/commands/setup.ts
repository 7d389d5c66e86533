/** `openme setup`: from nothing to guarded, in one command that a lost session cannot leave half done. */

import { OpenmeError } from "../../values/errors.ts";
import { escapeUnprintable } from "../../values/text.ts";
import {
  type Arguments,
  type Command,
  configPath,
  durationFlag,
  flagError,
  textFlag,
} from "../context.ts";
import { requireGround } from "../setup/host.ts";
import { PLACES } from "../setup/steps.ts";
import { writeUnits } from "../setup/units.ts";
import { setUp } from "./setup_run.ts";
import { undo } from "./setup_undo.ts";

const DEFAULT_WAIT_MS = 300_000;

export const setup: Command = {
  about:
    `Hides ports of this host from nothing to the end: writes the configuration, installs the systemd
units and starts the server so that everything is put back unless a client's knock opens within
some minutes; prints what to type at that client; and makes all of it permanent after that knock.
Every step is printed as the command that does it by hand. Where it is stopped, killed or loses its
session before the knock, everything is put back. Run again, it changes nothing.`,
  usage: [
    "[--server HOST] [--ports A,B] [--client NAME] [--pubkey BASE64|--link|--qr] [--confirm TIME] [--yes]",
    "--yes --no-wait [--out FILE] [...]",
    "--undo [--yes]",
    "--units DIR",
  ],
  parameters: {
    "--server HOST": "the name or address that clients use (default: what this host knows of it)",
    "--ports A,B": "the ports to hide, such as 22/tcp,8443/tcp (default: those of ssh)",
    "--client NAME": "what to call the first client (default laptop)",
    "--pubkey BASE64": `the client's own public key, from "openme keygen" there`,
    "--link": "show the client's profile as an openme:// link, instead of fetching it over ssh",
    "--qr": "show it as a QR code for the mobile apps",
    "--confirm TIME": "how long to wait for the first knock before all is put back (default 5m)",
    "--yes": "ask nothing: take the default for whatever is not given",
    "--no-wait":
      `make it permanent at once, without a knock: who made a mistake is locked out. For machines
      that are set up by a program; prints the client's profile`,
    "--out FILE": "with --no-wait: write the profile to a new file, mode 0600",
    "--undo": "take back everything that setup made, keys included",
    "--units DIR": "only write the systemd units, those that are missing there",
  },
  example: "sudo openme setup --server vps.example.org",
  run: async (args, context) => {
    const folder = textFlag(args, "units");
    if (folder !== undefined) {
      const written = await writeUnits(folder);
      for (const path of written) context.stderr(`openme: wrote ${escapeUnprintable(path)}`);
      if (written.length === 0) context.stderr("openme: the units are there already");
      return 0;
    }
    if (configPath(args) !== PLACES.config) {
      throw flagError("config", PLACES.config, configPath(args), "the units read that one");
    }
    const timeoutMs = durationFlag(args, "confirm", { minMs: 1000, maxMs: 3_600_000 });
    requireAnswers(args);
    const program = requireGround();
    return args.values["undo"] === true
      ? await undo(args, context, { program })
      : await setUp(args, context, { program, timeoutMs: timeoutMs ?? DEFAULT_WAIT_MS });
  },
};

function requireAnswers({ values }: Arguments): void {
  if (values["yes"] === true || Deno.stdin.isTerminal()) return;
  throw new OpenmeError("USAGE", "openme setup asks questions, and standard input is no terminal", {
    hint: "run it on a terminal, or with --yes, which takes the defaults",
  });
}
