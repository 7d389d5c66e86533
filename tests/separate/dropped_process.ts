/** A process as serve starts one without rights: gives up root, says so, and does what it is told. */

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
  if (message === "hang") { while (true); }
  channel.send({ echo: message });
}
