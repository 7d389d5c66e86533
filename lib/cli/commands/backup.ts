/** `openme backup`: configuration, keys and history in one encrypted file. */

import { type Backup, packBackup } from "../../backup/contents.ts";
import { RevokedKeys } from "../../fleet/revoked.ts";
import { isDamage } from "../../state/database.ts";
import { exportState, floorOfRestore } from "../../state/transfer.ts";
import { clientsFolder } from "../../system/config_files.ts";
import { withFileLock } from "../../system/write_file.ts";
import { isThere } from "../../system/is_there.ts";
import { messageOf, OpenmeError } from "../../values/errors.ts";
import { escapeUnprintable, quote } from "../../values/text.ts";
import { VERSION } from "../../values/version.ts";
import { renderContents, renderContentsJson } from "../backup_contents.ts";
import { type Command, configPath, type Context, STATE_DIR } from "../context.ts";
import { loadServerConfig, readServerText, stateDirOf } from "../load.ts";
import { makeFile } from "../new_file.ts";
import { newPassphrase, PASSPHRASE_FLAG } from "../passphrase.ts";

export const backup: Command = {
  about:
    `Writes the server's configuration with the files of clients.d, the keys in them and the history
into one new file (mode 0600), encrypted with a passphrase, and prints what it holds. The server may
run meanwhile.`,
  arguments: "FILE",
  parameters: {
    "FILE": "what to make; a file that is there is never replaced",
    ...PASSPHRASE_FLAG,
    "--json": `{"file", "made_at", "version", "host", "contents": [{"name", "size", "what"}]}:
      docs/json.md`,
    ...STATE_DIR,
  },
  notes:
    `openme restore puts it back, here or on another machine. Without openme, age opens it: age -d FILE |
tar -t lists it. Grants are not in it; nor are programs that the configuration names.`,
  example: "sudo openme backup vps.age",
  run: async (args, context) => {
    const file = args.positionals[0]!;
    if (file === "" || file === "-") {
      throw new OpenmeError(
        "USAGE",
        `openme backup: expected the name of a file, got ${quote(file)}`,
      );
    }
    const path = configPath(args);
    await readServerText(path); // before the lock: a missing file gets its own error
    const { config, text, people } = await withFileLock(path, () => loadServerConfig(path));
    refuseExisting(file);
    const madeAtMs = Date.now();
    const { replayWindowMs, host } = config;
    const stateDir = stateDirOf(args, config);
    const backup: Backup = {
      madeAtMs,
      madeBy: VERSION,
      host,
      config: text,
      people: await Promise.all(people.map(async ({ file, text }) => ({
        name: file.slice(clientsFolder(path).length + 1),
        mode: (await Deno.stat(file)).mode! & 0o777,
        text,
      }))),
      state: readState(
        stateDir,
        floorOfRestore({ madeAtMs, nowMs: madeAtMs, replayWindowMs }),
        context,
      ),
      revokedKeys: RevokedKeys.open(stateDir).text,
    };
    const passphrase = await newPassphrase(args, context);
    const { encryptBackup } = await import("../../backup/age.ts");
    await makeFile([file, await encryptBackup(packBackup(backup), passphrase)], context);
    context.stdout(
      args.values["json"] ? renderContentsJson(file, backup) : renderContents(backup),
    );
    context.stderr(
      `openme: wrote ${escapeUnprintable(file)}: without its passphrase it is worth nothing`,
    );
    return 0;
  },
};

/** The state; without it where the database is damaged: the keys must not depend on the history. */
function readState(dir: string, floorNs: bigint, { stderr }: Context): string | undefined {
  try {
    return exportState(dir, floorNs);
  } catch (error) {
    if (!(error instanceof OpenmeError) || !isDamage(error.cause)) throw error;
    stderr(`openme: warning: ${escapeUnprintable(messageOf(error))}`);
    stderr("openme: going on: the backup holds everything but the history");
    return undefined;
  }
}

/** Before a passphrase is asked for. */
function refuseExisting(file: string): void {
  if (!isThere(file)) return;
  throw new OpenmeError("CONFIG", `cannot write ${quote(file, 1000)}: it exists already`, {
    hint: "choose another name, or remove it",
  });
}
