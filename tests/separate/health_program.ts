/** The health process as a program: every permission of Deno's is given up once the port is bound. */

import { channelOver } from "../../lib/separate/channel.ts";
import { runHealthProcess } from "../../lib/separate/health_process.ts";

const close = () => Deno.stdout.close();
const ends = {
  read: (buffer: Uint8Array) => Deno.stdin.read(buffer),
  write: (bytes: Uint8Array) => Deno.stdout.write(bytes),
  closeWrite: () => Promise.resolve(close()),
  close,
};
const channel = channelOver(ends, { mostBytes: 1024 * 1024 });

function giveUpRights(): void {
  for (const name of ["run", "read", "write", "net", "env", "sys", "ffi", "import"] as const) {
    const { state } = Deno.permissions.revokeSync({ name } as Deno.PermissionDescriptor);
    if (state === "granted") throw new Error(`still may ${name}`);
  }
}

const messages = channel.messages[Symbol.asyncIterator]();
const { value } = await messages.next();
await runHealthProcess(value, { messages, channel, giveUpRights });
