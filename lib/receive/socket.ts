/** The knock port: receiving only. Nothing here can send. */

import { OpenmeError } from "../values/errors.ts";
import { pause } from "../system/clock.ts";
import { tryReadProc } from "../system/proc.ts";
import type { RunProgram } from "../system/run_program.ts";
import { enlargeReceiveBuffer } from "./receive_buffer.ts";

/** More than a knock (165 bytes), so that a longer datagram is seen to be longer; `receive` truncates silently. */
const BUFFER_SIZE = 512;

/** Is given each datagram, and the address that it came from as text. The bytes are good only during the call. */
export type TakeDatagram = (datagram: Uint8Array, from: string) => void;

/** The bound sockets of the knock port. Datagrams wait in the kernel until `listen`. */
export interface KnockSocket {
  /**
   * Calls `take` for every datagram until `signal` aborts. Rejects where the socket has failed, and with what `take`
   * throws.
   */
  listen(take: TakeDatagram, signal: AbortSignal): Promise<void>;
  close(): void;
}

/** Binds the port on these addresses; throws where another program has it. `prepare` is given the sockets. */
export function bindKnockSocket(
  port: number,
  hostnames: readonly string[],
  prepare: (sockets: readonly Deno.DatagramConn[]) => void = () => {},
): KnockSocket {
  const sockets: Deno.DatagramConn[] = [];
  let closed = false;
  const closeAll = () => {
    closed = true;
    sockets.forEach(close);
  };
  try {
    for (const hostname of hostnames) {
      const socket = bind(hostname, port);
      if (socket) sockets.push(socket);
    }
  } catch (cause) {
    closeAll();
    throw cause;
  }
  sockets.forEach(enlargeReceiveBuffer);
  prepare(sockets);
  return {
    listen: async (take, signal) => {
      signal.addEventListener("abort", closeAll, { once: true });
      if (signal.aborted) closeAll();
      await Promise.all(sockets.map((socket) => receiveAll(socket, take, () => closed)));
    },
    close: closeAll,
  };
}

/** {@linkcode bindKnockSocket}, where a process that is about to end may have the port for so long. */
export async function bindSoon(
  timeoutMs: number,
  ...args: Parameters<typeof bindKnockSocket>
): Promise<KnockSocket> {
  const endMs = performance.now() + timeoutMs;
  for (;;) {
    try {
      return bindKnockSocket(...args);
    } catch (cause) {
      const isTaken = (cause as Error).cause instanceof Deno.errors.AddrInUse;
      if (!isTaken || performance.now() > endMs) throw cause;
    }
    await pause(50);
  }
}

/** The addresses for IPv6 and IPv4: one dual-stack socket where the system has such; with `net.ipv6.bindv6only=1` it takes two. */
export async function wildcards(run: RunProgram): Promise<string[]> {
  const only6 = await tryReadProc("/proc/sys/net/ipv6/bindv6only", run);
  return only6.trim() === "1" ? ["::", "0.0.0.0"] : ["::"];
}

function bind(hostname: string, port: number): Deno.DatagramConn | undefined {
  try {
    return Deno.listenDatagram({ transport: "udp", hostname, port });
  } catch (cause) {
    if (cause instanceof Deno.errors.AddrInUse) {
      throw new OpenmeError("SOCKET", `cannot listen on UDP port ${port}: another program has it`, {
        hint: `see which: ss -ulpn 'sport = :${port}'`,
        cause,
      });
    }
    // A kernel without IPv6.
    if (hostname === "::" && !(cause instanceof Deno.errors.PermissionDenied)) {
      return bind("0.0.0.0", port);
    }
    throw new OpenmeError("SOCKET", `cannot listen on UDP port ${port}: ${String(cause)}`, {
      cause,
    });
  }
}

async function receiveAll(
  socket: Deno.DatagramConn,
  take: TakeDatagram,
  isClosed: () => boolean,
): Promise<void> {
  const buffer = new Uint8Array(BUFFER_SIZE);
  let failures = 0;
  while (!isClosed()) {
    let received: [datagram: Uint8Array, from: Deno.Addr];
    try {
      received = await socket.receive(buffer);
    } catch (cause) {
      if (isClosed()) return;
      // An interface that went away makes a receive fail now and then; a socket that is broken fails every time.
      if (++failures >= 10) {
        throw new OpenmeError("SOCKET", `cannot receive knocks: ${String(cause)}`, { cause });
      }
      await pause(300);
      continue;
    }
    failures = 0;
    const [datagram, from] = received;
    // Outside the try: what this throws must not pass for a failure of the socket.
    if (from.transport === "udp") take(datagram, from.hostname);
  }
}

function close(socket: Deno.DatagramConn): void {
  try {
    socket.close();
  } catch {
    // Closed already.
  }
}
