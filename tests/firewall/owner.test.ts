/** Who owns a table, and whether he lives: `lib/firewall/owner.ts`, with real processes and a real zombie. */

import assert from "node:assert/strict";
import { nameProcess, requireNoLivingOwner } from "../../lib/firewall/owner.ts";
import { runProgram } from "../../lib/system/run_program.ts";
import { Program } from "../support/spawned.ts";
import { waitFor } from "../support/wait.ts";
import { must } from "../support/knocks.ts";

const ignore = Deno.build.os !== "linux";

/** A `/proc/PID/stat` of that state. */
function statOf(state: string): string {
  const fields = [state, ...Array.from({ length: 18 }, (_, i) => String(i)), "4711", "0"];
  return `12 (openme) x) (serve) ${fields.join(" ")}\n`;
}

Deno.test("nameProcess() reads state and start behind a name that may contain anything", async () => {
  const read = (state: string) => nameProcess(12, () => Promise.resolve(statOf(state)));
  for (const state of ["R", "S", "D", "T", "t", "I"]) {
    assert.deepEqual(await read(state), { pid: 12, startTicks: "4711" }, state);
  }
  for (const state of ["Z", "X", "x"]) assert.equal(await read(state), undefined, state);
});

Deno.test({
  name: "a living owner keeps others out; one that is dead does not, although nobody has reaped it",
  ignore,
  fn: async () => {
    // What `exec` puts in the shell's place knows nothing of its child, and never asks after it.
    const script = "sleep 60 & echo $!; exec cat";
    await using parent = new Program("sh", { args: ["-c", script] });
    const pid = Number(await parent.stdout.waitFor(/^\d+$/));
    const owner = must(await nameProcess(pid, runProgram));
    await assert.rejects(
      requireNoLivingOwner(owner, runProgram),
      /another openme serve, process \d+, guards this host/,
    );
    Deno.kill(pid, "SIGKILL");
    const state = async () => (await Deno.readTextFile(`/proc/${pid}/stat`)).replace(/.*\) /s, "");
    await waitFor("a zombie", async () => (await state()).startsWith("Z"));
    await requireNoLivingOwner(owner, runProgram);
  },
});
