/**
 * TCP connections from a given address of this machine, by `node:net`, since `Deno.connect` takes no local address. Loaded
 * only where a profile or a flag binds one.
 */

import { connect as connectSocket, type Socket } from "node:net";
import { type Address, formatAddress, sourceFor } from "../values/address.ts";
import { OpenmeError } from "../values/errors.ts";

/** The part of a TCP connection that the client uses. */
export type Connection = Pick<Deno.TcpConn, "read" | "write" | "closeWrite" | "close">;

/** Connects; rejects with an error of Deno's. */
export type Connect = (
  address: Address,
  port: number,
  signal: AbortSignal,
) => Promise<Connection>;

/** Connects from these addresses. Throws `OpenmeError`, code `SOCKET`, on a Deno whose `node:net` ignores them. */
export function connectFrom(from: readonly Address[]): Connect {
  const [major = 0, minor = 0] = Deno.version.deno.split(".").map(Number);
  if (major < 2 || (major === 2 && minor < 9)) {
    throw new OpenmeError(
      "SOCKET",
      `cannot connect from a given address with Deno ${Deno.version.deno}, only knock from it`,
      { hint: "take a build of openme with Deno 2.9 or later" },
    );
  }
  return (address, port, signal) => {
    const source = sourceFor(address, from);
    if (!source) return Promise.reject(new Deno.errors.AddrNotAvailable("no address to send from"));
    // node:net binds to no address with a zone; the zone of the destination decides the same.
    if (source.zone !== undefined) {
      return Deno.connect({ hostname: formatAddress(address), port, signal });
    }
    return dial(
      { host: formatAddress(address), port, localAddress: formatAddress(source) },
      signal,
    );
  };
}

function dial(
  where: { readonly host: string; readonly port: number; readonly localAddress: string },
  signal: AbortSignal,
): Promise<Connection> {
  return new Promise((resolve, reject) => {
    const socket = connectSocket({
      ...where,
      allowHalfOpen: true,
      autoSelectFamily: false,
    });
    const cancel = () => {
      socket.destroy();
      reject(new Deno.errors.Interrupted("cancelled"));
    };
    signal.addEventListener("abort", cancel, { once: true });
    socket.once("connect", () => {
      signal.removeEventListener("abort", cancel);
      resolve(connectionOf(socket));
    });
    socket.on("error", (cause) => {
      signal.removeEventListener("abort", cancel);
      reject(asDeno(cause));
    });
  });
}

function connectionOf(socket: Socket): Connection {
  let rest: Uint8Array = new Uint8Array(0);
  // The end of the server's side must not end ours.
  const chunks = socket.iterator({ destroyOnReturn: false });
  const settled = async (begin: (done: (cause?: Error | null) => void) => void) => {
    await new Promise<void>((resolve, reject) =>
      begin((cause) => cause ? reject(asDeno(cause)) : resolve())
    );
  };
  return {
    read: async (buffer) => {
      if (rest.length === 0) {
        const { done, value } = await chunks.next().catch((cause) => {
          throw asDeno(cause);
        });
        if (done) return null;
        rest = value;
      }
      const size = Math.min(buffer.length, rest.length);
      buffer.set(rest.subarray(0, size));
      rest = rest.subarray(size);
      return size;
    },
    write: async (bytes) => {
      await settled((done) => socket.write(bytes, done));
      return bytes.length;
    },
    closeWrite: () => settled((done) => socket.end(done)),
    close: () => {
      socket.destroy();
    },
  };
}

/** The error that `Deno.connect` and its connections would have thrown. */
function asDeno(cause: Error & { readonly code?: string }): Error {
  const { errors } = Deno;
  const kinds: Record<string, new (message: string) => Error> = {
    ECONNREFUSED: errors.ConnectionRefused,
    ECONNRESET: errors.ConnectionReset,
    EPIPE: errors.BrokenPipe,
    ENOTCONN: errors.NotConnected,
    ETIMEDOUT: errors.TimedOut,
    ERR_STREAM_DESTROYED: errors.BadResource,
    ERR_STREAM_PREMATURE_CLOSE: errors.BadResource,
  };
  const kind = kinds[cause.code ?? ""];
  return kind ? new kind(cause.message) : cause;
}
