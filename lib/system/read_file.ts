/** Reads configuration files; refuses those whose mode lets others read secrets or decide who gets in. */

import { messageOf, OpenmeError } from "../values/errors.ts";
import { quote } from "../values/text.ts";

/** The text of a file that holds private keys. Throws where others may read or write it. */
export async function readSecretFile(
  path: string,
  { missingHint }: { missingHint: string },
): Promise<string> {
  try {
    const { mode, isDirectory } = await Deno.stat(path);
    if (isDirectory) throw cannotLoad(path, "it is a directory");
    // 0640 for a group is fine. Windows has no mode.
    if (mode !== null && (mode & 0o007) !== 0) {
      throw cannotLoad(
        path,
        `it holds private keys, expected a mode such as 0600 or 0640, got ${octal(mode)}`,
        { hint: `chmod o= ${path}, and make new keys if others may have read it` },
      );
    }
    return decodeText(await Deno.readFile(path));
  } catch (cause) {
    throw loadError(path, cause, { missingHint });
  }
}

/**
 * The text of a file without secrets that says who gets in: others may read it, but not write it. `undefined` where
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
  throw cannotLoad(
    path,
    `everyone can write it and so let themselves in, mode ${octal(mode)}`,
    { hint: `chmod o-w ${path}, and look at what it says` },
  );
}

/** The text of a file of any mode: a profile or a foreign configuration to import, read once and stored safely. */
export async function readPlainFile(path: string, missingHint: string): Promise<string> {
  try {
    return decodeText(await Deno.readFile(path));
  } catch (cause) {
    throw loadError(path, cause, { missingHint });
  }
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

/** The error for a file that cannot be read as text. */
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
  return cannotLoad(path, why!, { cause, hint });
}

function cannotLoad(
  path: string,
  why: string,
  options: { hint?: string | undefined; cause?: unknown } = {},
): OpenmeError {
  return new OpenmeError("CONFIG", `cannot load ${quote(path, 1000)}: ${why}`, options);
}

function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, "0");
}
