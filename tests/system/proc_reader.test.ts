/** Files under /proc, read without a program. */

import assert from "node:assert/strict";
import { readProc, tryReadProc } from "../../lib/system/proc.ts";
import { readingProc } from "../../lib/system/proc_reader.ts";
import { type RunProgram, runProgram } from "../../lib/system/run_program.ts";

Deno.test({
  name: "readingProc() reads what cat would, and starts no program",
  ignore: Deno.build.os !== "linux",
  sanitizeResources: false, // libc stays open until the process ends
  fn: async () => {
    const started: string[] = [];
    const run: RunProgram = (what) => {
      started.push(what.program);
      return runProgram(what);
    };
    const quick = readingProc(run);
    for (const path of ["/proc/sys/kernel/random/boot_id", "/proc/net/route", "/proc/cpuinfo"]) {
      const shape = (text?: string) => text?.replaceAll(/\d+\.\d+/g, "a number");
      assert.equal(shape(await readProc(path, quick)), shape(await readProc(path, runProgram)));
    }
    assert.equal(await readProc("/proc/no/such/file", quick), undefined);
    assert.deepEqual(started, []);
    // cat says why.
    await assert.rejects(readProc("/proc/self", quick), /Is a directory/);
    assert.deepEqual(started, ["cat"]);
  },
});

Deno.test("readingProc() leaves to the program what it cannot read, and every other run", async () => {
  const started: string[] = [];
  const run: RunProgram = ({ program, args }) => {
    started.push([program, ...args].join(" "));
    return Promise.resolve("by a program");
  };
  const quick = readingProc(run, () => Promise.resolve(undefined));
  assert.equal(await tryReadProc("/proc/x", quick), "by a program");
  await quick({ program: "cat", args: ["/etc/hostname"], timeoutMs: 1000 });
  await quick({ program: "nft", args: ["/proc/x"], timeoutMs: 1000 });
  assert.deepEqual(started, ["cat /proc/x", "cat /etc/hostname", "nft /proc/x"]);
});
