/**
 * Runs a program: arguments as an array, text on stdin, a deadline, never a shell. A failure is one error that says
 * which program, how it ended and what it complained about.
 */

import { OpenmeError } from "../values/errors.ts";
import { escapeUnprintable } from "../values/text.ts";

/** What to run and how long to wait for it. */
export interface ProgramRun {
  readonly program: string;
  readonly args: readonly string[];
  readonly stdin?: string;
  /** More variables for its environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  /** What to say where the program is not there, such as the package to install. */
  readonly missingHint?: string;
  /**
   * Whether nobody cares what it prints: then its own end is waited for alone, and what it left running in the
   * background is its own affair.
   */
  readonly isUnheard?: boolean;
  /**
   * Whether its children are killed with it at the deadline, so that none of them acts later. It then has a session of
   * its own, which Ctrl-C in openme's terminal does not reach.
   */
  readonly killsChildren?: boolean;
}

/** Runs to the end and gives what was printed on stdout; anything but exit code 0 throws. */
export type RunProgram = (run: ProgramRun) => Promise<string>;

/** Where system programs live that an ordinary user's PATH leaves out. */
const SYSTEM_FOLDERS = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/** The most that a program may print: the ruleset and the grants of a large host are some 20 MB. */
const MOST_OUTPUT_BYTES = 64 * 1024 * 1024;
/** Of a complaint only the first lines are ever shown. */
const MOST_COMPLAINT_BYTES = 64 * 1024;

/** How long to wait for a program after its SIGKILL. */
const REAP_MS = 1000;

/** {@linkcode RunProgram} on this machine. On the deadline the program is killed. */
export const runProgram: RunProgram = async (run) => {
  const child = spawn(run);
  const killer = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const deadline = new Promise<"deadline">((resolve) => {
    timer = setTimeout(() => resolve("deadline"), run.timeoutMs);
  });
  const tooMuch = Promise.withResolvers<"too much">();
  const parts = [
    run.isUnheard ? "" : readSome(child.stdout, {
      mostBytes: MOST_OUTPUT_BYTES,
      whenMore: () => tooMuch.resolve("too much"),
      signal: killer.signal,
    }),
    run.isUnheard
      ? ""
      : readSome(child.stderr, { mostBytes: MOST_COMPLAINT_BYTES, signal: killer.signal }),
    child.status,
    writeAll(child.stdin, run.stdin ?? "", killer.signal),
  ] as const;
  const finished = Promise.all(parts);
  // A program that dies early leaves a broken pipe behind; its exit code tells more than that.
  const result = await Promise.race([tooMuch.promise, finished, deadline]);
  clearTimeout(timer);
  if (typeof result === "string") {
    finished.catch(() => {});
    // Its own children may hold the pipes open: stop reading as well.
    killer.abort();
    kill(child, run.killsChildren === true);
    await reaped(parts);
    const why = result === "deadline"
      ? `did not finish within ${run.timeoutMs / 1000} s`
      : `printed more than ${MOST_OUTPUT_BYTES / 1024 / 1024} MB`;
    throw failure(run, `${why} and was killed`, "");
  }
  const [stdout, stderr, status] = result;
  if (!status.success) {
    throw failure(
      run,
      status.signal ? `was ended by ${status.signal}` : `failed with exit code ${status.code}`,
      stderr,
    );
  }
  return stdout;
};

/** The error for a run that went wrong: what was run, how it ended, the first lines of its stderr. */
function failure({ program, args }: ProgramRun, ended: string, stderr: string): OpenmeError {
  const complaint = stderr.trim().split("\n").slice(0, 3).map((line) => line.trim()).join("; ");
  const shown = complaint.length > 400 ? complaint.slice(0, 400) + "..." : complaint;
  const hint = /operation not permitted|permission denied/i.test(stderr)
    ? "run openme as root, or give it the capability CAP_NET_ADMIN"
    : undefined;
  return new OpenmeError(
    "COMMAND",
    `${[program, ...args].join(" ")} ${ended}${shown && ": " + escapeUnprintable(shown)}`,
    hint ? { hint } : {},
  );
}

/** What every program gets added to its environment: the system's folders, and messages in English. */
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
      stdin: "piped",
      stdout: isUnheard ? "null" : "piped",
      stderr: isUnheard ? "null" : "piped",
    }).spawn();
  } catch (cause) {
    const missing = cause instanceof Deno.errors.NotFound;
    throw new OpenmeError(
      "COMMAND",
      `cannot run ${program}: ${missing ? "there is no such program" : String(cause)}`,
      {
        cause,
        ...(missing && missingHint ? { hint: missingHint } : {}),
      },
    );
  }
}

async function writeAll(
  stream: WritableStream<Uint8Array>,
  text: string,
  signal: AbortSignal,
): Promise<void> {
  try {
    await new Blob([text]).stream().pipeTo(stream, { signal });
  } catch {
    // The program did not read it all: how it ended is what matters.
  }
}

/** The first `mostBytes` as text, read to the end; of more there is `whenMore` to tell. */
async function readSome(
  stream: ReadableStream<Uint8Array>,
  { mostBytes, whenMore, signal }: {
    mostBytes: number;
    whenMore?: () => void;
    signal: AbortSignal;
  },
): Promise<string> {
  let text = "";
  let left = mostBytes;
  const decoder = new TextDecoder();
  const sink = new WritableStream<Uint8Array>({
    write: (chunk) => {
      if (left > 0) text += decoder.decode(chunk.subarray(0, left), { stream: true });
      left -= chunk.length;
      if (left < 0) whenMore?.();
    },
  });
  await stream.pipeTo(sink, { signal });
  return text;
}

/** What was killed is waited for, with its pipes, but not for ever: the kernel may hold it in a call of its own. */
async function reaped(parts: readonly unknown[]): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const longEnough = new Promise((resolve) => timer = setTimeout(resolve, REAP_MS));
  await Promise.race([Promise.allSettled(parts), longEnough]);
  clearTimeout(timer);
}

function kill(child: Deno.ChildProcess, andChildren: boolean): void {
  try {
    if (andChildren && Deno.build.os !== "windows") Deno.kill(-child.pid, "SIGKILL");
    else child.kill("SIGKILL");
  } catch {
    // It has just ended by itself.
  }
}

/** Whether there is a program of that name, or at that path, that {@linkcode runProgram} would find. */
export function isProgramThere(program: string): boolean {
  const folders = program.includes("/") ? [""] : programEnvironment().PATH.split(":");
  return folders.some((folder) => {
    try {
      const { isFile, mode } = Deno.statSync(folder ? `${folder}/${program}` : program);
      return isFile && (mode === null || (mode & 0o111) !== 0);
    } catch (error) {
      // Whatever else is wrong with it will show when it is run.
      return !(error instanceof Deno.errors.NotFound) && program.includes("/");
    }
  });
}
