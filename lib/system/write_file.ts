/** Writes files that hold secrets: never readable by others, replaced atomically or not at all. */

import { diskTroubleOf, messageOf, OpenmeError } from "../values/errors.ts";
import { quote } from "../values/text.ts";

/** The owner of a file. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/**
 * Replaces or creates a file atomically: temporary file beside it, fsync, rename, fsync of the folder. A reader sees the
 * old text or the new one. A symbolic link stays: its target is replaced. An existing file keeps its owner, and its mode
 * without the bits for others, unless `mode` is given. A new file gets mode 0600.
 */
export async function replaceFile(
  path: string,
  text: string,
  options: { mode?: number } = {},
): Promise<void> {
  await (await stageFile(path, text, options)).commit();
}

/** A new text of a file, written beside it; one of the two is to be called. */
export interface StagedFile {
  readonly commit: () => Promise<void>;
  readonly discard: () => Promise<void>;
}

/** {@linkcode replaceFile} in two steps. */
export async function stageFile(
  path: string,
  text: string,
  { mode }: { mode?: number } = {},
): Promise<StagedFile> {
  const target = await realPath(path);
  const existing = await Deno.stat(target).catch(() => undefined);
  const temporary = temporaryFor(target);
  const discard = () => Deno.remove(temporary).catch(() => {});
  const orDiscard = async (step: () => Promise<void>) => {
    try {
      await step();
    } catch (cause) {
      await discard();
      throw writeError(path, cause);
    }
  };
  await orDiscard(async () => {
    await writeNewFile(temporary, text);
    if (existing && existing.uid !== null && existing.gid !== null) {
      // Only root may give files away. Without root the file becomes the caller's.
      await Deno.chown(temporary, existing.uid, existing.gid).catch(() => {});
    }
    // Owner and group keep their rights; others have none to a secret.
    const kept = existing && existing.mode !== null ? existing.mode & 0o770 : undefined;
    if (kept !== undefined) await Deno.chmod(temporary, mode ?? kept); // last: chown may clear bits
  });
  return {
    commit: async () => {
      await orDiscard(() => Deno.rename(temporary, target));
      await syncFolder(await folderOf(target));
    },
    discard,
  };
}

/**
 * Creates a file with mode 0600; throws where it exists. With `makeFolder` a missing folder is created too: not for a
 * path that a person typed, which may have a slip in it.
 */
export async function createSecretFile(
  path: string,
  content: string | Uint8Array,
  { existsHint, makeFolder, owner }: { existsHint: string; makeFolder: boolean; owner?: Owner },
): Promise<void> {
  const temporary = temporaryFor(path);
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
 * Like {@linkcode createSecretFile}, for root under `sudo`: the file belongs to `owner` where its folder does. Nowhere
 * else: in /etc/cron.d, say, the owner could later write what only root may. The folder is entered before its owner is
 * read, so that it cannot be swapped in between.
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

/** The name under which a file or folder is kept when another takes its place. */
export function oldNameOf(path: string): string {
  const stamp = new Date().toISOString().replaceAll(/[-:]|\.\d+/g, "");
  return `${path}.old-${stamp}-${crypto.randomUUID().slice(0, 4)}`;
}

/** Gives an existing file a second name beside it, and returns that name; `undefined` where there is no such file. */
export async function keepOldCopy(path: string): Promise<string | undefined> {
  const copy = oldNameOf(path);
  try {
    const { isDirectory } = await Deno.stat(path); // NotFound for a link that leads nowhere
    if (isDirectory) throw new Error("it is a directory");
    await Deno.link(await realPath(path), copy);
    return copy;
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return undefined;
    throw writeError(copy, cause);
  }
}

/** Runs `edit` while no other openme edits the file. */
export async function withFileLock<T>(path: string, edit: () => Promise<T>): Promise<T> {
  // There a lock keeps out every other handle of the file, also those of this process.
  if (Deno.build.os === "windows") return await edit();
  for (;;) {
    const file = await Deno.open(path, { read: true });
    try {
      await file.lock(true);
      // The holder of the lock before may have replaced the file.
      const [held, current] = await Promise.all([file.stat(), Deno.stat(path)]);
      if (held.ino === current.ino && held.dev === current.dev) return await edit();
    } finally {
      file.close();
    }
  }
}

/** Creates a file, mode 0600, and syncs it. */
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

/** The same for another owner, who is set by descriptor: the name could be swapped in between. */
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
    if (fstatSync(descriptor).uid === 0) fchownSync(descriptor, uid, gid); // only root may give files away
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

/** Loads node:path late: `knock` only reads, and does not wait for it. */
async function folderOf(path: string): Promise<string> {
  const { dirname } = await import("node:path");
  return dirname(path);
}

/** A name beside a file, for its new content. */
function temporaryFor(path: string): string {
  return `${path}.${crypto.randomUUID().slice(0, 8)}.tmp`;
}

/** Removes a file where it is there, and what a process that was killed as it wrote it has left beside it. */
export async function removeWritten(path: string): Promise<void> {
  const { basename } = await import("node:path");
  const folder = await folderOf(path);
  const name = basename(path);
  const unlessMissing = (cause: unknown) => {
    if (!(cause instanceof Deno.errors.NotFound)) throw cause;
  };
  await Deno.remove(path).catch(unlessMissing);
  const entries = await Array.fromAsync(Deno.readDir(folder)).catch(unlessMissing);
  for (const other of entries ?? []) {
    const isTemporary = other.name.startsWith(name) &&
      /^\.[0-9a-f]{8}\.tmp$/.test(other.name.slice(name.length));
    if (isTemporary) await Deno.remove(`${folder}/${other.name}`).catch(unlessMissing);
  }
}

/** Makes a rename durable. */
async function syncFolder(path: string): Promise<void> {
  try {
    const folder = await Deno.open(path, { read: true });
    try {
      await folder.sync();
    } finally {
      folder.close();
    }
  } catch {
    // Not every file system can sync a folder; the file itself is in place.
  }
}

/** The error for a file that cannot be written. */
export function writeError(path: string, cause: unknown): OpenmeError {
  if (cause instanceof OpenmeError) return cause;
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
    hint,
  });
}
