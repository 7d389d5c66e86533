/** A clock that was an hour ahead and came back reopens nothing, and shuts nobody out. */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { IPV4, type Lab } from "./lab.ts";
import { Served } from "./openme.ts";
import { Site } from "./site.ts";
import { opens } from "./timing.ts";
import { waitFor } from "./wait.ts";

const HOUR_MS = 3_600_000;

/** A server whose clock can be moved. */
async function serveWithClock(lab: Lab, config: string, offsetMs: number) {
  const script = fileURLToPath(new URL("./clock_server.ts", import.meta.url));
  const command = [Deno.execPath(), "run", "--quiet", "--unstable-net", "-A", script, config];
  const program = lab.start("server", [...command, String(offsetMs)]);
  const served = new Served(program);
  await served.waitForLine(/listening/, 15_000);
  const setClock = async (ms: number) => {
    const seen = program.stdout.all.length;
    await program.writeLine(String(ms));
    await program.stdout.waitFor(new RegExp(`^clock ${ms}$`), 5000, seen);
  };
  return { served, setClock };
}

e2e("a clock", async (lab, t) => {
  const [server, client, other] = await Promise.all([
    lab.agent("server"),
    lab.agent("client"),
    lab.agent("other"),
  ]);
  await server.listen({ tcp: [22] });

  for (const restarts of [false, true]) {
    const title = restarts ? ", the server restarted in between" : "";
    await t.step(`that was an hour ahead and came back reopens nothing${title}`, async () => {
      await using site = await Site.create(lab, {
        clients: { alice: ["22/tcp"] },
        knockTimeout: "2s",
      });
      const sealAt = (offsetMs: number, target?: string) => {
        const timestampNs = BigInt(Date.now() + offsetMs) * 1_000_000n;
        return site.seal("alice", target === undefined ? { timestampNs } : { timestampNs, target });
      };
      let { served, setClock } = await serveWithClock(lab, site.config, 0);
      await using _last = { [Symbol.asyncDispose]: () => served[Symbol.asyncDispose]() };
      const accepts = async (knock: Uint8Array, address: string) => {
        const seen = served.lines.length;
        await client.send(knock, IPV4.server, KNOCK_PORT);
        await served.waitForLine(
          new RegExp(`granted client=alice address=${address} `),
          5000,
          seen,
        );
      };
      const refuses = async (knock: Uint8Array, reason: string) => {
        for (const side of [client, other]) {
          const seen = served.lines.length;
          await side.send(knock, IPV4.server, KNOCK_PORT);
          assert.match(
            await served.waitForLine(/reason=|granted|renewed/, 5000, seen),
            new RegExp(`reason=${reason} `),
          );
        }
        const open = await Promise.all(
          [client, other].map((side) => side.reaches(IPV4.server, 22)),
        );
        assert.deepEqual(open, [false, false]);
      };
      const moveClock = async (ms: number) => {
        if (!restarts) return await setClock(ms);
        await served.stop();
        ({ served, setClock } = await serveWithClock(lab, site.config, ms));
      };

      const old = await sealAt(0);
      await accepts(old, IPV4.client);
      await opens(client, IPV4.server, 22);
      await waitFor("the port to close", async () => !await client.reaches(IPV4.server, 22));
      await moveClock(HOUR_MS);
      await refuses(old, "stale");
      const ahead = await sealAt(HOUR_MS, "10.0.0.77");
      await accepts(ahead, "10.0.0.77");
      await moveClock(0);
      await refuses(old, "replay");
      await refuses(ahead, "stale");
      await accepts(await sealAt(0, "10.0.0.78"), "10.0.0.78");
      await served.stop();
    });
  }
});
