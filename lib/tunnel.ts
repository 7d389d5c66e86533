/**
 * Carries two streams of bytes over a connection, each to its own end: that one side has said all it has to say does
 * not keep the other from going on.
 */

/** This end: where bytes come from, and where they go. */
export interface LocalEnd {
  readonly input: { read(buffer: Uint8Array): Promise<number | null> };
  readonly output: { write(bytes: Uint8Array): Promise<number>; close(): void };
}

const BUFFER_SIZE = 64 * 1024;

/** Resolves when both directions have ended. Rejects where one breaks; the connection is closed either way. */
export async function carry(connection: Deno.TcpConn, { input, output }: LocalEnd): Promise<void> {
  try {
    await Promise.all([
      copy(input, connection).then(() => connection.closeWrite()).catch(ignoreGone),
      copy(connection, output).then(() => output.close()),
    ]);
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
