/**
 * Gives the knock socket a buffer for thousands of knocks instead of 277, which the runtime cannot do. For all who knock
 * beside a flood: what the kernel passes on fills the usual buffer in 14 to 50 ms, and other programs or a slow disk keep
 * this process waiting for longer. Linux with glibc and CAP_NET_ADMIN; elsewhere the buffer stays as it is.
 */

import { findDescriptor } from "../system/find_descriptor.ts";
import { openLibc } from "../system/libc.ts";

/** It counts double: 21,000 knocks. */
const BUFFER_BYTES = 8 * 1024 * 1024;

// The kernel's numbers on x86_64 and aarch64.
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_RCVBUFFORCE = 33;

const LIBC = {
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
} as const;

/** Enlarges the buffer of a bound UDP socket, where the system has and permits that. A larger one stays. */
export function enlargeReceiveBuffer(socket: Deno.DatagramConn): void {
  const descriptor = findDescriptor(socket);
  if (descriptor !== undefined) enlargeBufferOf(descriptor);
}

/** The same by the socket's descriptor. */
export function enlargeBufferOf(descriptor: number): void {
  const libc = openLibc(LIBC);
  const size = new Int32Array(1);
  libc?.getsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, size, Uint32Array.of(4));
  if (size[0]! >= 2 * BUFFER_BYTES) return;
  libc?.setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, Int32Array.of(BUFFER_BYTES), 4);
}
