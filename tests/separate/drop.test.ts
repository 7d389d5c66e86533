/** What a process has left that has given up its rights: nothing, in any of its threads; and it ends with its parent. */

import assert from "node:assert/strict";
import { rightIn, unprivilegedIds } from "../../lib/separate/drop.ts";
import { startProcess } from "../../lib/separate/process.ts";
import { runToEnd } from "../e2e/lab.ts";
import { isAlive, Program } from "../support/spawned.ts";
import { waitFor } from "../support/wait.ts";
import { DROPPED_PROCESS, end, next, rootTest, STARTING_PROCESS } from "./processes.ts";

const NONE = `Uid:\t61165\t61165\t61165\t61165
Gid:\t61165\t61165\t61165\t61165
Groups:\t
CapInh:\t00000000000014c0
CapPrm:\t0000000000000000
CapEff:\t0000000000000000
CapBnd:\t0000000000000000
NoNewPrivs:\t1
`;

Deno.test("rightIn() names each right that a status shows, and misses none that is not there", () => {
  assert.equal(rightIn(NONE), undefined);
  for (
    const [without, having] of [
      ["Uid:\t61165", "Uid:\t0"],
      ["61165\nGid", "0\nGid"],
      ["Gid:\t61165", "Gid:\t0"],
      ["Groups:\t", "Groups:\t4 0 "],
      ["CapPrm:\t0", "CapPrm:\t1"],
      ["CapEff:\t0", "CapEff:\t1"],
      ["CapBnd:\t0", "CapBnd:\t1"],
      ["NoNewPrivs:\t1", "NoNewPrivs:\t0"],
    ] as const
  ) {
    assert.match(rightIn(NONE.replace(without, having)) ?? "", /^\/proc\/PID\/status has \w+ "/);
  }
  for (const line of NONE.split("\n").filter((line) => /^(Uid|Gid|Cap[PEB]|NoNew)/.test(line))) {
    assert.match(rightIn(NONE.replace(line, "")) ?? "", /has \w+ ""$/);
  }
});

Deno.test("unprivilegedIds() are those of the user openme, or such that belong to no user", () => {
  const root = "root:x:0:0:root:/root:/bin/bash\n";
  const others = "myopenme:x:7:7::/:/bin/false\nopenme2:x:8:8:openme:5:5:/:/bin/false\n";
  const openme = "openme:x:998:997:hides ports:/:/usr/sbin/nologin\n";
  assert.deepEqual(unprivilegedIds(root + openme + others), { uid: 998, gid: 997 });
  assert.deepEqual(unprivilegedIds(root + others), { uid: 61_165, gid: 61_165 });
  const { uid, gid } = unprivilegedIds();
  assert.ok(uid > 0 && gid > 0);
});

rootTest(["setpriv"], "dropRights() leaves no right to any thread", async () => {
  const started = await startProcess({ setpriv: true }, {
    said: (line) => assert.fail(line),
    command: DROPPED_PROCESS,
  });
  const { pid, error } = await next(started);
  assert.equal(error, undefined);
  const threads = [...Deno.readDirSync(`/proc/${pid}/task`)];
  assert.ok(threads.length > 1);
  for (const { name } of threads) {
    assert.equal(rightIn(Deno.readTextFileSync(`/proc/${pid}/task/${name}/status`)), undefined);
  }
  await end(started);
  await waitFor("its end", () => !isAlive(Number(pid)));
});

rootTest(["setpriv"], "a process that hangs ends with the one that started it", async () => {
  for (let round = 0; round < 5; round++) {
    await using keeper = new Program(STARTING_PROCESS[0]!, { args: STARTING_PROCESS.slice(1) });
    const pid = Number(await keeper.stdout.waitFor(/^\d+$/, 10_000));
    assert.ok(isAlive(pid));
    keeper.signal("SIGKILL");
    await waitFor("its end", () => !isAlive(pid), { timeoutMs: 1000, everyMs: 10 });
  }
});

rootTest([], "dropRights() throws where a right stays", async () => {
  // Nothing has taken the capabilities' bounding set away.
  const { stdout } = await runToEnd("sh", ["-c", 'sleep 1 | "$@"', "sh", ...DROPPED_PROCESS]);
  assert.match(stdout, /cannot give up its rights: \/proc\/PID\/status has CapBnd/);
});

rootTest(["setpriv"], "dropRights() throws where it may not become another user", async () => {
  const args = ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", ...DROPPED_PROCESS];
  const { stdout } = await runToEnd("setpriv", args);
  assert.match(stdout, /the kernel does not let it become user \d+ and group \d+/);
});

rootTest(["setpriv"], "dropRights() throws where the process that started it is gone", async () => {
  // Its end of the pipe is closed.
  const script = 'true | { sleep 0.2; exec "$@"; }';
  const { stdout } = await runToEnd("sh", ["-c", script, "sh", ...DROPPED_PROCESS]);
  assert.match(stdout, /its parent is gone/);
});
