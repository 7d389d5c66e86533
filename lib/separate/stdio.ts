/** The channel of a process that was started without rights, to the process that started it. */

import { type Channel, channelOver } from "./channel.ts";

/** The configuration is one message. */
const MOST_BYTES = 64 * 1024 * 1024;

/** Over standard input and output. What is sent is written at once; where the other side is gone, this process ends. */
export function channelOfStdio(): Channel {
  const close = () => {
    Deno.stdin.close();
    Deno.stdout.close();
  };
  const write = (bytes: Uint8Array) => Deno.stdout.write(bytes);
  const read = (buffer: Uint8Array) => Deno.stdin.read(buffer);
  const ends = { read, write, close, closeWrite: () => Promise.resolve(close()) };
  const { messages } = channelOver(ends, { mostBytes: MOST_BYTES });
  const encoder = new TextEncoder();
  const send = (message: object) => {
    const bytes = encoder.encode(JSON.stringify(message) + "\n");
    try {
      for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
    } catch {
      Deno.exit(0);
    }
  };
  return { messages, send, close };
}
