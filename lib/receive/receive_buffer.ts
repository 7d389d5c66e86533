/**
 * Gives the knock socket a buffer for thousands of knocks instead of 277, which the runtime cannot do. For all who knock
 * beside a flood: what the kernel passes on fills the usual buffer in 14 to 50 ms, and other programs or a slow disk keep
 * this process waiting for longer. Linux with glibc and CAP_NET_ADMIN; elsewhere the buffer stays as it is.
 */

/** It counts double: 21,000 knocks. */
const BUFFER_BYTES = 8 * 1024 * 1024;

// The kernel's numbers on x86_64 and aarch64.
const AF_INET = 2;
const AF_INET6 = 10;
const SOL_SOCKET = 1;
const SO_TYPE = 3;
const SO_RCVBUF = 8;
const SO_RCVBUFFORCE = 33;
const SOCK_DGRAM = 2;
/** struct sockaddr_in6; a sockaddr_in is shorter. */
const NAME_SIZE = 28;
/** Descriptors are looked through for the socket; a process that has just started holds a few dozen. */
const MOST_DESCRIPTORS = 1024;

const LIBC = {
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
} as const;

/** Enlarges the buffer of a bound UDP socket, where the system has and permits that. A larger one stays. */
export function enlargeReceiveBuffer(socket: Deno.DatagramConn): void {
  if (Deno.build.os !== "linux" || socket.addr.transport !== "udp") return;
  let library: Deno.DynamicLibrary<typeof LIBC>;
  try {
    library = Deno.dlopen("libc.so.6", LIBC);
  } catch {
    return; // another libc, or no permission
  }
  const { getsockname, getsockopt, setsockopt } = library.symbols;
  const option = (descriptor: number, name: number) => {
    const value = new Int32Array(1);
    getsockopt(descriptor, SOL_SOCKET, name, value, Uint32Array.of(4));
    return value[0]!;
  };
  const { hostname, port } = socket.addr;
  const family = hostname.includes(":") ? AF_INET6 : AF_INET;
  const name = new Uint8Array(NAME_SIZE);
  const view = new DataView(name.buffer);
  // The runtime does not tell which descriptor its socket has: the one that is bound to this port.
  const isOurs = (descriptor: number) =>
    getsockname(descriptor, name, Uint32Array.of(NAME_SIZE)) === 0 &&
    view.getUint16(0, true) === family && view.getUint16(2) === port &&
    option(descriptor, SO_TYPE) === SOCK_DGRAM;
  const ours = Array.from({ length: MOST_DESCRIPTORS }, (_, i) => i).find(isOurs);
  if (ours !== undefined && option(ours, SO_RCVBUF) < 2 * BUFFER_BYTES) {
    setsockopt(ours, SOL_SOCKET, SO_RCVBUFFORCE, Int32Array.of(BUFFER_BYTES), 4);
  }
  library.close();
}
