/** The fleet process: what the keeper reads of it, that it is started again, and that it connects without any right. */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import type { Engine } from "../../lib/fleet/engine.ts";
import { type EngineParts, startEngine } from "../../lib/fleet/engine_process.ts";
import { FAULTS } from "../../lib/fleet/faults.ts";
import { MOST_MESSAGE_BYTES, readFromFleet } from "../../lib/fleet/messages.ts";
import { runFleetProcess } from "../../lib/fleet/process.ts";
import type { Channel } from "../../lib/separate/channel.ts";
import { type StartedProcess, startProcess } from "../../lib/separate/process.ts";
import { processClock } from "../../lib/system/clock.ts";
import { rootTest } from "../separate/processes.ts";
import { channelPair } from "../support/channel_pair.ts";
import { testWith } from "../support/programs.ts";
import { VirtualTime } from "../support/virtual_time.ts";
import { pause, waitFor, within } from "../support/wait.ts";
import { Host, RealRedis } from "./redis.ts";

const clock = processClock();

/** A host whose engine is reached by processes that `start` starts. */
async function hostBy(
  port: number,
  start: EngineParts["start"],
  { name = "127.0.0.1", ...more }: { name?: string } & Pick<EngineParts, "lookup"> = {},
): Promise<Host> {
  const made: { parts?: Pick<EngineParts, "access" | "listener">; engine?: Engine } = {};
  const host = new Host(port, { url: `redis://${name}:${port}` }, (access, listener) => {
    made.parts = { access, listener };
    return {
      claim: (name, forMs) => made.engine!.claim(name, forMs),
      publish: (entry) => made.engine!.publish(entry),
      state: () => made.engine!.state(),
      close: () => made.engine!.close(),
    };
  });
  made.engine = await startEngine({ ...made.parts!, clock, start, ...more });
  return host;
}

/** /proc/PID/status of the fleet process of this one. */
function statusOfChild(): string {
  for (const { name } of Deno.readDirSync("/proc")) {
    try {
      const command = Deno.readTextFileSync(`/proc/${name}/cmdline`);
      const status = Deno.readTextFileSync(`/proc/${name}/status`);
      if (command.includes("__taker") && status.includes(`\nPPid:\t${Deno.pid}\n`)) return status;
    } catch {
      // No process, or one that has ended.
    }
  }
  return "there is none";
}

/** Starts fleet processes in this one. */
function here() {
  const started: { kill(): void; rights: number; memory: number }[] = [];
  const start = () => {
    const { keeper, process, kill } = channelPair();
    const one = { kill, rights: 0, memory: 0 };
    started.push(one);
    const run = async () => {
      const messages = process.messages[Symbol.asyncIterator]();
      const { value } = await messages.next();
      const giveUpRights = () => void one.rights++;
      const memory = () => one.memory;
      await runFleetProcess(value, { messages, channel: process, giveUpRights, clock, memory });
      process.close();
    };
    // As the process does with an error.
    run().catch(kill);
    return Promise.resolve({ channel: keeper, kill });
  };
  return { started, start };
}

testWith(
  ["redis-server"],
  "by a process: claims, entries, states, and another process after its end",
  async () => {
    await using redis = await RealRedis.start();
    const { started, start } = here();
    await using one = await hostBy(redis.port, start);
    await using other = new Host(redis.port);
    await Promise.all([one.up(), other.up()]);
    assert.equal(await one.engine.claim("a", 5000), true);
    assert.equal(await other.engine.claim("a", 5000), false);
    assert.equal(await other.engine.claim("b", 5000), true);
    assert.equal(await one.engine.claim("b", 5000), false);
    one.engine.publish("mine");
    other.engine.publish("theirs");
    await waitFor("entries", () => one.entries.length === 2 && other.entries.length === 2);
    assert.deepEqual(one.entries.toSorted(), ["mine", "theirs"]);
    await waitFor("a round trip", () => one.engine.state().roundTripMs !== undefined);
    started[0]!.memory = 1e9;
    await one.down(/has ended/);
    await assert.rejects(one.engine.claim("c", 1000));
    await one.up();
    assert.equal(await one.engine.claim("a", 5000), true);
    await redis.stop();
    await one.down(/refuses connections|connection was lost/);
    assert.deepEqual(started.map(({ rights }) => rights), [1, 1]);
  },
);

Deno.test("a process that is silent, or sends junk, is ended and started again", async () => {
  const junk = [{ entry: "x".repeat(901) }, { isUp: false, why: "\x1b[31m" }, "hello", null];
  let ends = 0;
  const start = () => {
    const { keeper, process, kill } = channelPair({ obeys: false });
    process.send(Object(junk[ends]));
    return Promise.resolve({
      channel: keeper,
      kill: () => {
        ends++;
        kill();
      },
    });
  };
  await using host = await hostBy(1, start);
  await waitFor("two ends", () => ends >= 2, { timeoutMs: 15_000 });
  await host.down(/has ended/);
  assert.deepEqual(host.entries, []);
  assert.equal(await within(host.engine.close(), 1000, "late"), undefined);
});

Deno.test("a process that does not begin has 10 s, and one that goes silent 2; another follows", async () => {
  using time = new VirtualTime();
  const started: { process: Channel; kills: number }[] = [];
  const start = () => {
    const { keeper, process, kill } = channelPair({ obeys: false });
    const one = { process, kills: 0 };
    started.push(one);
    const killed = () => {
      one.kills++;
      kill();
    };
    return Promise.resolve({ channel: keeper, kill: killed });
  };
  const kills = () => started.map(({ kills }) => kills);
  const host = await hostBy(1, start);
  const up = { isUp: true, why: null, roundTripMs: 1 };
  await time.pass(9_999);
  assert.deepEqual(kills(), [0]);
  await time.pass(1);
  assert.deepEqual(kills(), [1]);
  assert.equal(host.engine.state().why, FAULTS.process);
  await time.pass(500);
  assert.deepEqual(kills(), [1, 0]);

  const second = started[1]!.process;
  second.send(up);
  for (let i = 0; i < 5; i++) {
    await time.pass(1_999);
    second.send(up);
    await time.settle();
  }
  assert.equal(host.engine.state().isUp, true);
  // From here on it says nothing: what it is asked fails in time, and so does what is asked after its end.
  const claim = host.engine.claim("a", 1000).then(() => "ours", () => "late");
  await time.pass(50);
  assert.equal(await claim, "late");
  host.engine.publish("entry");
  await time.pass(1_949);
  assert.deepEqual([kills(), host.engine.state().isUp], [[1, 0], true]);
  await time.pass(1);
  assert.deepEqual([kills(), host.engine.state().isUp], [[1, 1], false]);
  await assert.rejects(host.engine.claim("a", 1000));
  await time.pass(1_000);
  started[2]!.process.send(up);
  await time.settle();
  assert.equal(host.engine.state().isUp, true);
  assert.deepEqual(host.states.map(({ isUp }) => isUp), [false, true, false, true]);

  // It does not end by itself either.
  const closing = host.engine.close();
  await time.pass(499);
  assert.deepEqual(kills(), [1, 1, 0]);
  await time.pass(1);
  await closing;
  assert.deepEqual(kills(), [1, 1, 1]);
});

Deno.test("a process without an engine is replaced once names are looked up by other files, as it sees those of before", async () => {
  using time = new VirtualTime();
  let files = "of before";
  const started: Channel[] = [];
  const start = () => {
    const { keeper, process, kill } = channelPair();
    started.push(process);
    return Promise.resolve({ channel: keeper, kill });
  };
  const host = await hostBy(1, start, { lookup: () => files });
  /** Lets so many seconds pass in which the last process says this. */
  const seconds = async (count: number, isUp: boolean) => {
    for (let second = 0; second < count; second++) {
      started.at(-1)!.send({ isUp, why: isUp ? null : FAULTS.name, roundTripMs: null });
      await time.pass(1000);
    }
  };
  await seconds(20, false);
  assert.equal(started.length, 1);
  files = "replaced";
  await seconds(7, false);
  assert.equal(started.length, 2);
  await seconds(20, false);
  await seconds(1, true);
  files = "replaced again";
  await seconds(20, true);
  assert.equal(started.length, 2, "the engine is there");
  await seconds(7, false);
  assert.equal(started.length, 3);
  const closing = host.engine.close();
  await time.pass(1000);
  await closing;
  assert.equal(time.waiting, 0);
});

/** A process that sends these lines without end, as fast as they are read. */
async function hostFloodedWith(lines: string): Promise<{ host: Host; starts: () => number }> {
  let starts = 0;
  const bytes = new TextEncoder().encode(lines.repeat(64 * 1024 / lines.length));
  const start = () => {
    starts++;
    const { keeper, raw, kill } = channelPair({ obeys: false });
    const isOver = () => raw.write(bytes).then(() => false, () => true);
    const flood = async () => {
      while (!await isOver()) await pause(10);
    };
    flood();
    return Promise.resolve({ channel: keeper, kill });
  };
  return { host: await hostBy(1, start), starts: () => starts };
}

Deno.test("a flood of junk holds up neither another start nor the end", async () => {
  const { host, starts } = await hostFloodedWith("0\n");
  await waitFor("another start", () => starts() === 2, { timeoutMs: 10_000 });
  assert.equal(await within(host.engine.close(), 2000, "late"), undefined);
});

Deno.test("a flood of answers does not hold up the end", async () => {
  const { host } = await hostFloodedWith('{"claimed":1,"ours":null}\n');
  await pause(100);
  assert.equal(await within(host.engine.close(), 2000, "late"), undefined);
});

Deno.test("a process whose state changes all the time is ended, and the log is not filled", async () => {
  const states = [
    { isUp: true, why: null, roundTripMs: 1 },
    { isUp: false, why: FAULTS.full, roundTripMs: null },
    { isUp: false, why: FAULTS.late, roundTripMs: null },
  ];
  for (const some of [states.slice(0, 2), states.slice(1)]) {
    const lines = some.map((state) => `${JSON.stringify(state)}\n`).join("");
    const { host, starts } = await hostFloodedWith(lines);
    await waitFor("another start", () => starts() === 3, { timeoutMs: 15_000 });
    assert.ok(host.states.length < 50, String(host.states.length));
    assert.equal(await within(host.engine.close(), 2000, "late"), undefined);
  }
});

Deno.test("what a process says is typed, short and of openme's own words", () => {
  const good = [
    { claimed: 1, ours: true },
    { claimed: 2, ours: null },
    { entry: "x".repeat(900) },
    { isUp: true, why: null, roundTripMs: 1.5 },
    { isUp: false, why: FAULTS.full, roundTripMs: null },
  ];
  for (const each of good) assert.deepEqual(readFromFleet(each), each);
  const bad = [
    ...[undefined, null, 7, "text", [], {}],
    ...[{ claimed: 1.5, ours: true }, { claimed: 1, ours: "yes" }, { entry: 7 }],
    ...[{ isUp: true, why: FAULTS.full, roundTripMs: null }, { isUp: "yes", why: null }],
    ...[{ isUp: false, why: "of its own", roundTripMs: null }],
    ...[{ isUp: true, why: null, roundTripMs: -1 }, { isUp: true, why: null, roundTripMs: "1" }],
  ];
  for (const each of bad) assert.equal(readFromFleet(each), undefined, JSON.stringify(each));
  assert.ok(JSON.stringify({ entry: "\x00".repeat(900) }).length <= MOST_MESSAGE_BYTES);
});

rootTest(
  ["setpriv", "redis-server"],
  "the fleet process connects, by name too, and has no right",
  async () => {
    await using redis = await RealRedis.start();
    const main = fileURLToPath(new URL("../../main.ts", import.meta.url));
    const permissions = ["--allow-net", "--allow-read", "--allow-env", "--allow-ffi"];
    const command = [Deno.execPath(), "run", "--quiet", "--cached-only", "--no-prompt"];
    const said: string[] = [];
    const processes: StartedProcess[] = [];
    const start = async () => {
      const started = await startProcess({ setpriv: true }, {
        said: (line) => said.push(line),
        command: [...command, "--unstable-net", ...permissions, main, "__taker"],
        mostBytes: MOST_MESSAGE_BYTES,
      });
      processes.push(started);
      return started;
    };
    await using host = await hostBy(redis.port, start, { name: "localhost" });
    try {
      await host.up();
    } catch (cause) {
      throw new Error(said.join("\n"), { cause });
    }
    assert.equal(await host.engine.claim("a", 1000), true);
    host.engine.publish("hello");
    await waitFor("the entry", () => host.entries.includes("hello"));
    // After an outage it resolves the name anew, and connects.
    await redis.stop();
    await host.down(/refuses connections|connection was lost/);
    await redis.start();
    await host.up();
    const status = statusOfChild();
    assert.match(status, /^Seccomp:\t2$/m);
    assert.match(status, /^CapEff:\t0+$/m);
    assert.doesNotMatch(status, /^Uid:.*\b0\b/m);
    assert.equal(processes.length, 1);
    assert.deepEqual(said, []);
  },
);
