/**
 * The one error type an operator sees. Hostile input never becomes an error: it becomes a verdict (`gate.ts`).
 */

/** What kind of thing went wrong; decides nothing but the exit code and what tests look for. */
export type ErrorCode =
  | "USAGE" // the command line
  | "CONFIG" // a configuration file
  | "KEY" // a key, or the file it lives in
  | "FIREWALL" // the firewall program or what it was asked
  | "SOCKET" // a UDP socket, a name that does not resolve
  | "STATE" // the state directory, its lock or its database
  | "COMMAND" // a program that openme ran for its user
  | "OUTPUT"; // standard output

/** An operator's mistake, or a failing machine: what happened, and what to do about it. */
export class OpenmeError extends Error {
  override name = "OpenmeError";
  readonly code: ErrorCode;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, options: { hint?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
  }
}

const DISK_TROUBLES: Readonly<Record<string, readonly [why: string, hint: string]>> = {
  ENOSPC: ["the disk is full", "free some space there, and try again"],
  EDQUOT: ["the disk quota is used up", "free some space there, and try again"],
  EROFS: ["the file system is read-only", "make it writable, or choose another folder"],
  EIO: ["the disk reports an error", "see what the kernel says of it: dmesg"],
};

/** What is wrong with the disk, and what to do, where that is why something could not be written. */
export function diskTroubleOf(
  thrown: unknown,
): readonly [why: string, hint: string] | undefined {
  const { code } = (thrown ?? {}) as { code?: unknown };
  return typeof code === "string" && Object.hasOwn(DISK_TROUBLES, code)
    ? DISK_TROUBLES[code]
    : undefined;
}

/** The text of anything that was thrown, one line. */
export function messageOf(thrown: unknown): string {
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  return text.replaceAll(/\s*\n\s*/g, " ").trim();
}
