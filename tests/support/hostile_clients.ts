/** Clients that want to hold a server up: connections that say nothing, or say it slowly, or too much. */

import { pause, within } from "./wait.ts";

const encoder = new TextEncoder();

/** What comes until the end, or `undefined` where there is no end within the time. */
export function readToEnd(connection: Deno.Conn, withinMs: number): Promise<string | undefined> {
  const read = async () => {
    const buffer = new Uint8Array(64 * 1024);
    let text = "";
    for (;;) {
      // A connection that is closed on unread data is reset: an end as well.
      const size = await connection.read(buffer).catch(() => null);
      if (size === null) return text;
      text += new TextDecoder().decode(buffer.subarray(0, size));
    }
  };
  return within(read(), withinMs, undefined);
}

/** Sends a text and gives what comes until the end. */
export async function ask(
  connection: Deno.Conn,
  text: string,
  withinMs = 3000,
): Promise<string | undefined> {
  const bytes = encoder.encode(text);
  try {
    for (let sent = 0; sent < bytes.length;) sent += await connection.write(bytes.subarray(sent));
  } catch {
    // Closed meanwhile.
  }
  return await readToEnd(connection, withinMs);
}

/** Sends a byte every 20 ms until the connection is closed; gives how long that took, in ms. */
export async function trickle(connection: Deno.Conn, longestMs: number): Promise<number> {
  const startMs = performance.now();
  let ended = false;
  const end = readToEnd(connection, longestMs).then(() => ended = true);
  while (!ended) {
    await connection.write(encoder.encode("x")).catch(() => {});
    await pause(20);
  }
  await end;
  return performance.now() - startMs;
}

/** Closes connections, whichever of them still are open. */
export function closeAll(connections: readonly Deno.Conn[]): void {
  for (const connection of connections) {
    try {
      connection.close();
    } catch {
      // Closed already.
    }
  }
}
