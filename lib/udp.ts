/**
 * The knock port: receiving only. Nothing here can send.
 */

import { type Address, parseAddress } from "./address.ts";
import { OpenmeError } from "./errors.ts";
import type { RunProgram } from "./run_program.ts";

/** More than a knock (165 bytes), so that a longer datagram is seen to be longer; `receive` truncates silently. */
const BUFFER_SIZE = 512;
/** Sources that are known as text: reading an address takes 7 µs, a third of all that a datagram costs. */
const SOURCES_REMEMBERED = 20_000;

/** The sockets of the knock port. Bound, they take datagrams in; nobody reads them before `listen`. */
export interface KnockSocket {
  /** Calls `take` for every datagram until `signal` aborts; the bytes are good only during the call. */
  listen(take: (datagram: Uint8Array, source: Address) => void, signal: AbortSignal): Promise<void>;
  close(): void;
}

/** Binds the port for IPv6 and IPv4; throws where somebody else has it. */
export async function bindKnockSocket(port: number, run: RunProgram): Promise<KnockSocket> {
  const sockets: Deno.DatagramConn[] = [];
  try {
    for (const hostname of await wildcards(run)) {
      const socket = bind(hostname, port);
      if (socket) sockets.push(socket);
    }
  } catch (cause) {
    for (const socket of sockets) socket.close();
    throw cause;
  }
  return {
    listen: async (take, signal) => {
      const stop = () => sockets.forEach(close);
      signal.addEventListener("abort", stop, { once: true });
      if (signal.aborted) stop();
      await Promise.all(sockets.map((socket) => receiveAll(socket, take, signal)));
    },
    close: () => sockets.forEach(close),
  };
}

/** One dual-stack socket where the system has such; with `net.ipv6.bindv6only=1` it takes two. */
export async function wildcards(run: RunProgram): Promise<string[]> {
  const path = "/proc/sys/net/ipv6/bindv6only";
  const only6 = await run({ program: "cat", args: [path], timeoutMs: 2000 }).catch(() => "0");
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
  take: (datagram: Uint8Array, source: Address) => void,
  signal: AbortSignal,
): Promise<void> {
  const buffer = new Uint8Array(BUFFER_SIZE);
  const sourceOf = rememberingParser();
  let failures = 0;
  while (!signal.aborted) {
    try {
      const [datagram, from] = await socket.receive(buffer);
      failures = 0;
      const source = from.transport === "udp" ? sourceOf(from.hostname) : undefined;
      if (source) take(datagram, source);
    } catch (cause) {
      if (signal.aborted) return;
      // An interface that went away makes a receive fail now and then; a socket that is broken fails every time.
      if (++failures >= 10) {
        throw new OpenmeError("SOCKET", `cannot receive knocks: ${String(cause)}`, { cause });
      }
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
  }
}

/** {@linkcode parseAddress} for texts that come again. */
function rememberingParser(): (text: string) => Address | undefined {
  const known = new Map<string, Address>();
  return (text) => {
    const found = known.get(text);
    if (found) return found;
    const parsed = parseAddress(text);
    if (!parsed) return undefined;
    if (known.size >= SOURCES_REMEMBERED) known.clear();
    known.set(text, parsed);
    return parsed;
  };
}

function close(socket: Deno.DatagramConn): void {
  try {
    socket.close();
  } catch {
    // Closed already.
  }
}
