/** Files under /proc: a file that is not there is not a file that cannot be read. */

import assert from "node:assert/strict";
import { OpenmeError } from "../../lib/values/errors.ts";
import { readProc, readProcessStat, tryReadProc } from "../../lib/system/proc.ts";
import type { RunProgram } from "../../lib/system/run_program.ts";

/** A `cat` that complains so. */
const failing = (complaint: string): RunProgram => () =>
  Promise.reject(new OpenmeError("COMMAND", `cat /proc/x failed with exit code 1: ${complaint}`));

Deno.test("readProc() gives undefined only where there is no such file", async () => {
  assert.equal(await readProc("/proc/x", () => Promise.resolve("text\n")), "text\n");
  const missing = failing("cat: /proc/x: No such file or directory");
  assert.equal(await readProc("/proc/x", missing), undefined);
  await assert.rejects(readProc("/proc/x", failing("cat: /proc/x: Permission denied")), {
    code: "FIREWALL",
    hint: "run openme as root",
  });
  await assert.rejects(readProc("/proc/x", failing("cat: /proc/x: Input/output error")), {
    code: "FIREWALL",
    hint: "see whether this works, as the same user: cat /proc/x",
  });
});

Deno.test('tryReadProc() gives "" for every failure', async () => {
  assert.equal(await tryReadProc("/proc/x", failing("cat: /proc/x: Permission denied")), "");
});

Deno.test("readProcessStat() reads past a name of spaces and parentheses", async () => {
  const stat = "42 (a) S 1 (x) R 7 42 42 34816 43 4194304 1 2 3 4 5 6 7 8 20 0 1 0 12345 6 7\n";
  assert.deepEqual(await readProcessStat(42, () => Promise.resolve(stat)), {
    state: "R",
    parent: 7,
    group: 42,
    terminal: 34816,
    foreground: 43,
    startTicks: "12345",
  });
  assert.equal(await readProcessStat(42, failing("No such file or directory")), undefined);
});
