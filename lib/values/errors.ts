/** The one error type that an operator sees. Hostile input never throws: the gate returns a verdict. */

/** The area of an error. It decides the exit code. */
export type ErrorCode =
  | "USAGE" // the command line
  | "CONFIG" // a configuration file
  | "KEY" // a key, or the file it lives in
  | "FIREWALL" // the firewall program or what it was asked
  | "SOCKET" // a UDP socket, a name that does not resolve
  | "STATE" // the state directory, its lock or its database
  | "COMMAND" // a program that openme ran for its user
  | "OUTPUT"; // standard output

/** An operator's mistake or a failing machine: what happened, and a hint what to do. */
export class OpenmeError extends Error {
  override name = "OpenmeError";
  readonly code: ErrorCode;
  readonly hint: string | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    options: { hint?: string | undefined; cause?: unknown } = {},
  ) {
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

/** Why a write failed and what to do, where the disk is the reason. */
export function diskTroubleOf(
  thrown: unknown,
): readonly [why: string, hint: string] | undefined {
  const { code } = (thrown ?? {}) as { code?: unknown };
  return typeof code === "string" && Object.hasOwn(DISK_TROUBLES, code)
    ? DISK_TROUBLES[code]
    : undefined;
}

/** The message of anything that was thrown, on one line. */
export function messageOf(thrown: unknown): string {
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  return text.replaceAll(/\s*\n\s*/g, " ").trim();
}
