/**
 * Files with secrets: read only where strangers cannot read them, replaced atomically or not at all.
 */

import { diskTroubleOf, messageOf, OpenmeError } from "../values/errors.ts";
import { quote } from "../values/text.ts";

/** To whom a file belongs. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** The text of a configuration file that holds private keys; refuses one that everyone can read or write. */
export async function readSecretFile(
  path: string,
  { missingHint }: { missingHint: string },
): Promise<string> {
  try {
    const { mode, isDirectory } = await Deno.stat(path);
    if (isDirectory) {
      throw new OpenmeError("CONFIG", `cannot load ${quote(path, 1000)}: it is a directory`);
    }
    // 0640 for a group is fine. Windows has no mode.
    if (mode !== null && (mode & 0o007) !== 0) {
      throw new OpenmeError(
        "CONFIG",
        `cannot load ${
          quote(path, 1000)
        }: it holds private keys, expected a mode such as 0600 or 0640, got ${
          (mode & 0o7777).toString(8).padStart(4, "0")
        }`,
        { hint: `chmod o= ${path}, and make new keys if others may have read it` },
      );
    }
    return decodeText(await Deno.readFile(path));
  } catch (cause) {
    throw loadError(path, cause, { missingHint });
  }
}

/**
 * The text of a file that has no secrets but says who gets in: others may read it, but not write it. `undefined` where
 * there is no such file.
 */
export async function readSharedFile(path: string): Promise<string | undefined> {
  try {
    await requireUnwritable(path);
    return decodeText(await Deno.readFile(path));
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return undefined;
    throw loadError(path, cause, { missingHint: "" });
  }
}

/** Throws where everyone may write a file or folder that says who gets in. */
export async function requireUnwritable(path: string): Promise<void> {
  const { mode } = await Deno.stat(path);
  if (mode === null || (mode & 0o002) === 0) return; // Windows has no mode
  const shown = (mode & 0o7777).toString(8).padStart(4, "0");
  throw new OpenmeError(
    "CONFIG",
    `cannot load ${
      quote(path, 1000)
    }: everyone can write it and so let themselves in, mode ${shown}`,
    { hint: `chmod o-w ${path}, and look at what it says` },
  );
}

/** UTF-8, or UTF-16 with a byte order mark, as PowerShell's `>` writes it; throws `TypeError` for anything else. */
export function decodeText(bytes: Uint8Array): string {
  const [first, second] = bytes;
  const encoding = first === 0xff && second === 0xfe
    ? "utf-16le"
    : first === 0xfe && second === 0xff
    ? "utf-16be"
    : "utf-8";
  return new TextDecoder(encoding, { fatal: true }).decode(bytes);
}

/** What is said of a file that cannot be read as text. */
export function loadError(
  path: string,
  cause: unknown,
  { missingHint }: { missingHint: string },
): OpenmeError {
  if (cause instanceof OpenmeError) return cause;
  const [why, hint] = cause instanceof Deno.errors.NotFound
    ? ["there is no such file", missingHint]
    : cause instanceof Deno.errors.IsADirectory
    ? ["it is a directory"]
    : cause instanceof Deno.errors.NotCapable
    ? ["openme cannot read in /dev, /proc and /sys", "put the file into another folder"]
    : cause instanceof Deno.errors.PermissionDenied
    ? ["permission denied", "run it as the file's owner, or with sudo"]
    : cause instanceof TypeError
    ? ["it is not UTF-8 text"]
    : [messageOf(cause)];
  return new OpenmeError("CONFIG", `cannot load ${quote(path, 1000)}: ${why}`, {
    cause,
    ...(hint === undefined ? {} : { hint }),
  });
}

/**
 * Replaces or creates a file in one step: temporary file beside it, fsync, rename, fsync of the folder. Whoever reads
 * meanwhile sees the old text or the new one. A symbolic link stays one: what it points to is replaced. The owner of an
 * existing file is kept; its mode too, less what others might do with it, unless `mode` says otherwise. A new file gets
 * mode 0600.
 */
export async function replaceFile(
  path: string,
  text: string,
  { mode }: { mode?: number } = {},
): Promise<void> {
  const target = await realPath(path);
  const existing = await Deno.stat(target).catch(() => undefined);
  const temporary = `${target}.${crypto.randomUUID().slice(0, 8)}.tmp`;
  try {
    await writeNewFile(temporary, text);
    if (existing && existing.uid !== null && existing.gid !== null) {
      // Only root may give files away; whoever else can write here keeps the file his own.
      await Deno.chown(temporary, existing.uid, existing.gid).catch(() => {});
    }
    // Owner and group keep what they had; others never had a right to a secret.
    const kept = existing && existing.mode !== null ? existing.mode & 0o770 : undefined;
    if (kept !== undefined) await Deno.chmod(temporary, mode ?? kept); // last: chown may clear bits
    await Deno.rename(temporary, target);
  } catch (cause) {
    await Deno.remove(temporary).catch(() => {});
    throw writeError(path, cause);
  }
  await syncFolder(await folderOf(target));
}

/**
 * Makes a file that is not there yet, mode 0600; throws where there is one already. With `makeFolder`, its folder too
 * where that is missing: not for a path that somebody has typed, which may have a slip in it.
 */
export async function createSecretFile(
  path: string,
  content: string | Uint8Array,
  { existsHint, makeFolder, owner }: { existsHint: string; makeFolder: boolean; owner?: Owner },
): Promise<void> {
  const temporary = `${path}.${crypto.randomUUID().slice(0, 8)}.tmp`;
  const folder = await folderOf(path);
  if (makeFolder) {
    await Deno.mkdir(folder, { recursive: true, mode: 0o700 }).catch((cause) => {
      throw writeError(path, cause);
    });
  }
  try {
    if (owner) await writeFileOf(temporary, content, owner);
    else await writeNewFile(temporary, content);
    await Deno.link(temporary, path); // unlike a rename, this never replaces
  } catch (cause) {
    if (cause instanceof Deno.errors.AlreadyExists) {
      throw new OpenmeError("CONFIG", `cannot write ${quote(path, 1000)}: it exists already`, {
        hint: existsHint,
        cause,
      });
    }
    throw writeError(path, cause);
  } finally {
    await Deno.remove(temporary).catch(() => {});
  }
  await syncFolder(folder);
}

/**
 * Like {@linkcode createSecretFile}, for root whom `sudo` has called: the file belongs to `owner` where its folder does.
 * Only then: elsewhere, as in /etc/cron.d, the owner could go on writing what root alone may. The folder is entered
 * before it is looked at, so that no other can be put in its place.
 */
export async function createSecretFileFor(
  path: string,
  content: string | Uint8Array,
  { owner, existsHint }: { owner: Owner; existsHint: string },
): Promise<void> {
  const { basename } = await import("node:path");
  const before = Deno.cwd();
  try {
    Deno.chdir(await folderOf(path));
  } catch (cause) {
    throw writeError(path, cause);
  }
  try {
    const { uid, mode } = await Deno.stat(".");
    const isTheirs = uid === owner.uid && ((mode ?? 0) & 0o002) === 0;
    const options = { existsHint, makeFolder: false };
    await createSecretFile(basename(path), content, isTheirs ? { ...options, owner } : options);
  } finally {
    Deno.chdir(before);
  }
}

/** Gives an existing file a second name beside it and returns that; `undefined` where there is no such file. */
export async function keepOldCopy(path: string): Promise<string | undefined> {
  const stamp = new Date().toISOString().replaceAll(/[-:]|\.\d+/g, "");
  const copy = `${path}.old-${stamp}-${crypto.randomUUID().slice(0, 4)}`;
  try {
    const { isDirectory } = await Deno.stat(path); // a link that leads nowhere is no file to keep
    if (isDirectory) throw new Error("it is a directory");
    await Deno.link(await realPath(path), copy);
    return copy;
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return undefined;
    throw writeError(copy, cause);
  }
}

/** Runs `edit` while no other openme edits the same file. */
export async function withFileLock<T>(path: string, edit: () => Promise<T>): Promise<T> {
  for (;;) {
    const file = await Deno.open(path, { read: true });
    try {
      await file.lock(true);
      // Whoever held the lock may have put another file in this one's place.
      const [held, current] = await Promise.all([file.stat(), Deno.stat(path)]);
      if (held.ino === current.ino && held.dev === current.dev) return await edit();
    } finally {
      file.close();
    }
  }
}

/** A new file, mode 0600, on disk when this returns. */
async function writeNewFile(path: string, content: string | Uint8Array): Promise<void> {
  const file = await Deno.open(path, { write: true, createNew: true, mode: 0o600 });
  try {
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    for (let written = 0; written < bytes.length;) {
      written += await file.write(bytes.subarray(written));
    }
    await file.sync();
  } finally {
    file.close();
  }
}

/** A new file of somebody else's, mode 0600, on disk when this returns; by its descriptor, whatever its name leads to. */
async function writeFileOf(
  path: string,
  content: string | Uint8Array,
  { uid, gid }: Owner,
): Promise<void> {
  const fs = await import("node:fs");
  const { closeSync, fchownSync, fstatSync, fsyncSync, openSync, writeFileSync } = fs;
  const descriptor = openSync(path, "wx", 0o600);
  try {
    writeFileSync(descriptor, content);
    if (fstatSync(descriptor).uid === 0) fchownSync(descriptor, uid, gid); // who is not root may give nothing away
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

async function realPath(path: string): Promise<string> {
  try {
    return await Deno.realPath(path);
  } catch {
    return path;
  }
}

/** Loaded where something is written: whoever only reads, such as `knock`, does not wait for it. */
async function folderOf(path: string): Promise<string> {
  const { dirname } = await import("node:path");
  return dirname(path);
}

/** The rename is on disk only when the folder is. */
async function syncFolder(path: string): Promise<void> {
  try {
    const folder = await Deno.open(path, { read: true });
    try {
      await folder.sync();
    } finally {
      folder.close();
    }
  } catch {
    // Not every file system can do that; the file itself is in place.
  }
}

function writeError(path: string, cause: unknown): OpenmeError {
  if (cause instanceof Deno.errors.NotCapable) {
    return new OpenmeError(
      "CONFIG",
      `cannot write ${quote(path, 1000)}: openme cannot write in /dev, /proc and /sys`,
      { hint: "choose another folder", cause },
    );
  }
  const [known, hint] = cause instanceof Deno.errors.NotFound
    ? ["its folder does not exist", "make the folder first, or name another file"]
    : cause instanceof Deno.errors.PermissionDenied
    ? ["permission denied", "run it as the file's owner, or with sudo"]
    : diskTroubleOf(cause) ?? [messageOf(cause)];
  return new OpenmeError("CONFIG", `cannot write ${quote(path, 1000)}: ${known}`, {
    cause,
    ...(hint === undefined ? {} : { hint }),
  });
}

/** What was handed to somebody may lie anywhere, with any mode: it is read once and stored safely. */
export async function readPlainFile(path: string, missingHint: string): Promise<string> {
  try {
    return decodeText(await Deno.readFile(path));
  } catch (cause) {
    throw loadError(path, cause, { missingHint });
  }
}
