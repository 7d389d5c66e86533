/** Questions between hosts, with their entries handed from one to the other by the test. */

import assert from "node:assert/strict";
import { Asking } from "../../lib/fleet/asking.ts";
import { MOST_PARTS, partsOf } from "../../lib/fleet/entry.ts";
import { pause } from "../support/wait.ts";

const B = { host: "b", claimant: "b1" };

/** Hosts by their names. */
function named(...hosts: string[]) {
  return hosts.map((host) => ({ host, claimant: `${host}1` }));
}

const NEVER = new Promise<never>(() => {});

type Body = Parameters<ConstructorParameters<typeof Asking>[0]["send"]>[0];

/** Hosts that hear each other, by name; each answers with what the function gives. */
function hosts(answers: Record<string, (request: unknown) => Promise<unknown>>) {
  const all = new Map<string, Asking>();
  const sent: [host: string, body: Body][] = [];
  let ids = 0;
  for (const [host, answer] of Object.entries(answers)) {
    const send = (body: Body) => {
      sent.push([host, body]);
      for (const [name, other] of all) {
        if (name === host) continue;
        if ("ask" in body) other.take(body, host);
        else other.takePart(body, { host, claimant: `${host}1` });
      }
    };
    all.set(host, new Asking({ send, answer, newId: () => `id${ids++}` }));
  }
  return { all, sent };
}

Deno.test("a host asks all others, and says who has not answered or has failed", async () => {
  const long = "x".repeat(20_000);
  const { all } = hosts({
    a: () => Promise.reject(new Error("nobody asks a")),
    b: (request) => Promise.resolve([request, long]),
    c: () => Promise.reject(new Error("the disk is full")),
    d: () => NEVER,
  });
  const answers = await all.get("a")!.ask({ close: "alice" }, named("b", "c", "d", "e"), pause(50));
  assert.deepEqual(answers, [
    { host: "b", value: [{ close: "alice" }, long], error: undefined },
    { host: "c", value: undefined, error: "the disk is full" },
    { host: "d", value: undefined, error: "no answer in time" },
    { host: "e", value: undefined, error: "no answer in time" },
  ]);
});

Deno.test("a host asks until all have answered, and hears those too that it did not expect", async () => {
  const { all } = hosts({
    a: () => NEVER,
    b: () => Promise.resolve(1),
    c: () => Promise.resolve(2),
  });
  const answers = await all.get("a")!.ask({}, named("c"), NEVER);
  assert.deepEqual(answers.map(({ host, value }) => [host, value]), [["b", 1], ["c", 2]]);
  const alone = hosts({ a: () => NEVER }).all.get("a")!;
  assert.deepEqual(await alone.ask({}, [], NEVER), [], "none is known");
});

Deno.test("a question that comes again is answered once", async () => {
  let asked = 0;
  const { all, sent } = hosts({ a: () => NEVER, b: () => Promise.resolve(++asked) });
  await all.get("a")!.ask({}, named("b"), NEVER);
  const [, question] = sent[0]!;
  for (let i = 0; i < 5; i++) all.get("b")!.take(question as { ask: unknown; id: string }, "a");
  await pause(0);
  assert.equal(asked, 1);
});

Deno.test("answers that nobody asked for, or in strange parts, are held in bounded memory", async () => {
  const { all, sent } = hosts({ a: () => NEVER });
  const a = all.get("a")!;
  a.takePart({ answer: "AAAA", id: "id9", part: 0, parts: 1 }, B);
  const asking = a.ask({}, named("b"), NEVER);
  const [, { id }] = sent[0]!;
  a.takePart({ answer: "AAAA", id, part: 0, parts: MOST_PARTS + 1 }, B);
  a.takePart({ answer: "not base64!", id, part: 0, parts: 1 }, B);
  for (let i = 0; i < 3000; i++) {
    a.takePart({ answer: "A", id, part: 0, parts: 2 }, { ...B, claimant: `${i}` });
  }
  assert.deepEqual(await asking, [{ host: "b", value: undefined, error: undefined }]);
  assert.equal(partsOf("x".repeat(50_000)).length, 1, "it says that it is too long");
});
