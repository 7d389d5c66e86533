/** Finds which descriptor a socket has, which the runtime does not tell. Linux with glibc, and the permission ffi. */

import { openLibc } from "./libc.ts";

// The kernel's numbers on x86_64 and aarch64.
const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const SOL_SOCKET = 1;
const SO_TYPE = 3;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
/** struct sockaddr_un, the longest of the three. */
const NAME_SIZE = 110;
/** Descriptors are looked through for the socket; a process that has just started holds a few dozen. */
const MOST_DESCRIPTORS = 1024;

const LIBC = {
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getpeername: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
} as const;

/** Of a bound UDP socket: the one with its port. Of a connection to a Unix socket: the newest to that path. */
export function findDescriptor(socket: Deno.DatagramConn | Deno.UnixConn): number | undefined {
  const libc = openLibc(LIBC);
  if (!libc) return undefined;
  const name = new Uint8Array(NAME_SIZE);
  const view = new DataView(name.buffer);
  const has = (descriptor: number, type: number, family: number) => {
    const value = new Int32Array(1);
    libc.getsockopt(descriptor, SOL_SOCKET, SO_TYPE, value, Uint32Array.of(4));
    return value[0] === type && view.getUint16(0, true) === family;
  };
  let isOurs: (descriptor: number) => boolean;
  if ("remoteAddr" in socket) {
    const path = new TextEncoder().encode(`${socket.remoteAddr.path}\0`);
    isOurs = (descriptor) =>
      libc.getpeername(descriptor, name, Uint32Array.of(NAME_SIZE)) === 0 &&
      has(descriptor, SOCK_STREAM, AF_UNIX) && path.every((byte, i) => name[2 + i] === byte);
  } else {
    const { hostname, port } = socket.addr as Deno.NetAddr;
    const family = hostname.includes(":") ? AF_INET6 : AF_INET;
    isOurs = (descriptor) =>
      libc.getsockname(descriptor, name, Uint32Array.of(NAME_SIZE)) === 0 &&
      has(descriptor, SOCK_DGRAM, family) && view.getUint16(2) === port;
  }
  return Array.from({ length: MOST_DESCRIPTORS }, (_, i) => i).findLast(isOurs);
}
