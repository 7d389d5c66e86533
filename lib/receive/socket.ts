/** The knock port: receiving only. Nothing here can send. */

import { type Address, parseAddress } from "../values/address.ts";
import { OpenmeError } from "../values/errors.ts";
import { pause } from "../system/clock.ts";
import { tryReadProc } from "../system/proc.ts";
import type { RunProgram } from "../system/run_program.ts";
import { type BatchReader, batchReader } from "./recvmmsg.ts";

/** More than a knock (165 bytes), so that a longer datagram is seen to be longer; `receive` truncates silently. */
const BUFFER_SIZE = 512;

/** What is taken at once where datagrams can be: 4 ms, at 100,000 a second what comes in 10. */
export const MOST_AT_ONCE = 1024;

/** Is told of each datagram. */
export interface KnockHandlers {
  readonly take: (datagram: Uint8Array, source: Address) => void;
  readonly drained?: () => void;
}

/** The bound sockets of the knock port. Datagrams wait in the kernel until `listen`. */
export interface KnockSocket {
  /**
   * Whether what waits is taken up to {@linkcode MOST_AT_ONCE} at a time, out of a kernel's buffer that holds some
   * thousands; else one by one, out of one that holds 277.
   */
  readonly takesBatches: boolean;
  /**
   * Calls `take` for every datagram until `signal` aborts; the bytes are good only during the call. Where batches are
   * taken, calls `drained` once nothing more waits behind one that has come alone. Rejects where the socket has failed,
   * and with what the handlers throw.
   */
  listen(handlers: KnockHandlers, signal: AbortSignal): Promise<void>;
  close(): void;
}

/** Binds the port for IPv6 and IPv4; throws where another program has it. */
export async function bindKnockSocket(port: number, run: RunProgram): Promise<KnockSocket> {
  const sockets: Deno.DatagramConn[] = [];
  const batches: (BatchReader | undefined)[] = [];
  let closed = false;
  const closeAll = () => {
    closed = true;
    for (const batch of batches) batch?.close();
    sockets.forEach(close);
  };
  try {
    for (const hostname of await wildcards(run)) {
      const socket = bind(hostname, port);
      if (socket) sockets.push(socket);
    }
  } catch (cause) {
    closeAll();
    throw cause;
  }
  batches.push(...sockets.map(batchReader));
  return {
    takesBatches: batches.every((each) => each !== undefined),
    listen: async (handlers, signal) => {
      signal.addEventListener("abort", closeAll, { once: true });
      if (signal.aborted) closeAll();
      const isClosed = () => closed;
      await Promise.all(
        sockets.map((socket, i) => receiveAll(socket, batches[i], handlers, isClosed)),
      );
    },
    close: closeAll,
  };
}

/** One dual-stack socket where the system has such; with `net.ipv6.bindv6only=1` it takes two. */
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
  batch: BatchReader | undefined,
  { take, drained }: KnockHandlers,
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
    const source = from.transport === "udp" ? parseAddress(from.hostname) : undefined;
    // Outside the try: what this throws must not pass for a failure of the socket.
    if (source) take(datagram, source);
    // The sleep in between is for the event loop, which without one looks at other events only every 61st time.
    let batches = 0;
    while (batch && batch.read(take, MOST_AT_ONCE) > 0) {
      batches++;
      await pause(0);
    }
    if (batch && batches === 0) drained?.();
  }
}

function close(socket: Deno.DatagramConn): void {
  try {
    socket.close();
  } catch {
    // Closed already.
  }
}
