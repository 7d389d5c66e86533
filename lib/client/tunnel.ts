/**
 * Carries two streams of bytes over a connection, each to its own end: that one side has said all it has to say does
 * not keep the other from going on.
 */

import { pause } from "../system/clock.ts";
import type { Connection } from "./bound_connection.ts";

/** This end: where bytes come from, and where they go. */
export interface LocalEnd {
  readonly input: { read(buffer: Uint8Array): Promise<number | null> };
  readonly output: { write(bytes: Uint8Array): Promise<number> };
}

const BUFFER_SIZE = 64 * 1024;
/**
 * When the server has ended its side, input is carried for as long as it keeps coming. Not for ever: a program cannot
 * close its standard output here without ending, and whoever reads that waits for its end.
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
    // That sending goes wrong ends it all; that it has ended does not.
    await Promise.race([received, sent.then(() => received)]);
  } finally {
    try {
      connection.close();
    } catch {
      // Closed by the other side.
    }
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

/** The other side no longer takes anything: what it still says is carried to its end all the same. */
function ignoreGone(cause: unknown): void {
  const gone = [
    Deno.errors.BrokenPipe,
    Deno.errors.ConnectionReset,
    Deno.errors.NotConnected,
    Deno.errors.BadResource,
  ];
  if (!gone.some((each) => cause instanceof each)) throw cause;
}
