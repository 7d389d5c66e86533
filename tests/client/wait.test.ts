/** `knockUntilOpen()`: whose time is counted. */

import assert from "node:assert/strict";
import { knockUntilOpen } from "../../lib/client/wait.ts";
import type { Signer } from "../../lib/crypto/signer.ts";
import { ALICE_PROFILE } from "../support/knocks.ts";
import { pause } from "../support/wait.ts";
import "../support/loopback.ts";

Deno.test("the time that the first signature takes is not counted: a person may have been asked", async () => {
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  using service = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const accepted = service.accept();
  const signer: Signer = {
    ...ALICE_PROFILE.signer,
    sign: async (message) => {
      await pause(700);
      return await ALICE_PROFILE.signer.sign(message);
    },
  };
  const profile = {
    ...ALICE_PROFILE,
    ...{ signer, name: "home", serverHost: "127.0.0.1", healthPort: 1 },
    serverUdpPort: (socket.addr as Deno.NetAddr).port,
    ...{ bind: undefined, postKnock: undefined },
  };
  const { port } = service.addr;
  const waited = await knockUntilOpen(profile, {
    ...{ host: undefined, port, target: undefined, family: undefined, timeoutMs: 500 },
  });
  assert.equal(waited.kind, "open");
  if (waited.kind === "open") waited.connection.close();
  (await accepted).close();
  socket.close();
});
