/**
 * Runs a program: arguments as an array, text on stdin, a deadline, never a shell. A failure is one error that says
 * which program, how it ended and what it complained about.
 */

import { OpenmeError } from "../values/errors.ts";
import { escapeUnprintable } from "../values/text.ts";

/** What to run, and for how long. */
export interface ProgramRun {
  readonly program: string;
  readonly args: readonly string[];
  readonly stdin?: string;
  /** Added to its environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  /** What is a failure if it stands on stderr, whatever the exit code. */
  readonly fatal?: RegExp;
  /** The hint where there is no such program, such as the package to install. */
  readonly missingHint?: string;
  /** Whether its output is discarded. Then only its own exit is awaited: what it leaves in the background runs on. */
  readonly isUnheard?: boolean;
  /** Whether it changes the host, as all do that are given text on stdin: a dry run shows it instead. */
  readonly changes?: boolean;
  /**
   * Whether its children are killed with it, so that none of them acts later. It then has a session of its own, which
   * Ctrl-C in openme's terminal does not reach.
   */
  readonly killsChildren?: boolean;
}

/** Resolves to what the program printed on stdout. Throws `OpenmeError` for anything but exit code 0. */
export type RunProgram = (run: ProgramRun) => Promise<string>;

/** Folders of system programs that an ordinary user's PATH leaves out. */
const SYSTEM_FOLDERS = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/** The most that a program may print: the ruleset and the grants of a large host are some 20 MB. */
const MOST_OUTPUT_BYTES = 64 * 1024 * 1024;
/** Of stderr only the first lines are ever shown. */
const MOST_COMPLAINT_BYTES = 64 * 1024;

/** How long to wait for a program after its SIGKILL. */
const REAP_MS = 1000;

/** {@linkcode RunProgram} on this machine. A program that takes too long or prints too much is killed. */
export const runProgram: RunProgram = async (run) => {
  const child = spawn(run);
  const killed = new AbortController(); // its reason says why
  const { signal } = killed;
  signal.addEventListener("abort", () => kill(child, run.killsChildren === true));
  const timer = setTimeout(
    () => killed.abort(`did not finish within ${run.timeoutMs / 1000} s`),
    run.timeoutMs,
  );
  const tooMuch = () => killed.abort(`printed more than ${MOST_OUTPUT_BYTES / 1024 / 1024} MB`);
  const ended = Promise.all([
    child.status,
    run.isUnheard ? "" : readSome(child.stdout, MOST_OUTPUT_BYTES, signal, tooMuch),
    run.isUnheard ? "" : readSome(child.stderr, MOST_COMPLAINT_BYTES, signal),
    run.stdin === undefined ? undefined : writeAll(child.stdin, run.stdin, signal),
  ]);
  // The kernel may hold a killed program in a system call for as long as it likes.
  const unkillable = new Promise<undefined>((resolve) => {
    const afterwards = () =>
      AbortSignal.timeout(REAP_MS).addEventListener("abort", () => resolve(undefined));
    signal.addEventListener("abort", afterwards);
  });
  const result = await Promise.race([ended, unkillable]).finally(() => clearTimeout(timer));
  if (signal.aborted || !result) throw failure(run, `${signal.reason} and was killed`, "");
  const [status, stdout, stderr] = result;
  if (status.success && !run.fatal?.test(stderr)) return stdout;
  throw failure(
    run,
    status.signal ? `was ended by ${status.signal}` : `failed with exit code ${status.code}`,
    stderr,
  );
};

/** The error of a failed run: the command, how it ended, the first lines of its stderr. */
function failure({ program, args }: ProgramRun, ended: string, stderr: string): OpenmeError {
  const complaint = stderr.trim().split("\n").slice(0, 3).map((line) => line.trim()).join("; ");
  const shown = complaint.length > 400 ? complaint.slice(0, 400) + "..." : complaint;
  const hint = /operation not permitted|permission denied/i.test(stderr)
    ? "run openme as root, or give it the capability CAP_NET_ADMIN"
    : undefined;
  return new OpenmeError(
    "COMMAND",
    `${[program, ...args].join(" ")} ${ended}${shown && ": " + escapeUnprintable(shown)}`,
    { hint },
  );
}

/** The environment of every program: messages in English, and a PATH with the system's folders. */
export function programEnvironment(): { LC_ALL: string; PATH: string } {
  const path = [Deno.env.get("PATH") ?? "", ...SYSTEM_FOLDERS].filter(Boolean).join(":");
  return { LC_ALL: "C", PATH: path };
}

function spawn(run: ProgramRun): Deno.ChildProcess {
  const { program, args, env, missingHint, isUnheard, killsChildren = false } = run;
  try {
    return new Deno.Command(program, {
      detached: killsChildren,
      args: [...args],
      env: { ...env, ...programEnvironment() },
      stdin: run.stdin === undefined ? "null" : "piped",
      stdout: isUnheard ? "null" : "piped",
      stderr: isUnheard ? "null" : "piped",
    }).spawn();
  } catch (cause) {
    const missing = cause instanceof Deno.errors.NotFound;
    throw new OpenmeError(
      "COMMAND",
      `cannot run ${program}: ${missing ? "there is no such program" : String(cause)}`,
      { cause, hint: missing ? missingHint : undefined },
    );
  }
}

/** A program that dies early leaves a broken pipe behind: how it ended tells more than that. */
async function writeAll(
  stream: WritableStream<Uint8Array>,
  text: string,
  signal: AbortSignal,
): Promise<void> {
  await new Blob([text]).stream().pipeTo(stream, { signal }).catch(() => {});
}

/**
 * The first `mostBytes` as text; what comes after them is read and dropped, and `whenMore` called. On `signal` it stops
 * reading: the program's children may hold the pipe open.
 */
async function readSome(
  stream: ReadableStream<Uint8Array>,
  mostBytes: number,
  signal: AbortSignal,
  whenMore?: () => void,
): Promise<string> {
  let text = "";
  let left = mostBytes;
  const decoder = new TextDecoder();
  const reader = stream.getReader();
  signal.addEventListener("abort", () => reader.cancel().catch(() => {}));
  while (true) {
    const { value: chunk } = await reader.read();
    if (!chunk || signal.aborted) return text;
    if (left > 0) text += decoder.decode(chunk.subarray(0, left), { stream: true });
    left -= chunk.length;
    if (left < 0) whenMore?.();
  }
}

function kill(child: Deno.ChildProcess, andChildren: boolean): void {
  try {
    if (andChildren && Deno.build.os !== "windows") Deno.kill(-child.pid, "SIGKILL");
    else child.kill("SIGKILL");
  } catch {
    // It has just ended by itself.
  }
}

/** Whether {@linkcode runProgram} finds a program of that name, or at that path. */
export function isProgramThere(program: string): boolean {
  const folders = program.includes("/") ? [""] : programEnvironment().PATH.split(":");
  return folders.some((folder) => {
    try {
      const { isFile, mode } = Deno.statSync(folder ? `${folder}/${program}` : program);
      return isFile && (mode === null || (mode & 0o111) !== 0);
    } catch (error) {
      // Running it says what is wrong.
      return !(error instanceof Deno.errors.NotFound) && program.includes("/");
    }
  });
}
