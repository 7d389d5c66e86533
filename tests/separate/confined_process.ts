/**
 * A process that gives up its system calls but keeps ffi, and then does what it is told. Argument: its purpose; without
 * one it gives up none.
 */

import { dropRights } from "../../lib/separate/drop.ts";
import { channelOfStdio } from "../../lib/separate/stdio.ts";
import { giveUpSystemCalls, type Purpose } from "../../lib/separate/syscalls.ts";
import { trySystemCalls } from "./system_calls.ts";

const [purpose] = Deno.args;
/** Also one of a thread that was there before. */
const thread = new Worker(new URL("confined_thread.ts", import.meta.url), { type: "module" });
const nextOfThread = () =>
  new Promise<unknown>((resolve) => thread.onmessage = ({ data }) => resolve(data));
await nextOfThread();

// As the taker does: the runtime opens the sockets for signals with the first listener.
Deno.addSignalListener("SIGTERM", () => {});
const channel = channelOfStdio();
try {
  dropRights();
  if (purpose) giveUpSystemCalls(purpose as Purpose);
  channel.send({ pid: Deno.pid });
} catch (error) {
  channel.send({ error: String(error) });
}

const LIBC = {
  abort: { parameters: [], result: "void" },
  usleep: { parameters: ["u32"], result: "i32", nonblocking: true },
} as const;
const libc = Deno.dlopen("libc.so.6", LIBC).symbols;

const tasks: Record<string, () => unknown> = {
  try: async () => {
    const threadsAnswer = nextOfThread();
    thread.postMessage(purpose !== undefined);
    return { main: trySystemCalls(purpose !== undefined), thread: await threadsAnswer };
  },
  /** Threads, timers, memory that is given back. */
  live: async () => {
    await Promise.all(Array.from({ length: 24 }, () => libc.usleep(200_000)));
    let kept: unknown[] = [];
    for (let i = 0; i < 400; i++) {
      kept.push(new Uint8Array(1_000_000).fill(i), Array.from({ length: 10_000 }, () => ({ i })));
      if (i % 20 === 0) {
        kept = [];
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    }
    return { lives: true };
  },
  throw: () => {
    setTimeout(() => {
      throw new Error("uncaught");
    });
  },
  abort: () => libc.abort(),
};
for await (const message of channel.messages) {
  const answer = await tasks[(message as { do: string }).do]!();
  if (answer) channel.send(answer);
}
Deno.exit(0); // not for its thread's sake
