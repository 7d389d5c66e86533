/** An engine in an attacker's hands: it takes neither memory nor time, and its words are not shown. */

import assert from "node:assert/strict";
import { REPLY_BOUNDS, ReplyBounds } from "../../lib/fleet/replies.ts";
import { waitFor } from "../support/wait.ts";
import { bulk, entries, HostileEngine, type Reply } from "./hostile_engine.ts";
import { Host } from "./redis.ts";
import "../support/loopback.ts";

const encode = (text: string) => new TextEncoder().encode(text);

function* endless(first: string, piece: Uint8Array): Iterable<Uint8Array> {
  yield encode(first);
  for (;;) yield piece;
}

const MEGABYTE = new Uint8Array(1024 * 1024).fill(0x61);

/** What the reader gets, and what is said of it. */
const ATTACKS: Readonly<Record<string, readonly [reply: () => Reply, why: RegExp]>> = {
  "a string of 500 MB": [() => endless("$500000000\r\n", MEGABYTE), /protocol|too much/],
  "a line without an end": [() => endless("+", MEGABYTE), /protocol/],
  "an array that takes 264 MB": [() => "*33000000\r\n".repeat(9), /protocol/],
  "an array without an end": [() => endless("*2000\r\n", encode(":1\r\n".repeat(50_000))), /much/],
  "arrays in arrays": [() => "*1\r\n".repeat(100_000), /protocol/],
  "replies that nobody asked for": [() => "$-1\r\n".repeat(10_000), /too much/],
  "a page of the web": [() => "HTTP/1.1 400 Bad Request\r\n\r\n", /protocol/],
  "noise": [() => crypto.getRandomValues(new Uint8Array(60_000)), /protocol/],
  "text of its own": [() => "-\x1b[31mERR redis://secret\r\n", /protocol/],
  "another shape": [() => "*1\r\n*2\r\n*1\r\n*0\r\n:7\r\n", /./],
  "a number": [() => ":7\r\n", /./],
};

Deno.test("an engine that sends what it likes is left, in bounded memory, and its words are not shown", async () => {
  const before = Deno.memoryUsage().rss;
  let most = 0;
  const looking = setInterval(() => most = Math.max(most, Deno.memoryUsage().rss), 20);
  try {
    await Promise.all(
      Object.entries(ATTACKS).map(async ([, [reply, why]]) => {
        let attacks = 0;
        await using engine = new HostileEngine((command) =>
          command === "XREAD" && ++attacks > 0 ? reply() : undefined
        );
        await using host = new Host(engine.port);
        await waitFor("two attacks", () => attacks >= 2, { timeoutMs: 15_000 });
        await host.down(why);
        assert.deepEqual(host.entries, []);
        assert.doesNotMatch(JSON.stringify(host.states), /secret|\\u001b/);
        assert.ok(engine.accepted < 20, `${engine.accepted} connections`);
      }),
    );
  } finally {
    clearInterval(looking);
  }
  const grown = Math.round((most - before) / 1024 / 1024);
  assert.ok(grown < 250, `${grown} MB more, for ${Object.keys(ATTACKS).length} engines at once`);
});

Deno.test("of a flood of entries the first are passed on, and none that is too long", async () => {
  let next = 0;
  await using engine = new HostileEngine((command) => {
    if (command !== "XREAD") return undefined;
    next += 100;
    return entries(100, next % 300 === 0 ? "y".repeat(901) : "junk", next);
  });
  await using host = new Host(engine.port);
  await host.up();
  const startMs = performance.now();
  await waitFor("the bound", () => next > 6000, { everyMs: 5, timeoutMs: 15_000 });
  const most = 2000 + 1000 * (performance.now() - startMs + 500) / 1000;
  assert.ok(host.entries.length <= most, `${host.entries.length} of ${next} entries`);
  assert.ok(host.entries.every((entry) => entry === "junk"));
});

Deno.test("a lie about a claim is no claim", async () => {
  const lies: Readonly<Record<string, string>> = {
    none: "$-1\r\n",
    number: ":1\r\n",
    list: `*1\r\n${bulk("me")}`,
    error: "-ERR no\r\n",
  };
  let lie = "";
  await using engine = new HostileEngine((command) => command === "GET" ? lie : undefined);
  await using host = new Host(engine.port, { claimant: "me" });
  for (const [name, reply] of Object.entries(lies)) {
    lie = reply;
    await host.up();
    await assert.rejects(host.engine.claim(name, 1000), name);
  }
});

Deno.test("replies are followed to the byte, however they are cut", () => {
  const text = `+OK\r\n$-1\r\n${bulk("a\r\nb")}${bulk("")}*-1\r\n*0\r\n:-5\r\n${
    entries(3)
  }-ERR x\r\n`;
  for (let size = 1; size < 40; size++) {
    const bounds = new ReplyBounds();
    const bytes = encode(text);
    for (let at = 0; at < bytes.length; at += size) {
      assert.ok(bounds.takes(bytes.subarray(at, at + size)), `${size}, ${at}`);
    }
    assert.equal(bounds.replies, 9, `pieces of ${size}`);
  }
});

Deno.test("a reply beyond a bound is refused before it is there", () => {
  const { lineBytes, stringBytes, elements, depth } = REPLY_BOUNDS;
  const takes = (text: string) => new ReplyBounds().takes(encode(text));
  assert.ok(takes(`$${stringBytes}\r\n`));
  assert.ok(!takes(`$${stringBytes + 1}\r\n`));
  assert.ok(takes(`*${elements}\r\n`));
  assert.ok(!takes(`*${elements + 1}\r\n`));
  assert.ok(takes("*1\r\n".repeat(depth)));
  assert.ok(!takes("*1\r\n".repeat(depth + 1)));
  assert.ok(!takes("+".repeat(lineBytes + 1)));
  const wrong = ["$-2\r\n", "$1x\r\n", "*99999999999\r\n", "x\r\n", "\r\n", "+OK\n", "%1\r\n"];
  for (const each of wrong) assert.ok(!takes(each), JSON.stringify(each));
  const full = `*${elements}\r\n` + bulk("x".repeat(stringBytes)).repeat(200);
  assert.ok(!takes(full));
});
