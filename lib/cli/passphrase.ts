/** Passphrases: asked on the terminal without showing them; that of a backup also from a file or the environment. */

import { OpenmeError } from "../values/errors.ts";
import { quote } from "../values/text.ts";
import { decodeText, readSecretFile } from "../system/read_file.ts";
import { type Arguments, type Context, type Parameters, textFlag } from "./context.ts";

/** The variable that holds it, for programs. */
const VARIABLE = "OPENME_PASSPHRASE";

const NO_TERMINAL = `give it with --passphrase-file FILE or in ${VARIABLE}`;

/** Shorter ones are found by trying. */
const SHORTEST = 8;

export const PASSPHRASE_FLAG: Parameters = {
  "--passphrase-file FILE":
    `the passphrase is the one line of this file, - for standard input; or it is in
      ${VARIABLE} (default: asked on the terminal)`,
};

/** What is needed of a terminal. */
export type Terminal = Pick<typeof Deno.stdin, "isTerminal" | "setRaw" | "read">;

/** The passphrase for a new file: where a person types it, twice. Throws `OpenmeError`, code `USAGE`. */
export async function newPassphrase(args: Arguments, context: Context): Promise<string> {
  const given = await givenPassphrase(args, context);
  const passphrase = given ?? await askHidden("Passphrase for the backup: ", { hint: NO_TERMINAL });
  if ([...passphrase].length < SHORTEST) {
    throw new OpenmeError("USAGE", `the passphrase is too short: expected ${SHORTEST} characters`, {
      hint: "a thief of the file has years to try them: take five random words",
    });
  }
  if (
    given === undefined && await askHidden("The same again: ", { hint: NO_TERMINAL }) !== passphrase
  ) {
    throw new OpenmeError("USAGE", "the two passphrases differ", { hint: "try again" });
  }
  return passphrase;
}

/** The passphrase of a file that is there. Throws `OpenmeError`, code `USAGE`. */
export async function knownPassphrase(args: Arguments, context: Context): Promise<string> {
  return await givenPassphrase(args, context) ??
    await askHidden("Passphrase of the backup: ", { hint: NO_TERMINAL });
}

async function givenPassphrase(args: Arguments, context: Context): Promise<string | undefined> {
  const file = textFlag(args, "passphrase-file");
  if (file === undefined) {
    const value = context.env(VARIABLE);
    return value === undefined ? undefined : oneLine(value, VARIABLE);
  }
  const text = file === "-"
    ? decodeText(await context.stdin())
    : await readSecretFile(file, { missingHint: "it holds the passphrase on one line" });
  return oneLine(text, file === "-" ? "standard input" : quote(file, 1000));
}

/** The text without the end of its line. */
function oneLine(text: string, where: string): string {
  const line = text.replace(/\r?\n$/, "");
  if (line !== "" && !/[\r\n]/.test(line)) return line;
  throw new OpenmeError(
    "USAGE",
    `${where}: expected a passphrase on one line, got ${line === "" ? "nothing" : "several lines"}`,
  );
}

/** Asks on the terminal. What is typed is not shown, not even its length. `hint`: what to do where there is none. */
export async function askHidden(
  question: string,
  { hint, terminal = Deno.stdin }: { readonly hint: string; readonly terminal?: Terminal },
): Promise<string> {
  if (!terminal.isTerminal()) {
    throw new OpenmeError("USAGE", "cannot ask for the passphrase: standard input is no terminal", {
      hint,
    });
  }
  const line = new HiddenLine();
  const buffer = new Uint8Array(64);
  const show = (text: string) => Deno.stderr.writeSync(new TextEncoder().encode(text));
  // Also Ctrl-C comes as a byte: a signal would end openme and leave the terminal like that.
  terminal.setRaw(true);
  show(question);
  try {
    while (!line.isDone) {
      const count = await terminal.read(buffer);
      if (count === null) break;
      for (const byte of buffer.subarray(0, count)) line.take(byte);
    }
  } finally {
    terminal.setRaw(false);
    show("\n");
  }
  return line.text();
}

const ENTER = [0x0a, 0x0d];
const BACKSPACE = [0x08, 0x7f];
const [CTRL_C, CTRL_D, CTRL_U] = [0x03, 0x04, 0x15];

/** A line as it is typed on a raw terminal. */
export class HiddenLine {
  readonly #bytes: number[] = [];
  #end: "enter" | "stopped" | undefined;

  get isDone(): boolean {
    return this.#end !== undefined;
  }

  /** One byte; what is typed behind the end of the line is not of it. */
  take(byte: number): void {
    if (this.isDone) return;
    if (ENTER.includes(byte)) this.#end = "enter";
    else if (byte === CTRL_C || byte === CTRL_D) this.#end = "stopped";
    else if (byte === CTRL_U) this.#bytes.length = 0;
    else if (BACKSPACE.includes(byte)) this.#removeLast();
    else this.#bytes.push(byte);
  }

  /** What was typed. Throws `OpenmeError`, code `USAGE`, where that is no passphrase. */
  text(): string {
    const text = new TextDecoder().decode(Uint8Array.from(this.#bytes));
    if (this.#end !== "enter" || text === "") {
      throw new OpenmeError("USAGE", "no passphrase was given, and nothing has changed");
    }
    // deno-lint-ignore no-control-regex
    if (!/[\x00-\x1f\ufffd]/.test(text)) return text;
    throw new OpenmeError("USAGE", "the passphrase has a character that cannot be typed again", {
      hint: "an arrow key or the like was pressed",
    });
  }

  /** UTF-8: the bytes behind the first of a character begin with the bits 10. */
  #removeLast(): void {
    while (((this.#bytes.pop() ?? 0) & 0xc0) === 0x80);
  }
}
