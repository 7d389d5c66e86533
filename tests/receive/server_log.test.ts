/** The log under attack: a line a drop while they are few, a line a second from then on. */

import assert from "node:assert/strict";
import { ServerLog } from "../../lib/receive/server_log.ts";
import { createLog, type LogLevel } from "../../lib/system/log.ts";

function recorder(level: LogLevel) {
  const lines: string[] = [];
  const write = (line: string) => lines.push(line.replace(/^time=\S+ /, ""));
  return { lines, log: createLog({ level, format: "logfmt", now: () => new Date(0), write }) };
}

Deno.test("a line for each drop at debug while there are few", () => {
  const { lines, log } = recorder("debug");
  const drops = new ServerLog(log);
  for (let i = 0; i < 20; i++) drops.dropped("size", () => ({ source: `192.0.2.${i}` }));
  assert.equal(lines.length, 20);
  assert.equal(lines[3], "level=debug event=dropped reason=size source=192.0.2.3");
  drops.tick();
  assert.equal(lines.length, 20);
});

Deno.test("100,000 drops in a second are twenty lines and a summary with every one in it", () => {
  const { lines, log } = recorder("debug");
  const drops = new ServerLog(log);
  drops.kernelHas({ size: 100, rate: 300, version: 7 });
  drops.tick(); // told: from here on it is old
  lines.pop();
  for (let i = 0; i < 100_000; i++) drops.dropped(i % 4 ? "decrypt" : "overload", () => ({}));
  drops.kernelHas({ size: 105, rate: 700_300, version: 7 });
  drops.tick();
  assert.equal(lines.length, 21);
  assert.equal(
    lines[20],
    "level=info event=drops decrypt=75000 overload=25000 kernel_size=5 kernel_rate=700000",
  );
  drops.dropped("size", () => ({}));
  drops.tick();
  assert.equal(lines.length, 22); // it begins anew
});

Deno.test("what the kernel has said twice in a second is told as one", () => {
  const { lines, log } = recorder("info");
  const drops = new ServerLog(log);
  for (const rate of [5, 7, 7]) drops.kernelHas({ rate, size: 0 });
  drops.tick();
  assert.deepEqual(lines, ["level=info event=drops kernel_rate=7"]);
});

Deno.test("a table that was put back counts from nothing", () => {
  const { lines, log } = recorder("info");
  const drops = new ServerLog(log);
  for (const rate of [1000, 1000, 3]) {
    drops.kernelHas({ rate });
    drops.tick();
  }
  assert.deepEqual(lines, [
    "level=info event=drops kernel_rate=1000",
    "level=info event=drops kernel_rate=3",
  ]);
});

Deno.test("at info a summary only, at warn nothing; fields are not made for lines that are not written", () => {
  for (const [level, expected] of [["info", 1], ["warn", 0]] as const) {
    const { lines, log } = recorder(level);
    const drops = new ServerLog(log);
    for (let i = 0; i < 50; i++) drops.dropped("size", () => assert.fail("fields were made"));
    drops.tick();
    assert.equal(lines.length, expected);
  }
});

Deno.test("at most 100 lines in any second with all the rest, and it says how many it left out", () => {
  const { lines, log } = recorder("debug");
  const drops = new ServerLog(log);
  let kernel = 0;
  const span = () => {
    const before = lines.length;
    for (let i = 0; i < 5000; i++) {
      drops.log.info("granted", { client: "alice" });
      drops.log.error("firewall_failed");
      drops.dropped("replay", () => ({}));
    }
    drops.kernelHas({ rate: kernel++ });
    drops.tick();
    return lines.length - before;
  };
  assert.ok(span() + span() <= 100); // the end of one, and the beginning of the next
  assert.equal(lines.at(-1), "level=warn event=lines_left_out lines=9972");
});

Deno.test("many events do not hide an alarm", () => {
  const { lines, log } = recorder("info");
  const drops = new ServerLog(log);
  for (let i = 0; i < 1000; i++) drops.log.info("granted");
  drops.log.error("firewall_failed");
  assert.equal(lines.at(-1), "level=error event=firewall_failed");
});
