/** Carries standard input and output over a connection. Each direction ends by itself: one goes on when the other ends. */

import { pause } from "../system/clock.ts";
import type { Connection } from "./bound_connection.ts";
import { closeQuietly } from "./dial.ts";

/** The local end: where bytes come from, and where they go. */
export interface LocalEnd {
  readonly input: { read(buffer: Uint8Array): Promise<number | null> };
  readonly output: { write(bytes: Uint8Array): Promise<number> };
}

const BUFFER_SIZE = 64 * 1024;
/**
 * How long after the last input the tunnel ends once the server has ended its side. The reader of standard output waits
 * for its end, which here is the end of the process.
 */
const INPUT_PAUSE_MS = 2000;

/** Resolves when both directions have ended. Rejects where one breaks; the connection is closed either way. */
export async function carry(connection: Connection, { input, output }: LocalEnd): Promise<void> {
  let lastInputMs = performance.now();
  let sending = true;
  const source = {
    read: async (buffer: Uint8Array) => {
      const size = await input.read(buffer);
      lastInputMs = performance.now();
      return size;
    },
  };
  const sent = copy(source, connection).then(() => connection.closeWrite()).catch(ignoreGone)
    .finally(() => sending = false);
  const received = copy(connection, output).then(async () => {
    lastInputMs = performance.now();
    while (sending && performance.now() - lastInputMs < INPUT_PAUSE_MS) {
      await pause(50);
    }
  });
  try {
    // A failure to send ends the tunnel; the end of the input does not.
    await Promise.race([received, sent.then(() => received)]);
  } finally {
    closeQuietly(connection);
  }
}

async function copy(
  from: { read(buffer: Uint8Array): Promise<number | null> },
  to: { write(bytes: Uint8Array): Promise<number> },
): Promise<void> {
  const buffer = new Uint8Array(BUFFER_SIZE);
  for (;;) {
    const size = await from.read(buffer);
    if (size === null) return;
    for (let written = 0; written < size;) {
      written += await to.write(buffer.subarray(written, size));
    }
  }
}

/** The server takes no more input: its output is still carried to its end. */
function ignoreGone(cause: unknown): void {
  const gone = [
    Deno.errors.BrokenPipe,
    Deno.errors.ConnectionReset,
    Deno.errors.NotConnected,
    Deno.errors.BadResource,
  ];
  if (!gone.some((each) => cause instanceof each)) throw cause;
}
