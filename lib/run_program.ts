/**
 * Runs a program: arguments as an array, text on stdin, a deadline, never a shell. A failure is one error that says
 * which program, how it ended and what it complained about.
 */

import { OpenmeError } from "./errors.ts";
import { escapeUnprintable } from "./quote.ts";

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
}

/** Runs to the end and gives what was printed on stdout; anything but exit code 0 throws. */
export type RunProgram = (run: ProgramRun) => Promise<string>;

/** Where system programs live that an ordinary user's PATH leaves out. */
const SYSTEM_FOLDERS = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

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
  const parts = [
    readAll(child.stdout, killer.signal),
    readAll(child.stderr, killer.signal),
    child.status,
    writeAll(child.stdin, run.stdin ?? "", killer.signal),
  ] as const;
  const finished = Promise.all(parts);
  // A program that dies early leaves a broken pipe behind; its exit code tells more than that.
  const result = await Promise.race([finished, deadline]);
  clearTimeout(timer);
  if (result === "deadline") {
    finished.catch(() => {});
    // Its own children may hold the pipes open: stop reading as well.
    killer.abort();
    kill(child);
    await reaped(parts);
    throw failure(run, `did not finish within ${run.timeoutMs / 1000} s and was killed`, "");
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

function spawn({ program, args, env, missingHint }: ProgramRun): Deno.ChildProcess {
  try {
    return new Deno.Command(program, {
      args: [...args],
      env: { ...env, ...programEnvironment() },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
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

async function readAll(stream: ReadableStream<Uint8Array>, signal: AbortSignal): Promise<string> {
  let text = "";
  const decoder = new TextDecoder();
  const sink = new WritableStream<Uint8Array>({
    write: (chunk) => {
      text += decoder.decode(chunk, { stream: true });
    },
  });
  await stream.pipeTo(sink, { signal });
  return text;
}

/** What was killed is waited for, with its pipes, but not for ever: the kernel may hold it in a call of its own. */
async function reaped(parts: readonly Promise<unknown>[]): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const longEnough = new Promise((resolve) => timer = setTimeout(resolve, REAP_MS));
  await Promise.race([Promise.allSettled(parts), longEnough]);
  clearTimeout(timer);
}

function kill(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGKILL");
  } catch {
    // It has just ended by itself.
  }
}
