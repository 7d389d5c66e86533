/** `openme restore`: puts a backup in place, on the same machine or another one. */

import { type Backup, unpackBackup } from "../../backup/contents.ts";
import { flawIn } from "../../backup/flaw.ts";
import { parseServerConfig, type ServerConfig } from "../../config/server.ts";
import { parseRevokedKeys, RevokedKeys } from "../../fleet/revoked.ts";
import { makeStateDir } from "../../state/directory.ts";
import { isLocked, takeLock } from "../../state/lock.ts";
import { floorOfRestore, importState } from "../../state/transfer.ts";
import { hasConfig, stageConfig } from "../../system/place_config.ts";
import { loadError } from "../../system/read_file.ts";
import { withFileLock } from "../../system/write_file.ts";
import { OpenmeError } from "../../values/errors.ts";
import { isoTime } from "../../values/moment.ts";
import { escapeUnprintable, quote } from "../../values/text.ts";
import { renderContents, renderContentsJson } from "../backup_contents.ts";
import {
  type Arguments,
  type Command,
  configPath,
  type Context,
  STATE_DIR,
  textFlag,
} from "../context.ts";
import { findState } from "../load.ts";
import { knownPassphrase, PASSPHRASE_FLAG } from "../passphrase.ts";

const STOP_HINT = "stop it first, and start it again afterwards: docs/living.md";

export const restore: Command = {
  about:
    `Puts a backup in place: the configuration with the files of clients.d, and the history beside the one
that is there. All of it or, where anything is wrong, nothing. Every knock from before is refused
from then on, also one that was recorded after the backup was made.`,
  arguments: "FILE",
  usage: [
    "FILE [--force] [--passphrase-file FILE] [--state-dir DIR] [--json]",
    "FILE --list [--passphrase-file FILE] [--json]",
  ],
  parameters: {
    "FILE": "what openme backup has made",
    "--list": "change nothing, only print what it holds",
    "--force": "replace a configuration that is there; the old one is kept beside it",
    ...PASSPHRASE_FLAG,
    "--json": `{"file", "made_at", "version", "host", "contents": [{"name", "size", "what"}]}, and
      "kept", "floor_at" after a restore: docs/json.md`,
    ...STATE_DIR,
  },
  notes: `The server must not run. For one replay_window after it every knock is refused.`,
  example: "sudo openme restore vps.age",
  run: async (args, context) => {
    const file = args.positionals[0]!;
    const bytes = await Deno.readFile(file).catch((cause) => {
      throw loadError(file, cause, { missingHint: "make one on the server: openme backup FILE" });
    });
    const { decryptBackup, requireEncrypted } = await import("../../backup/age.ts");
    requireEncrypted(bytes, file);
    const list = args.values["list"] === true;
    const path = configPath(args);
    if (!list) {
      refuseConfigured(path, args);
      await refuseRunning(args, context);
    }
    const passphrase = await knownPassphrase(args, context);
    const backup = unpackBackup(await decryptBackup(bytes, passphrase, file), file);
    const more = list ? undefined : await putInPlace(backup, { file, path, args, context });
    if (args.values["json"]) context.stdout(renderContentsJson(file, backup, more));
    else if (list) context.stdout(renderContents(backup));
    return 0;
  },
};

/** Before a passphrase is asked for. */
function refuseConfigured(path: string, { values }: Arguments): void {
  if (values["force"] === true || !hasConfig(path)) return;
  throw new OpenmeError("CONFIG", `there is a configuration already: ${quote(path, 1000)}`, {
    hint: "openme restore --force puts the backup in its place; the old one is kept beside it",
  });
}

/** Everything, or nothing; returns what `--json` says of it. */
async function putInPlace(
  backup: Backup,
  { file, path, args, context }: { file: string; path: string; args: Arguments; context: Context },
): Promise<Record<string, unknown>> {
  const { madeAtMs, config: text, people, state } = backup;
  const config = parseServerConfig(text, `${file}: config.yaml`, {
    people: people.map(({ name, text }) => ({ file: `${file}: clients.d/${name}`, text })),
  });
  requireClock(file, madeAtMs, config);
  const revokedKeys = parseRevokedKeys(backup.revokedKeys);
  if (!revokedKeys) throw flawIn(file, "revoked-keys: expected a key in hex on each line");
  const stateDir = textFlag(args, "state-dir") ?? config.stateDir;
  makeStateDir(stateDir);
  const lock = takeLock(stateDir, { hint: STOP_HINT });
  try {
    // No server runs any more: nothing is taken after this moment.
    const revoked = RevokedKeys.open(stateDir);
    const nowMs = Date.now();
    const floorNs = floorOfRestore({ madeAtMs, nowMs, replayWindowMs: config.replayWindowMs });
    const staged = await stageConfig(path, { text, people });
    context.stopSignal(() => true); // Ctrl-C has to wait
    try {
      // Before the configuration: a crash in between must leave no keys without a floor, and none that were revoked.
      const { movedTo } = importState(stateDir, state, {
        floorNs,
        nowNs: BigInt(nowMs) * 1_000_000n,
      });
      if (revokedKeys.length > 0) await revoked.add(revokedKeys);
      const isThere = await Deno.stat(path).then(() => true, () => false);
      const kept = await (isThere ? withFileLock(path, staged.commit) : staged.commit());
      if (movedTo !== undefined) kept.push(movedTo);
      const floorAt = isoTime(Number(floorNs / 1_000_000n));
      tell({ path, people: people.length, madeAtMs, kept, floorAt }, context);
      return { kept, "floor_at": floorAt };
    } catch (cause) {
      await staged.discard();
      throw cause;
    }
  } finally {
    lock.release();
  }
}

/** The floor stands above the date of the backup, so a date in the future would lock every client out until then. */
function requireClock(file: string, madeAtMs: number, { replayWindowMs }: ServerConfig): void {
  const nowMs = Date.now();
  if (madeAtMs <= nowMs + replayWindowMs) return;
  throw new OpenmeError(
    "STATE",
    `cannot restore ${quote(file, 1000)}: it is dated ${
      isoTime(madeAtMs)
    }, and the clock of this machine says ${isoTime(nowMs)}`,
    {
      hint:
        "set the clock right; if the backup's date is wrong, restore it by hand: docs/living.md",
    },
  );
}

/** Throws where a `serve` runs with the present configuration. */
async function refuseRunning(args: Arguments, context: Context): Promise<void> {
  const present = await findState(args, context).catch(() => undefined);
  if (present && isLocked(present.stateDir)) {
    takeLock(present.stateDir, { hint: STOP_HINT }).release(); // throws
  }
}

function tell(
  { path, people, madeAtMs, kept, floorAt }: {
    path: string;
    people: number;
    madeAtMs: number;
    kept: readonly string[];
    floorAt: string;
  },
  { stderr }: Context,
): void {
  const files = people === 0
    ? ""
    : people === 1
    ? " and a file of clients.d"
    : ` and ${people} files of clients.d`;
  stderr(`openme: restored ${escapeUnprintable(path)}${files}, as of ${isoTime(madeAtMs)}`);
  for (const each of kept) stderr(`openme: kept what was there: ${escapeUnprintable(each)}`);
  stderr(
    `openme: knocks dated up to ${floorAt} are refused, recorded ones too`,
  );
  stderr(
    "openme: next: openme check, then openme serve --confirm 10m; a knock opens after that time",
  );
}
