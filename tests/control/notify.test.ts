/** Notifications: a program that hangs, floods or leaves a child running delays nothing, and few grants wait. */

import assert from "node:assert/strict";
import { NOTIFY_DEADLINE_MS, notifyOfGrants } from "../../lib/control/notify.ts";
import type { Opened } from "../../lib/receive/reporter.ts";
import { type ProgramRun, type RunProgram, runProgram } from "../../lib/system/run_program.ts";
import type { Running } from "../../lib/server.ts";
import { parseServerConfig } from "../../lib/config/server.ts";
import { serverYaml } from "../support/server_yaml.ts";
import { waitFor } from "../support/wait.ts";
import { memoryLog } from "../support/memory_log.ts";
import { address, grantOf } from "../support/knocks.ts";

/** A server that runs `notify`, of which grants come by `open`. */
function setUp(notify: string, run: RunProgram, options: { deadlineMs?: number } = {}) {
  const config = parseServerConfig(serverYaml({ server: [`notify: ${notify}`] }), "server.yaml");
  const { log, events } = memoryLog();
  let tell: (opened: Opened) => void = () => assert.fail();
  const running = {
    config: () => config,
    onOpened: (listener: (opened: Opened) => void) => void (tell = listener),
  } as Partial<Running> as Running;
  notifyOfGrants(running, { run, log, ...options });
  const open = (client: string, renewed = false) =>
    tell({
      grant: grantOf(client, "192.0.2.7", {
        ports: [
          { protocol: "tcp", first: 22, last: 22 },
          { protocol: "tcp", first: config.healthPort, last: config.healthPort },
        ],
      }),
      renewed,
      source: address("192.0.2.9"),
      lifetimeMs: 30_000,
      knockedAt: { wallNs: 0n, steadyMs: 0 },
    });
  return { open, events };
}

Deno.test("a notification that hangs is killed at its deadline, and the next one runs", async () => {
  assert.equal(NOTIFY_DEADLINE_MS, 10_000);
  const path = await Deno.makeTempFile();
  const script =
    `[sh, -c, '[ $OPENME_CLIENT = hangs ] && exec sleep 60; echo $OPENME_CLIENT >> ${path}']`;
  const { open, events } = setUp(script, runProgram, { deadlineMs: 300 });
  open("hangs");
  open("alice");
  await waitFor("the next", async () => await Deno.readTextFile(path) === "alice\n");
  assert.deepEqual(events.map(({ event }) => event), ["notify_failed"]);
  assert.match(String(events[0]!.fields["error"]), /did not finish within 0\.3 s and was killed$/);
  await Deno.remove(path);
});

Deno.test("what a notification leaves running holds up neither it nor the next one", async () => {
  const path = await Deno.makeTempFile();
  let ended = 0;
  const { open, events } = setUp(
    `[sh, -c, 'sleep 37 & echo $! >> ${path}; yes | head -c 5000000; exit 0']`,
    (run) => runProgram(run).finally(() => ended++),
  );
  const startMs = performance.now();
  open("alice");
  open("bob");
  await waitFor("both", () => ended === 2);
  const pids = (await Deno.readTextFile(path)).trim().split("\n");
  assert.equal(pids.length, 2);
  assert.ok(performance.now() - startMs < 5000);
  assert.deepEqual(events, []);
  for (const pid of pids) Deno.kill(Number(pid), "SIGKILL");
  await Deno.remove(path);
});

Deno.test("at most 64 notifications wait; renewals are none; the health port is not told of", async () => {
  const runs: ProgramRun[] = [];
  const first = Promise.withResolvers<string>();
  const { open, events } = setUp("[tell]", (run) => {
    runs.push(run);
    return runs.length === 1 ? first.promise : Promise.resolve("");
  });
  open("renewed", true);
  for (let n = 0; n < 100; n++) open(`client${n}`);
  first.resolve("");
  const missed = await waitFor("the end", () => events[0], { everyMs: 1 });
  // One at work, 64 that wait.
  assert.deepEqual([missed.event, missed.fields["grants"]], ["notify_missed", 35]);
  assert.equal(runs.length, 65);
  assert.deepEqual(runs.map(({ env }) => env!["OPENME_PORTS"]), Array(65).fill("22/tcp"));
  assert.equal(runs[64]!.env!["OPENME_CLIENT"], "client64");
  assert.equal(runs[0]!.timeoutMs, NOTIFY_DEADLINE_MS);
});
