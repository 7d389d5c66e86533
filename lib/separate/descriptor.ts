/**
 * Passes sockets from one process to another, over a Unix socket between them (SCM_RIGHTS, unix(7)): the taker that
 * systemd has started may not enlarge the buffer of its socket, and the keeper may. Linux with glibc, 64 bits, and the
 * permission ffi; elsewhere none are passed.
 */

import { findDescriptor } from "../system/find_descriptor.ts";
import { openLibc } from "../system/libc.ts";

// The kernel's numbers on x86_64 and aarch64.
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_PEEK = 2;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;
const POLLIN = 1;
const SYS_CLOSE_RANGE = 436n;
const CLOSE_RANGE_CLOEXEC = 4n;

const LIBC = {
  sendmsg: { parameters: ["i32", "buffer", "i32"], result: "isize" },
  recvmsg: { parameters: ["i32", "buffer", "i32"], result: "isize" },
  recv: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
  close: { parameters: ["i32"], result: "i32" },
  poll: { parameters: ["buffer", "usize", "i32"], result: "i32", nonblocking: true },
} as const;

const SYSCALL = {
  syscall: { parameters: ["i64", "u64", "u64", "u64"], result: "i64" }, // glibc has close_range since 2.34
} as const;

/** One for IPv6 and IPv4, or two. */
const MOST_DESCRIPTORS = 2;
/** They go with one byte at least. JSON skips this one. */
const SPACE = 32;

/** struct msghdr (56 bytes), and what it points to: struct iovec (16), the byte (8), struct cmsghdr (16), descriptors. */
const IOVEC = 56;
const BYTE = 72;
const CONTROL = 80;
const DESCRIPTORS = 96;
const MESSAGE_SIZE = DESCRIPTORS + 4 * MOST_DESCRIPTORS;

/** A message of one byte, with room for `count` descriptors. */
function newMessage(count: number): DataView<ArrayBuffer> {
  const message = new DataView(new ArrayBuffer(MESSAGE_SIZE));
  const at = BigInt(
    Deno.UnsafePointer.value(Deno.UnsafePointer.of(new Uint8Array(message.buffer))),
  );
  const set = (offset: number, value: bigint) => message.setBigUint64(offset, value, true);
  set(16, at + BigInt(IOVEC)); // msg_iov, msg_iovlen
  set(24, 1n);
  set(32, at + BigInt(CONTROL)); // msg_control, msg_controllen
  set(40, BigInt(DESCRIPTORS - CONTROL + 4 * count));
  set(IOVEC, at + BigInt(BYTE)); // iov_base, iov_len
  set(IOVEC + 8, 1n);
  return message;
}

/** Passes UDP sockets over a connected Unix socket, before any message. The process keeps its own. */
export function passDescriptors(sockets: readonly Deno.DatagramConn[], over = 0): void {
  const libc = openLibc(LIBC);
  const descriptors = sockets.map(findDescriptor).filter((each) => each !== undefined);
  if (!libc || descriptors.length === 0) return;
  const message = newMessage(descriptors.length);
  message.setUint8(BYTE, SPACE);
  message.setBigUint64(CONTROL, message.getBigUint64(40, true), true); // cmsg_len
  message.setInt32(CONTROL + 8, SOL_SOCKET, true);
  message.setInt32(CONTROL + 12, SCM_RIGHTS, true);
  descriptors.forEach((each, i) => message.setInt32(DESCRIPTORS + 4 * i, each, true));
  libc.sendmsg(over, new Uint8Array(message.buffer), MSG_NOSIGNAL);
}

/**
 * The descriptors that the other side passes first; none where it sends something else first, or nothing for
 * `timeoutMs`. Messages stay there to be read, which must not begin before. The caller closes the descriptors.
 */
export async function receiveDescriptors(
  over: Deno.UnixConn,
  timeoutMs: number,
): Promise<number[]> {
  const libc = openLibc(LIBC);
  const socket = libc && findDescriptor(over);
  if (!libc || socket === undefined) return [];
  // Read afterwards, which keeps it: the engine frees what only another thread's call still uses.
  const waiting = Int32Array.of(socket, POLLIN);
  await libc.poll(waiting, 1n, timeoutMs);
  if (waiting[1]! >> 16 === 0) return [];
  const message = newMessage(MOST_DESCRIPTORS);
  // Only looked at, for what comes may be a message. The kernel gives the descriptors each time.
  const flags = MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC;
  if (Number(libc.recvmsg(socket, new Uint8Array(message.buffer), flags)) !== 1) return [];
  const hasDescriptors = message.getInt32(CONTROL + 8, true) === SOL_SOCKET &&
    message.getInt32(CONTROL + 12, true) === SCM_RIGHTS;
  if (!hasDescriptors) return [];
  // Left to the runtime, that byte would come alone, and then the runtime would believe that no more is there.
  libc.recv(socket, new Uint8Array(1), 1n, MSG_DONTWAIT);
  const count = (Number(message.getBigUint64(CONTROL, true)) - (DESCRIPTORS - CONTROL)) / 4;
  return Array.from({ length: count }, (_, i) => message.getInt32(DESCRIPTORS + 4 * i, true));
}

export function closeDescriptor(descriptor: number): void {
  openLibc(LIBC)?.close(descriptor);
}

/** Processes that this one starts get none of its descriptors, such as those it was started with. Linux 5.11. */
export function passNoDescriptors(): void {
  openLibc(SYSCALL)?.syscall(SYS_CLOSE_RANGE, 3n, 0xffff_ffffn, CLOSE_RANGE_CLOEXEC);
}
