/**
 * The knock socket, read through libc: `recvmmsg` takes what waits 64 at a time, for a tenth of what the runtime's own
 * `receive` costs, and the kernel's buffer gets room for thousands of knocks instead of 277. Linux with glibc, on 64-bit
 * processors; elsewhere `receive` does it alone. Receiving only: nothing here can send.
 */

import { type Address, addressFromBytes16 } from "../values/address.ts";

/** What the kernel shall keep while this process is busy; it counts double: 21,000 knocks, 400 ms of 50,000/s. */
const RECEIVE_BUFFER_BYTES = 8 * 1024 * 1024;
/** The kernel's default, unless `net.core.rmem_default` was set. */
const DEFAULT_BUFFER_BYTES = 212_992;
const MESSAGES = 64;
/** More than a knock (165 bytes), so that a longer datagram is seen to be longer. */
const MESSAGE_SIZE = 192;

// The kernel's numbers on x86_64 and aarch64.
const AF_INET = 2;
const AF_INET6 = 10;
const SOL_SOCKET = 1;
const SO_TYPE = 3;
const SO_RCVBUF = 8;
const SO_RCVBUFFORCE = 33;
const SOCK_DGRAM = 2;
const MSG_DONTWAIT = 0x40;
/** struct sockaddr_in6; a sockaddr_in is shorter. */
const NAME_SIZE = 28;
/**
 * struct mmsghdr: name, its size, vectors, their count, control, its size, flags; then the length received. struct
 * iovec: where, and how much.
 */
const HEADER_SIZE = 64;
const HEADER_NAME_SIZE = 8;
const HEADER_RECEIVED = 56;
const VECTOR_SIZE = 16;
/** Descriptors are looked through for the socket; a process that has just started holds a few dozen. */
const MOST_DESCRIPTORS = 1024;

const LIBC = {
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  recvmmsg: { parameters: ["i32", "buffer", "u32", "i32", "pointer"], result: "i32" },
} as const;

/** Reads what waits at a socket. */
export interface BatchReader {
  /**
   * Calls `take` for up to `most` waiting datagrams, without waiting for any; the bytes are good only during the call.
   * Returns how many there were.
   */
  read(take: (datagram: Uint8Array, source: Address) => void, most: number): number;
  /** Closes libc. Call it before the socket is closed: its descriptor may then become another's. */
  close(): void;
}

/** A reader for a bound socket; `undefined` where this system has no such call, or does not permit it. */
export function batchReader(socket: Deno.DatagramConn): BatchReader | undefined {
  if (Deno.build.os !== "linux" || socket.addr.transport !== "udp") return undefined;
  let library: Library;
  try {
    library = Deno.dlopen("libc.so.6", LIBC);
  } catch {
    return undefined; // another libc, or no permission
  }
  const descriptor = descriptorOf(socket.addr, library.symbols);
  if (descriptor !== undefined) return readerOf(descriptor, library);
  library.close();
  return undefined;
}

type Library = Deno.DynamicLibrary<typeof LIBC>;
type Libc = Library["symbols"];

/** The runtime does not tell which descriptor its socket has: the one that is bound to this port. */
function descriptorOf({ hostname, port }: Deno.NetAddr, libc: Libc): number | undefined {
  const family = hostname.includes(":") ? AF_INET6 : AF_INET;
  const name = new Uint8Array(NAME_SIZE);
  const view = new DataView(name.buffer);
  for (let descriptor = 0; descriptor < MOST_DESCRIPTORS; descriptor++) {
    if (libc.getsockname(descriptor, name, Uint32Array.of(NAME_SIZE)) !== 0) continue;
    if (view.getUint16(0, true) !== family || view.getUint16(2) !== port) continue;
    if (option(libc, descriptor, SO_TYPE) === SOCK_DGRAM) return descriptor;
  }
  return undefined;
}

/** Beyond the system's limit with CAP_NET_ADMIN, up to it without. What an administrator has made larger stays. */
function enlargeBuffer(descriptor: number, libc: Libc): void {
  const before = option(libc, descriptor, SO_RCVBUF);
  if (before >= 2 * RECEIVE_BUFFER_BYTES) return; // the kernel doubles what it is asked for
  const wanted = Int32Array.of(RECEIVE_BUFFER_BYTES);
  if (libc.setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, wanted, 4) === 0) return;
  // The limit is not known here, and may be below a raised default.
  if (before > DEFAULT_BUFFER_BYTES) return;
  libc.setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, wanted, 4);
}

function readerOf(descriptor: number, library: Library): BatchReader {
  const libc = library.symbols;
  enlargeBuffer(descriptor, libc);
  // One piece of memory, since its parts hold addresses of one another: one view of it in use keeps all of it.
  const memory = new ArrayBuffer(MESSAGES * (HEADER_SIZE + VECTOR_SIZE + NAME_SIZE + MESSAGE_SIZE));
  const vectorsAt = MESSAGES * HEADER_SIZE;
  const namesAt = vectorsAt + MESSAGES * VECTOR_SIZE;
  const bytesAt = namesAt + MESSAGES * NAME_SIZE;
  const bytes = new Uint8Array(memory);
  const view = new DataView(memory);
  const base = BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes)));
  const setWord = (at: number, word: bigint) => view.setBigUint64(at, word, true);
  for (let i = 0; i < MESSAGES; i++) {
    const [header, vector] = [i * HEADER_SIZE, vectorsAt + i * VECTOR_SIZE];
    setWord(header, base + BigInt(namesAt + i * NAME_SIZE));
    setWord(header + HEADER_NAME_SIZE, BigInt(NAME_SIZE));
    setWord(header + 16, base + BigInt(vector));
    setWord(header + 24, 1n);
    setWord(vector, base + BigInt(bytesAt + i * MESSAGE_SIZE));
    setWord(vector + 8, BigInt(MESSAGE_SIZE));
  }
  let closed = false;
  return {
    read: (take, most) => {
      let taken = 0;
      while (taken < most && !closed) {
        const wantedNow = Math.min(MESSAGES, most - taken);
        const count = libc.recvmmsg(descriptor, bytes, wantedNow, MSG_DONTWAIT, null);
        for (let i = 0; i < count; i++) {
          const header = i * HEADER_SIZE;
          const nameSize = view.getUint32(header + HEADER_NAME_SIZE, true);
          const size = view.getUint32(header + HEADER_RECEIVED, true);
          view.setUint32(header + HEADER_NAME_SIZE, NAME_SIZE, true); // the kernel has written this one's
          const source = sourceOf(bytes, namesAt + i * NAME_SIZE, nameSize);
          const start = bytesAt + i * MESSAGE_SIZE;
          if (source) take(bytes.subarray(start, start + size), source);
        }
        if (count > 0) taken += count;
        if (count < wantedNow) break;
      }
      return taken;
    },
    close: () => {
      if (!closed) library.close();
      closed = true;
    },
  };
}

/** The address in a sockaddr_in6 or a sockaddr_in. */
function sourceOf(memory: Uint8Array, at: number, size: number): Address | undefined {
  const family = size >= 2 ? memory[at]! | memory[at + 1]! << 8 : undefined;
  if (family === AF_INET6 && size === NAME_SIZE) {
    return addressFromBytes16(memory.subarray(at + 8, at + 24));
  }
  if (family === AF_INET && size >= 8) return { family: 4, bytes: memory.slice(at + 4, at + 8) };
  return undefined;
}

function option(libc: Libc, descriptor: number, name: number): number {
  const value = new Int32Array(1);
  libc.getsockopt(descriptor, SOL_SOCKET, name, value, Uint32Array.of(4));
  return value[0]!;
}
