/**
 * A clock that is stepped under a running server, an hour forth or back and then home again: grants end in their time,
 * a reload takes nobody's away, and nothing is open that was used before.
 */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { IPV4, type Lab } from "./lab.ts";
import { Served } from "./openme.ts";
import { Site } from "./site.ts";
import { closesOnTime, opens } from "./timing.ts";
import { waitFor } from "../support/wait.ts";
import { LINE_MS } from "../support/spawned.ts";

const HOUR_MS = 3_600_000;
const SHIM = fileURLToPath(new URL("./clock_shim.ts", import.meta.url));
const MAIN = fileURLToPath(new URL("../../main.ts", import.meta.url));

/** `openme serve`, from its source also where a binary is under test: nothing can be put under that one. */
async function serveWithClock(lab: Lab, site: Site, offsetMs: number) {
  const path = `${site.dir}/clock`;
  // Renamed into place: the server reads it at any moment.
  const setClock = async (ms: number) => {
    await Deno.writeTextFile(`${path}.new`, String(ms));
    await Deno.rename(`${path}.new`, path);
  };
  await setClock(offsetMs);
  const command = [Deno.execPath(), "run", "--preload", SHIM, "-A", MAIN, "serve"];
  const program = lab.start(
    "server",
    [...command, "--config", site.config, "--log-level", "debug"],
    { env: { OPENME_TEST_CLOCK: path } },
  );
  const served = new Served(program);
  await served.waitForLine(/listening/, 15_000);
  return { served, setClock };
}

e2e("a clock", async (lab, t) => {
  const { server, client, other } = await lab.agents("server", "client", "other");
  await server.listen({ tcp: [22] });

  for (const stepMs of [HOUR_MS, -HOUR_MS]) {
    const way = stepMs > 0 ? "forth and back" : "back and forth";
    for (const restarts of [false, true]) {
      const title = restarts ? ", the server restarted in between" : "";
      await t.step(`that goes an hour ${way} reopens nothing${title}`, async () => {
        await using site = await Site.create(lab, {
          clients: { alice: ["22/tcp"] },
          knockTimeout: "2s",
        });
        const sealAt = (offsetMs: number, target?: string) => {
          const timestampNs = BigInt(Date.now() + offsetMs) * 1_000_000n;
          return site.seal("alice", { timestampNs, ...(target === undefined ? {} : { target }) });
        };
        // The first start is before all of this: a new database refuses knocks dated up to its start.
        let { served, setClock } = await serveWithClock(lab, site, Math.min(0, stepMs));
        await setClock(0);
        await using _last = { [Symbol.asyncDispose]: () => served[Symbol.asyncDispose]() };
        const accepts = async (knock: Uint8Array, address: string) => {
          const seen = served.lines.length;
          await client.send(knock, IPV4.server, KNOCK_PORT);
          await served.waitForLine(
            new RegExp(`granted client=alice address=${address} `),
            LINE_MS,
            seen,
          );
        };
        const refuses = async (knock: Uint8Array, reason: string) => {
          for (const side of [client, other]) {
            const seen = served.lines.length;
            await side.send(knock, IPV4.server, KNOCK_PORT);
            assert.match(
              await served.waitForLine(
                /event=dropped .*client=alice|granted|renewed/,
                LINE_MS,
                seen,
              ),
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
          ({ served, setClock } = await serveWithClock(lab, site, ms));
        };

        const old = await sealAt(0);
        await accepts(old, IPV4.client);
        await opens(client, IPV4.server, 22);
        await waitFor("the port to close", async () => !await client.reaches(IPV4.server, 22));
        await moveClock(stepMs);
        await refuses(old, "stale");
        const away = await sealAt(stepMs, "10.0.0.77");
        await accepts(away, "10.0.0.77");
        await moveClock(0);
        await refuses(old, "replay");
        await refuses(away, "stale");
        await accepts(await sealAt(0, "10.0.0.78"), "10.0.0.78");
        await served.stop();
      });
    }

    for (const firewall of ["nft", "iptables-nft", "iptables-legacy"]) {
      const once = stepMs > 0 ? "forth" : "back";
      await t.step(`that goes an hour ${once} has its stamps at once: ${firewall}`, async () => {
        await using site = await Site.create(lab, {
          clients: { alice: ["22/tcp"] },
          server: ["only_stamped_knocks: true"],
          firewall,
        });
        const { served, setClock } = await serveWithClock(lab, site, Math.min(0, stepMs));
        await using _served = served;
        await setClock(stepMs);
        const nowNs = () => BigInt(Date.now() + stepMs) * 1_000_000n;
        await waitFor("a knock of that time to open", async () => {
          const knock = await site.seal("alice", { stamped: true, timestampNs: nowNs() });
          await client.send(knock, IPV4.server, KNOCK_PORT);
          // iptables ends a grant by the kernel's clock, which was not set.
          if (firewall !== "nft") return served.lines.some((line) => / event=granted /.test(line));
          return await client.reaches(IPV4.server, 22);
        });
        await served.stop();
      });
    }

    for (const reloads of [false, true]) {
      const seconds = reloads ? 8 : 4; // time enough for the two reloads
      const title = reloads ? ", with a reload after each step" : "";
      await t.step(
        `that goes an hour ${way} under a grant leaves it its time${title}`,
        async () => {
          await using site = await Site.create(lab, {
            clients: { alice: ["22/tcp"] },
            knockTimeout: `${seconds}s`,
          });
          const { served, setClock } = await serveWithClock(lab, site, 0);
          await using _served = served;
          const isOpen = () => client.reaches(IPV4.server, 22);
          const fromMs = performance.now() + seconds * 1000;
          await client.send(await site.seal("alice"), IPV4.server, KNOCK_PORT);
          await opens(client, IPV4.server, 22);
          const toMs = performance.now() + seconds * 1000;
          for (const [i, offsetMs] of [stepMs, 0].entries()) {
            const seen = served.lines.length;
            await setClock(offsetMs);
            if (reloads) {
              // Another client comes in; alice stays as she is.
              await site.configure({ clients: { alice: ["22/tcp"], [`bob${i}`]: ["22/tcp"] } });
              await served.waitForLine(/event=reloaded .*grants=1/, LINE_MS, seen);
            }
            assert.ok(await isOpen(), `closed by the step to ${offsetMs} ms`);
          }
          await closesOnTime(isOpen, { fromMs, toMs });
          assert.ok(!served.lines.some((line) => line.includes("event=withdrawn")));
          await served.waitForLine(/event=expired client=alice/);
          await client.send(await site.seal("alice"), IPV4.server, KNOCK_PORT);
          await opens(client, IPV4.server, 22);
          await served.stop();
        },
      );
    }

    // By a date of the kernel's clock, which no shim is under: what was granted ahead of it has to be taken out.
    for (const firewall of stepMs > 0 ? ["nft", "iptables-nft"] : ["nft"]) {
      await t.step(
        `a grant of a clock that is off by an hour (${way}) ends in its time, with ${firewall}`,
        async () => {
          await using site = await Site.create(lab, {
            clients: { alice: ["22/tcp"] },
            knockTimeout: "3s",
            firewall,
          });
          const { served, setClock } = await serveWithClock(lab, site, stepMs);
          await using _served = served;
          const timestampNs = BigInt(Date.now() + stepMs) * 1_000_000n;
          const fromMs = performance.now() + 3000;
          await client.send(await site.seal("alice", { timestampNs }), IPV4.server, KNOCK_PORT);
          await opens(client, IPV4.server, 22);
          const toMs = performance.now() + 3000;
          await setClock(0);
          await closesOnTime(() => client.reaches(IPV4.server, 22), { fromMs, toMs });
          await served.waitForLine(/event=expired client=alice/);
          await served.stop();
        },
      );
    }
  }
});
