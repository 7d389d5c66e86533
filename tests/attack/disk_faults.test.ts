/**
 * The disk fails under a running server, which is then killed and started again, while the disk still fails and once it
 * works: grants end in time, no knock is taken twice, and a good one is let in, throughout.
 */

import assert from "node:assert/strict";
import { e2e, KNOCK_PORT } from "../e2e/e2e.ts";
import { IPV4 } from "../e2e/lab.ts";
import type { Served } from "../e2e/openme.ts";
import { Site } from "../e2e/site.ts";
import { closesOnTime } from "../e2e/timing.ts";
import { skip } from "../support/programs.ts";
import { type Fault, FAULTS, readOnlyMissing } from "./bad_disks.ts";
import { letIn } from "./siege.ts";
import { LINE_MS } from "../support/spawned.ts";

const DEBUG = ["--log-level", "debug"];
const LIFETIME_MS = 3000;
const WINDOW_MS = 60_000;

e2e("a server whose disk fails", async (lab, t) => {
  const client = await lab.agent("client");
  const why = await readOnlyMissing();
  let next = 0;

  for (const fault of Object.keys(FAULTS) as Fault[]) {
    if (fault === "read-only" && why !== undefined) {
      await skip(t, why);
      continue;
    }
    await t.step(`${fault}: nothing outlives its time, nothing is taken twice`, async () => {
      await using site = await Site.create(lab, {
        clients: { alice: ["22/tcp"] },
        knockTimeout: `${LIFETIME_MS / 1000}s`,
      });
      await Deno.mkdir(site.stateDir, { mode: 0o700 });
      await using disk = await FAULTS[fault](site.stateDir);
      let served = await site.serve(DEBUG);
      const taken: Uint8Array[] = [];
      const send = (knock: Uint8Array) => client.send(knock, IPV4.server, KNOCK_PORT);

      /** That a good knock opens what it should, and that this ends in time. */
      const accepts = async (atMs = Date.now()) => {
        const target = `192.0.2.${++next}`;
        const timestampNs = BigInt(atMs) * 1_000_000n;
        const knock = await site.seal("alice", { target, timestampNs });
        const [seen, fromMs] = [served.lines.length, performance.now()];
        await send(knock);
        await served.waitForLine(new RegExp(`event=granted .*address=${target} `), 8000, seen);
        const toMs = performance.now();
        taken.push(knock);
        return {
          ends: () =>
            closesOnTime(async () => (await letIn(lab)).has(target), {
              fromMs: fromMs + LIFETIME_MS,
              toMs: toMs + LIFETIME_MS,
            }),
        };
      };
      const refusesAll = async () => {
        for (const [i, knock] of taken.entries()) {
          const seen = served.lines.length;
          await send(knock);
          const line = await served.waitForLine(
            /event=(dropped|granted|renewed).*client=alice/,
            LINE_MS,
            seen,
          );
          assert.match(line, /reason=replay/, `knock ${i}`);
        }
      };
      /** What stands in for lost memory is dated a window after the start: as late as this, a knock is certainly new. */
      const newestMs = () => {
        const line = served.lines.find((each) => each.includes("event=listening"));
        return Date.parse(/time=(\S+)/.exec(line ?? "")?.[1] ?? "") + WINDOW_MS;
      };
      const startAgain = async (): Promise<Served> => {
        await served.kill("SIGKILL");
        return served = await site.serve(DEBUG);
      };

      const before = await accepts();
      await disk.fail();
      const during = await accepts();
      for (let i = 0; i < 3; i++) await accepts();
      await served.waitForLine(
        fault === "deleted" ? /event=state_written/ : /event=state_not_written/,
        LINE_MS,
      );
      await refusesAll();
      await before.ends();
      await during.ends();
      await accepts();

      await startAgain(); // while it still fails
      if (fault !== "deleted") {
        await served.waitForLine(/level=warn event=state_not_written .*starting from memory/);
      }
      await refusesAll();
      await (await accepts(newestMs())).ends();
      await refusesAll();

      if (disk.mendsInUse) {
        await disk.mend();
        if (fault === "full") await served.waitForLine(/event=state_written/);
        await served.kill("SIGKILL");
      } else {
        await served.kill("SIGKILL");
        await disk.mend();
      }
      served = await site.serve(DEBUG);
      await refusesAll();
      await (await accepts(newestMs())).ends();
      await refusesAll();
      await served.stop();
      served = await site.serve(DEBUG);
      await refusesAll();
      await served.stop();
    });
  }
});
