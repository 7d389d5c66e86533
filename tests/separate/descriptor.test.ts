/** Sockets go from a process without rights to one that may enlarge their buffers, as where systemd starts the first. */

import assert from "node:assert/strict";
import { originOf, type StartedProcess, startProcess } from "../../lib/separate/process.ts";
import { runProgram } from "../../lib/system/run_program.ts";
import { Folder } from "../support/folder.ts";
import { Program } from "../support/spawned.ts";
import { waitFor } from "../support/wait.ts";
import { end, next, PASSING_PROCESS, rootTest } from "./processes.ts";

const PROGRAMS = ["systemd-socket-activate", "setpriv", "ss"] as const;
/** Counts double. */
const ENLARGED = 2 * 8 * 1024 * 1024;

/** Gives a process of systemd's to `test`, which may not enlarge a buffer itself. */
async function withProcess(
  args: readonly string[],
  test: (started: StartedProcess) => Promise<void>,
) {
  await using folder = await Folder.create();
  const path = folder.file("taker.sock");
  const weak = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"];
  const socket = ["--listen", path, "--accept", "--inetd"];
  await using _systemd = new Program("systemd-socket-activate", {
    args: [...socket, ...weak, ...PASSING_PROCESS, ...args],
  });
  const origin = await waitFor("the socket", async () => {
    const found = await originOf({ env: () => path, run: runProgram });
    return "why" in found ? undefined : found;
  });
  const started = await startProcess(origin, { said: (line) => assert.fail(line), command: [] });
  try {
    await test(started);
  } finally {
    await end(started);
  }
}

async function bufferOf(port: number): Promise<number> {
  return Number(/skmem:\(r\d+,rb(\d+)/.exec(await socketOn(port, "-uanm"))?.[1]);
}

/** How many processes have the socket. */
async function holdersOf(port: number): Promise<number> {
  return new Set((await socketOn(port, "-uanp")).match(/pid=\d+/g)).size;
}

async function socketOn(port: number, flags: string): Promise<string> {
  const args = [flags, "sport", "=", `:${port}`];
  return await runProgram({ program: "ss", args, timeoutMs: 5000 });
}

rootTest(
  PROGRAMS,
  "enlargeBuffer() enlarges the buffers of the sockets that are passed, and keeps none",
  async () => {
    await withProcess([], async (started) => {
      const enlarged = started.enlargeBuffer();
      const ports = (await next(started)).ports as number[]; // read meanwhile
      await enlarged;
      assert.equal(ports.length, 2);
      for (const port of ports) {
        assert.equal(await bufferOf(port), ENLARGED);
        assert.equal(await holdersOf(port), 1, "this process has kept a descriptor");
      }
    });
  },
);

rootTest(
  PROGRAMS,
  "enlargeBuffer() takes nothing from a process that passes no socket",
  async () => {
    await withProcess(["nothing"], async (started) => {
      await started.enlargeBuffer();
      const [port] = (await next(started)).ports as number[];
      assert.ok(await bufferOf(port!) < ENLARGED);
    });
  },
);
