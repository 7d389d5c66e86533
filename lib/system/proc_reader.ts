/**
 * Reads the kernel's files under /proc through libc, for a server that looks at them every few seconds: Deno permits
 * that only with --allow-all, and a `cat` for each look is 60 programs a minute. Linux with glibc; elsewhere `cat` runs.
 */

import { OpenmeError } from "../values/errors.ts";
import { openLibc } from "./libc.ts";
import type { ProgramRun, RunProgram } from "./run_program.ts";

/** The kernel gives a page at a time of most files, and of some as much as is asked for. */
const CHUNK_BYTES = 16_384;
/** From fcntl.h; the same on x86_64 and aarch64. */
const O_CLOEXEC = 0x80000;
/** From errno.h. */
const ENOENT = 2;

const LIBC = {
  open: { parameters: ["buffer", "i32"], result: "i32" },
  // A table of 50,000 connections takes the kernel 50 ms: on a thread of its own.
  read: { parameters: ["i32", "buffer", "usize"], result: "isize", nonblocking: true },
  close: { parameters: ["i32"], result: "i32" },
  __errno_location: { parameters: [], result: "pointer" },
} as const;

/** The text of a file; `null` where there is none, `undefined` where it cannot be read. */
type ReadFile = (path: string) => Promise<string | null | undefined>;

/**
 * Runs programs as `run` does, and reads what `tryReadProc` and `readProc` ask for without one. A
 * file that cannot be read is left to `cat`, which says why.
 */
export function readingProc(run: RunProgram, read = openReader()): RunProgram {
  if (!read) return run;
  return async (what) => {
    const path = procPathOf(what);
    const text = path === undefined ? undefined : await read(path);
    if (text === null) {
      throw new OpenmeError("COMMAND", `cannot read ${path}: No such file or directory`);
    }
    return text ?? await run(what);
  };
}

/** The file under /proc that such a run reads; `undefined` for every other run. */
function procPathOf({ program, args }: ProgramRun): string | undefined {
  const [path, ...more] = args;
  return program === "cat" && more.length === 0 && path?.startsWith("/proc/") ? path : undefined;
}

/** Opens libc, until the process ends. `undefined` without Linux, glibc or the permission. */
function openReader(): ReadFile | undefined {
  const libc = openLibc(LIBC);
  if (!libc) return undefined;
  const errnoAt = libc.__errno_location();
  if (errnoAt === null) return undefined;
  // The memory itself: to read through the pointer would need the permission that is given up meanwhile.
  const errno = new Int32Array(new Deno.UnsafePointerView(errnoAt).getArrayBuffer(4));
  return async (path) => {
    const file = libc.open(new TextEncoder().encode(`${path}\0`), O_CLOEXEC);
    if (file < 0) return errno[0] === ENOENT ? null : undefined;
    try {
      const decoder = new TextDecoder();
      const chunk = new Uint8Array(CHUNK_BYTES);
      let text = "";
      while (true) {
        const length = Number(await libc.read(file, chunk, BigInt(CHUNK_BYTES)));
        if (length < 0) return undefined;
        if (length === 0) return text;
        text += decoder.decode(chunk.subarray(0, length), { stream: true });
      }
    } finally {
      libc.close(file);
    }
  };
}
