/** A process as serve starts one: gives up its rights, says whether it could, and then does what it is told. */

import { dropRights } from "../../lib/separate/drop.ts";
import { channelOfStdio } from "../../lib/separate/stdio.ts";

const channel = channelOfStdio();
try {
  dropRights();
  channel.send({ pid: Deno.pid });
} catch (error) {
  channel.send({ error: String(error) });
}
for await (const message of channel.messages) {
  const { hang, complain, send } = message as { hang?: true; complain?: string; send?: number };
  while (hang);
  if (complain) Deno.stderr.writeSync(new TextEncoder().encode(complain));
  if (send) channel.send({ text: "x".repeat(send) });
  channel.send({ env: Deno.env.toObject() });
}
