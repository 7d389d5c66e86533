/** `knockAt()`: a fresh knock to each address, all at once. */

import assert from "node:assert/strict";
import { knockAt } from "../../lib/client/knock.ts";
import { formatAddress, parseAddress } from "../../lib/values/address.ts";
import { unsealKnock } from "../../lib/packet.ts";
import { agreeAsServer, ALICE_PROFILE } from "../support/knocks.ts";
import { memoryLog } from "../support/memory_log.ts";
import "../support/loopback.ts";

Deno.test("an address that cannot be knocked at hides none of the others, and the order is theirs", async () => {
  const first = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const { port } = first.addr as Deno.NetAddr;
  const last = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.2", port });
  const hosts = ["127.0.0.1", "2001:db8::2", "127.0.0.2"];
  const profile = {
    ...ALICE_PROFILE,
    name: "home",
    serverHost: "home.example",
    serverUdpPort: port,
    healthPort: port,
    bind: undefined,
    postKnock: undefined,
  };
  const { log, events } = memoryLog();
  // No knock can be sent from the second one: this machine does not have it.
  const from = ["127.0.0.1", "2001:db8::1"].map((address) => parseAddress(address)!);
  const way = { family: undefined, from };
  const sent = await knockAt(hosts.map((host) => parseAddress(host)!), profile, {
    target: undefined,
    way,
    log,
  });

  const wasSent = ["knock_sent", "knock_not_sent", "knock_sent"];
  assert.deepEqual(sent.map(({ address }) => formatAddress(address)), hosts);
  assert.deepEqual(sent.map(({ failure }) => failure === undefined), [true, false, true]);
  assert.deepEqual(events.map(({ event }) => event), wasSent);
  assert.deepEqual(events.map(({ fields }) => fields.address), hosts);
  for (const [i, socket] of [[0, first], [2, last]] as const) {
    const unsealed = unsealKnock((await socket.receive())[0], agreeAsServer);
    socket.close();
    assert.ok(typeof unsealed === "object", "a good knock");
    assert.deepEqual(Uint8Array.from(unsealed.randomNonce), sent[i]!.randomNonce);
  }
});
