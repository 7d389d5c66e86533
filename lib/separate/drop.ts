/** How a process that was started without rights gives up the last of them: root, in every thread and for good. */

import { OpenmeError } from "../values/errors.ts";
import { openLibc } from "../system/libc.ts";
import { quote } from "../values/text.ts";

/** Owns nothing, and is in none of the ranges that distributions and systemd give away. */
const FREE_ID = 61_165;

// The kernel's numbers on x86_64 and aarch64.
const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9n;
const POLLERR_OR_POLLHUP = 0x18;
const O_CLOEXEC = 0x80000;
const STATUS_BYTES = 16_384;

const LIBC = {
  getuid: { parameters: [], result: "u32" },
  setgroups: { parameters: ["usize", "buffer"], result: "i32" },
  setresgid: { parameters: ["u32", "u32", "u32"], result: "i32" },
  setresuid: { parameters: ["u32", "u32", "u32"], result: "i32" },
  prctl: { parameters: ["i32", "u64", "u64", "u64", "u64"], result: "i32" },
  poll: { parameters: ["buffer", "usize", "i32"], result: "i32" },
  open: { parameters: ["buffer", "i32"], result: "i32" },
  read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  close: { parameters: ["i32"], result: "i32" },
} as const;

/** /proc/PID/status of a process that has no rights: no id is 0. */
const WITHOUT_RIGHTS = {
  Uid: /^(?!.*\b0\b).*\d/,
  Gid: /^(?!.*\b0\b).*\d/,
  Groups: /^(?!.*\b0\b)/,
  CapPrm: /^0+$/,
  CapEff: /^0+$/,
  CapBnd: /^0+$/,
  NoNewPrivs: /^1$/,
};

type Libc = Deno.DynamicLibrary<typeof LIBC>["symbols"];

/** The user `openme` where there is one, else one that owns nothing. */
export function unprivilegedIds(
  users = readUsers(),
): { readonly uid: number; readonly gid: number } {
  const [, uid, gid] = /^openme:[^:]*:(\d+):(\d+):/m.exec(users) ?? [];
  return { uid: Number(uid ?? FREE_ID), gid: Number(gid ?? FREE_ID) };
}

function readUsers(): string {
  try {
    return Deno.readTextFileSync("/etc/passwd");
  } catch {
    return "";
  }
}

/**
 * Where this process is root: gives that up, and has the kernel kill it when the process that started it ends. Then, and
 * where systemd has started it as another user, makes sure that no right is left. Throws `OpenmeError` where one is.
 */
export function dropRights(): void {
  const libc = openLibc(LIBC);
  if (!libc) throw cannot("that needs Linux with glibc");
  if (libc.getuid() === 0) {
    changeIds(libc);
    endWithParent(libc);
  }
  const right = rightIn(readStatus(libc));
  if (right !== undefined) throw cannot(right);
}

/** The first right that a process still has by its /proc/PID/status; `undefined` for none. */
export function rightIn(status: string): string | undefined {
  for (const [field, expected] of Object.entries(WITHOUT_RIGHTS)) {
    const value = new RegExp(`^${field}:[ \\t]*(.*)$`, "m").exec(status)?.[1] ?? "";
    if (!expected.test(value)) return `/proc/PID/status has ${field} ${quote(value)}`;
  }
  return undefined;
}

/** In every thread, which glibc sees to. With the last id of root's the kernel clears the capabilities. */
function changeIds(libc: Libc): void {
  const { uid, gid } = unprivilegedIds();
  const isDone = libc.setgroups(0n, null) === 0 && libc.setresgid(gid, gid, gid) === 0 &&
    libc.setresuid(uid, uid, uid) === 0;
  if (!isDone) throw cannot(`the kernel does not let it become user ${uid} and group ${gid}`);
}

/** Once the ids have changed, which would undo it. */
function endWithParent(libc: Libc): void {
  const isDone = libc.prctl(PR_SET_PDEATHSIG, SIGKILL, 0n, 0n, 0n) === 0;
  // A parent that is gone by now sends no signal, and has closed its end of standard input.
  const input = Int32Array.of(0, 0);
  libc.poll(input, 1n, 0);
  if (!isDone || input[1]! >> 16 & POLLERR_OR_POLLHUP) throw cannot("its parent is gone");
}

/** By libc: Deno reads nothing under /proc without every permission. */
function readStatus(libc: Libc): string {
  const file = libc.open(new TextEncoder().encode("/proc/self/status\0"), O_CLOEXEC);
  const text = new Uint8Array(STATUS_BYTES);
  const length = Number(libc.read(file, text, BigInt(STATUS_BYTES)));
  libc.close(file);
  return new TextDecoder().decode(text.subarray(0, Math.max(0, length)));
}

function cannot(why: string): OpenmeError {
  return new OpenmeError("COMMAND", `this process cannot give up its rights: ${why}`);
}
