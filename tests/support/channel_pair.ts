/** Two ends of a channel between processes, in one process. */

import { type Channel, channelOver, type Ends } from "../../lib/separate/channel.ts";

/** One direction: bytes wait until they are read. */
class Pipe {
  readonly #waiting: Uint8Array[] = [];
  #wake = () => {};
  #isClosed = false;

  write(bytes: Uint8Array): Promise<number> {
    if (this.#isClosed) return Promise.reject(new Deno.errors.BrokenPipe());
    this.#waiting.push(bytes.slice());
    this.#wake();
    return Promise.resolve(bytes.length);
  }

  async read(buffer: Uint8Array): Promise<number | null> {
    while (this.#waiting.length === 0) {
      if (this.#isClosed) return null;
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    const next = this.#waiting.shift()!;
    buffer.set(next.subarray(0, buffer.length));
    if (next.length > buffer.length) this.#waiting.unshift(next.subarray(buffer.length));
    return Math.min(next.length, buffer.length);
  }

  close(): void {
    this.#isClosed = true;
    this.#wake();
  }
}

/**
 * The keeper's end, which takes lines of 1024 bytes, and the other process's: as bytes and as a channel. A process that
 * `obeys` is gone as soon as the keeper has closed its end.
 */
export function channelPair({ obeys = true }: { obeys?: boolean } = {}): {
  readonly keeper: Channel;
  readonly process: Channel;
  readonly raw: Ends;
  /** Ends both, as the death of a process does. */
  readonly kill: () => void;
} {
  const [up, down] = [new Pipe(), new Pipe()];
  const kill = () => [up, down].forEach((pipe) => pipe.close());
  const ends = (from: Pipe, to: Pipe) => ({
    read: (buffer: Uint8Array) => from.read(buffer),
    write: (bytes: Uint8Array) => to.write(bytes),
    closeWrite: () => Promise.resolve(obeys ? kill() : to.close()),
    close: kill,
  });
  const raw = ends(down, up);
  return {
    keeper: channelOver(ends(up, down), { mostBytes: 1024 }),
    process: channelOver(raw, { mostBytes: 1024 * 1024 }),
    raw,
    kill,
  };
}
