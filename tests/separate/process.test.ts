/** Processes without rights: where they come from, or why there can be none; and what the one that starts them hears. */

import assert from "node:assert/strict";
import { fleetOriginOf, originOf, startProcess } from "../../lib/separate/process.ts";
import { type RunProgram, runProgram } from "../../lib/system/run_program.ts";
import { Folder } from "../support/folder.ts";
import { waitFor, within } from "../support/wait.ts";
import { DROPPED_PROCESS, end, next, rootTest } from "./processes.ts";

const SETPRIV = { setpriv: true } as const;
const noVariable = () => undefined;

/** Why there are no processes without rights where programs run behind `command`. */
async function whyNot(...[program, ...before]: [string, ...string[]]): Promise<string> {
  const run: RunProgram = (what) =>
    runProgram({ ...what, program, args: [...before, what.program, ...what.args] });
  const origin = await originOf({ env: noVariable, run });
  return "why" in origin ? origin.why : assert.fail(JSON.stringify(origin));
}

Deno.test("originOf() takes systemd's socket where its name is given, and says so where it is not there", async () => {
  await using folder = await Folder.create();
  const socketPath = folder.file("taker.sock");
  const origin = () =>
    originOf({ env: () => socketPath, run: () => assert.fail("a program runs") });
  const why = `there is no socket "${socketPath}": systemctl start openme-taker.socket`;
  assert.deepEqual(await origin(), { why });
  using _listener = Deno.listen({ transport: "unix", path: socketPath });
  assert.deepEqual(await origin(), { socketPath });
});

Deno.test("fleetOriginOf() takes a socket of its own from systemd, and says so where it is not there", async () => {
  await using folder = await Folder.create();
  const socketPath = folder.file("fleet.sock");
  const origin = (env: string | undefined) => fleetOriginOf({ socketPath: "taker" }, () => env);
  const why = `there is no socket "${socketPath}": systemctl start openme-fleet.socket`;
  assert.deepEqual(origin(socketPath), { why });
  assert.match(Object(origin(undefined)).why, /OPENME_FLEET_SOCKET/);
  using _listener = Deno.listen({ transport: "unix", path: socketPath });
  assert.deepEqual(origin(socketPath), { socketPath });
  assert.deepEqual(fleetOriginOf(SETPRIV, noVariable), SETPRIV);
});

Deno.test({
  name: "originOf() says that there is no setpriv",
  sanitizeResources: false, // libc stays open until the process ends
  fn: async () => {
    const run: RunProgram = (what) => runProgram({ ...what, program: "/nonexistent/setpriv" });
    assert.deepEqual(await originOf({ env: noVariable, run }), {
      why: Deno.build.os === "linux"
        ? "it takes setpriv of util-linux (cannot run /nonexistent/setpriv: there is no such program)"
        : "only Linux has the means",
    });
  },
});

rootTest(
  ["setpriv", "unshare", "busybox"],
  "originOf() takes setpriv as root, and says why where it cannot",
  async () => {
    assert.deepEqual(await originOf({ env: noVariable, run: runProgram }), SETPRIV);
    const notRoot = /^openme is not root, or lacks a capability \(setpriv: .* not permitted\)$/;
    const ordinary = ["--reuid=1000", "--regid=1000", "--clear-groups"];
    assert.match(await whyNot("setpriv", ...ordinary), notRoot);
    for (const capability of ["net_admin", "setuid", "kill"]) {
      assert.match(await whyNot("setpriv", `--bounding-set=-${capability}`), notRoot);
    }
    // It says nothing and exits with 0.
    assert.match(
      await whyNot("setpriv", "--bounding-set=-setpcap"),
      /^setpriv took too little: .* CapBnd /,
    );
    assert.match(
      await whyNot("unshare", "-Ur"),
      /^this container has no user \d+ \(.* Invalid argument\)$/,
    );
    assert.match(await whyNot("busybox"), /^it takes setpriv of util-linux \(/);
  },
);

rootTest(["setpriv"], "startProcess() gives no variable on, and a channel both ways", async () => {
  Deno.env.set("OPENME_TEST_SECRET", "1");
  try {
    const started = await startProcess(SETPRIV, { said: assert.fail, command: DROPPED_PROCESS });
    await next(started);
    started.channel.send({ send: 900 });
    assert.deepEqual(await next(started), { text: "x".repeat(900) });
    const { env } = await next(started) as { env: Record<string, string> };
    const known = ["DENO_DIR", "HOME", "LC_ALL", "NO_COLOR", "PATH", "XDG_CACHE_HOME"];
    assert.deepEqual(Object.keys(env).filter((name) => !known.includes(name)), []);
    // More than a signed knock is no message.
    started.channel.send({ send: 2000 });
    assert.equal(await next(started), undefined);
    await end(started);
  } finally {
    Deno.env.delete("OPENME_TEST_SECRET");
  }
});

rootTest(
  ["setpriv"],
  "startProcess() passes on 20 lines of what a process complains of, safe to print",
  async () => {
    const said: string[] = [];
    const started = await startProcess(SETPRIV, {
      said: (line) => said.push(line),
      command: DROPPED_PROCESS,
    });
    await next(started);
    started.channel.send({ complain: `\x1b[2Jred\n${"long".repeat(200)}\nund` });
    await next(started);
    started.channel.send({ complain: `one\n${"more\n".repeat(100_000)}` });
    await waitFor("the lines", () => said.length >= 20);
    assert.deepEqual(said.slice(0, 4), [
      "\\u001b[2Jred",
      "long".repeat(125),
      "long".repeat(75),
      "undone",
    ]);
    assert.deepEqual(said.slice(4), Array(16).fill("more"));
    await end(started);
  },
);

rootTest(["setpriv"], "kill() ends a process that hangs", async () => {
  const started = await startProcess(SETPRIV, { said: assert.fail, command: DROPPED_PROCESS });
  await next(started);
  started.channel.send({ hang: true });
  started.kill();
  await assert.rejects(within(next(started), 1000, undefined), {
    message: "the process has ended",
  });
  started.kill();
});

rootTest(
  ["setpriv"],
  "startProcess() gives on no file that this process was started with",
  async () => {
    await using folder = await Folder.create();
    const path = await folder.write("secret", "");
    const libc = Deno.dlopen("libc.so.6", {
      open: { parameters: ["buffer", "i32"], result: "i32" },
      close: { parameters: ["i32"], result: "i32" },
    });
    const inherited = libc.symbols.open(new TextEncoder().encode(`${path}\0`), 0);
    assert.ok(inherited > 0);
    await originOf({ env: noVariable, run: runProgram });
    const started = await startProcess(SETPRIV, { said: assert.fail, command: DROPPED_PROCESS });
    const { pid } = await next(started);
    const files = [...Deno.readDirSync(`/proc/${pid}/fd`)].map(({ name }) =>
      Deno.readLinkSync(`/proc/${pid}/fd/${name}`)
    );
    assert.ok(files.length > 3 && !files.includes(path), files.join(" "));
    await end(started);
    libc.symbols.close(inherited);
    libc.close();
  },
);
