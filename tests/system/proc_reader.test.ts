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

Deno.test({
  name: "readingProc() goes on without the permission that opened libc, and asks for none",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const program = `
      import { readProc } from ${
      JSON.stringify(new URL("../../lib/system/proc.ts", import.meta.url))
    };
      import { readingProc } from ${
      JSON.stringify(new URL("../../lib/system/proc_reader.ts", import.meta.url))
    };
      const run = ({ program }) => Promise.reject(new Error(program + " was started"));
      const quick = readingProc(run);
      for (const name of ["ffi", "run"]) await Deno.permissions.revoke({ name });
      console.log(await readProc("/proc/no/such/file", quick), await readProc("/proc/sys/kernel/ostype", quick));`;
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--quiet",
        "--no-prompt",
        "--cached-only",
        "-A",
        `data:text/typescript,${encodeURIComponent(program)}`,
      ],
      env: { NO_COLOR: "1" },
    }).output();
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    assert.equal(code, 0, text(stderr));
    assert.equal(text(stdout), "undefined Linux\n\n");
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
