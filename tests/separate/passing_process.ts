/** A taker as systemd starts one, up to its first message: passes its two sockets, and says which ports they have. */

import { passDescriptors } from "../../lib/separate/descriptor.ts";
import { channelOfStdio } from "../../lib/separate/stdio.ts";

const sockets = ["::1", "127.0.0.1"].map((hostname) =>
  Deno.listenDatagram({ transport: "udp", hostname, port: 0 })
);
if (Deno.args[0] !== "nothing") passDescriptors(sockets);
const channel = channelOfStdio();
channel.send({ ports: sockets.map(({ addr }) => (addr as Deno.NetAddr).port) });
await Array.fromAsync(channel.messages);
