/** The control socket: requests, answers, and the bounds on its callers. */

import assert from "node:assert/strict";
import {
  askServer,
  bindControl,
  CONTROL_LIMITS,
  type ControlHandler,
  type ControlLimits,
  serveControl,
} from "../../lib/control/socket.ts";
import { OpenmeError } from "../../lib/values/errors.ts";
import { Folder } from "../support/folder.ts";
import { waitFor } from "../support/wait.ts";
import { ask, closeAll, readToEnd, trickle } from "../support/hostile_clients.ts";
import { memoryLog } from "../support/memory_log.ts";

const echo: ControlHandler = (request) => Promise.resolve({ heard: request });

/** A socket in a folder; `connect` makes that many connections. */
async function withSocket(
  { limits = CONTROL_LIMITS, handle = echo }: { limits?: ControlLimits; handle?: ControlHandler },
  body: (dir: string, connect: (count: number) => Promise<Deno.Conn[]>) => Promise<void>,
): Promise<void> {
  await using folder = await Folder.create();
  const stop = new AbortController();
  const { log, events } = memoryLog();
  serveControl(bindControl(folder.path), { handle, log, signal: stop.signal, limits });
  const path = folder.file("control.sock");
  const all: Deno.Conn[] = [];
  try {
    await body(folder.path, async (count) => {
      const made = await Promise.all(
        Array.from({ length: count }, () => Deno.connect({ transport: "unix", path })),
      );
      all.push(...made);
      return made;
    });
    assert.deepEqual(events, []);
  } finally {
    stop.abort();
    closeAll(all);
  }
  assert.deepEqual(await folder.names(), [], "it takes its socket with it");
}

Deno.test("the control socket's limits are those that are promised", () => {
  assert.deepEqual(CONTROL_LIMITS, { connections: 16, requestBytes: 4096, requestMs: 5000 });
});

Deno.test("a request is answered, with a value or with what went wrong", async () => {
  const handle: ControlHandler = (request) =>
    request === "fail"
      ? Promise.reject(new OpenmeError("STATE", "it went wrong", { hint: "do so" }))
      : Promise.resolve(request);
  await withSocket({ handle }, async (dir) => {
    assert.deepEqual(await askServer(dir, { a: [1] }), { a: [1] });
    await assert.rejects(askServer(dir, "fail"), { message: "it went wrong", hint: "do so" });
  });
});

Deno.test("the control socket holds 16 connections, and closes the next at once", async () => {
  await withSocket({}, async (dir, connect) => {
    const [first, ...others] = await connect(16);
    const [tooMany] = await connect(1);
    assert.equal(await readToEnd(tooMany!, 2000), "", "not at its deadline");
    assert.equal(await ask(first!, "1\n"), '{"value":{"heard":1}}\n');
    await waitFor("room", () => askServer(dir, 2).then(() => true, () => false));
    assert.equal(await ask(others.at(-1)!, "3\n"), '{"value":{"heard":3}}\n');
  });
});

Deno.test("the control socket closes a slow caller at the deadline, but waits for its own work", async () => {
  const handle: ControlHandler = async () => {
    await new Promise((resolve) => setTimeout(resolve, 800));
    return "done";
  };
  const limits = { ...CONTROL_LIMITS, requestMs: 400 };
  await withSocket({ limits, handle }, async (dir, connect) => {
    const [slow, silent] = await connect(2);
    const [tookMs, said, answer] = await Promise.all([
      trickle(slow!, 5000),
      readToEnd(silent!, 5000),
      askServer(dir, {}),
    ]);
    assert.ok(tookMs >= 300 && tookMs < 3000, `${tookMs} ms`);
    assert.equal(said, "");
    assert.equal(answer, "done");
  });
});

Deno.test("the control socket closes on a request that is too long, and takes one that is not", async () => {
  await withSocket({}, async (_dir, connect) => {
    const [right, long, endless] = await connect(3);
    const text = JSON.stringify("x".repeat(4000));
    assert.equal(await ask(right!, `${text}\n`), `{"value":{"heard":${text}}}\n`);
    assert.equal(await ask(long!, "x".repeat(5000)), "");
    assert.equal(await ask(endless!, "x".repeat(1_000_000)), "");
  });
});
