/** A keeper that does nothing: starts a process, has it hang, and prints its number. */

import { startProcess } from "../../lib/separate/process.ts";
import { DROPPED_PROCESS } from "./processes.ts";

const origin = { setpriv: true } as const;
const { channel } = await startProcess(origin, { said: () => {}, command: DROPPED_PROCESS });
for await (const message of channel.messages) {
  channel.send({ hang: true });
  const { pid } = message as { pid: number };
  Deno.stdout.writeSync(new TextEncoder().encode(`${pid}\n`));
}
