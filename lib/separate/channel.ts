/**
 * Messages between the processes of one server: a line of JSON each. The side that is not trusted may send anything: what
 * is no message comes out as `undefined`, and what is too long is skipped, in bounded memory.
 */

/** Both ends of a stream of bytes, such as a `Deno.Conn`. */
export interface Ends {
  read(buffer: Uint8Array): Promise<number | null>;
  write(bytes: Uint8Array): Promise<number>;
  /** Nothing more is written: the other side reads the end. */
  closeWrite(): Promise<void>;
  close(): void;
}

/** A stream of messages both ways. */
export interface Channel {
  /** What comes, as parsed JSON; ends where the other side has closed it, or was killed. To be read once. */
  readonly messages: AsyncIterable<unknown>;
  /**
   * Never throws. What is sent to a side that does not read is dropped once {@linkcode MOST_WAITING} bytes wait. A message
   * that `replaces` others is never dropped: those of the same name that still wait are.
   */
  send(message: object, replaces?: string): void;
  /** Asks the other side to end: `messages` ends once it has. */
  close(): void;
}

/** Bytes that may wait for the other side to read them; a message that is longer goes out alone. */
const MOST_WAITING = 4 * 1024 * 1024;
/** What comes at once is dealt with at once: some 80 signed knocks. */
const READ_BYTES = 16_384;

/** A channel over a stream. A line from the other side may have `mostBytes`. */
export function channelOver(ends: Ends, { mostBytes }: { mostBytes: number }): Channel {
  const encoder = new TextEncoder();
  let waiting: { readonly bytes: Uint8Array; readonly name: string | undefined }[] = [];
  let closed = false;
  let writing = false;
  const close = () => {
    if (closed) return;
    closed = true;
    ends.closeWrite().catch(() => {}); // the other side has ended
  };
  const write = async () => {
    writing = true;
    try {
      for (let next = waiting.shift(); next && !closed; next = waiting.shift()) {
        const { bytes } = next;
        for (let at = 0; at < bytes.length;) at += await ends.write(bytes.subarray(at));
      }
    } catch {
      // The reader hears of the end.
    }
    writing = false;
  };
  return {
    messages: readMessages(ends, mostBytes),
    send: (message, name) => {
      const bytes = encoder.encode(JSON.stringify(message) + "\n");
      if (name !== undefined) waiting = waiting.filter((each) => each.name !== name);
      const size = waiting.reduce((sum, each) => sum + each.bytes.length, bytes.length);
      const isTooMuch = name === undefined && waiting.length > 0 && size > MOST_WAITING;
      if (closed || isTooMuch) return;
      waiting.push({ bytes, name });
      if (!writing) write();
    },
    close,
  };
}

async function* readMessages(
  ends: Pick<Ends, "read" | "close">,
  mostBytes: number,
): AsyncGenerator<unknown> {
  const buffer = new Uint8Array(READ_BYTES);
  let line: Uint8Array[] = []; // so far, put together once: it may be long
  let length = 0;
  while (true) {
    const size = await ends.read(buffer).catch(() => null);
    if (size === null) return closeQuietly(ends);
    let rest = buffer.subarray(0, size);
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      length += end;
      yield length > mostBytes
        ? undefined
        : parse(concat([...line, rest.subarray(0, end)], length));
      line = [];
      length = 0;
      rest = rest.subarray(end + 1);
    }
    length += rest.length;
    if (length <= mostBytes) line.push(rest.slice());
    else {
      line = [];
      yield undefined; // each piece, so that the reader can slow down: such a line may never end
    }
  }
}

function closeQuietly(ends: Pick<Ends, "close">): void {
  try {
    ends.close();
  } catch {
    // Closed already.
  }
}

const decoder = new TextDecoder("utf-8", { fatal: true });

function parse(line: Uint8Array): unknown {
  try {
    return JSON.parse(decoder.decode(line));
  } catch {
    return undefined;
  }
}

function concat(pieces: readonly Uint8Array[], length: number): Uint8Array {
  const whole = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
