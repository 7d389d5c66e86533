/** What spares the check of the rules: the generation that the kernel tells, and what is concluded from it. */

import assert from "node:assert/strict";
import { CheckedRules, parseGeneration } from "../../../lib/firewall/host/generation.ts";
import { createNftBackend } from "../../../lib/firewall/nft/backend.ts";
import type { RunProgram } from "../../../lib/system/run_program.ts";
import { openings, planOf } from "../support.ts";

/** What the kernel answers to question 7, here with generation 258 and then its process. */
const ANSWER = Uint8Array.from([
  ...[44, 0, 0, 0, 0x0f, 0x0a, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0],
  ...[0, 0, 1, 2],
  ...[8, 0, 1, 0, 0, 0, 1, 2],
  ...[8, 0, 2, 0, 0, 0, 0, 9],
  ...[8, 0, 3, 0, 110, 102, 116, 0],
]);

Deno.test("parseGeneration() reads the answer to its question and nothing else", () => {
  assert.equal(parseGeneration(ANSWER, 7), 258);
  assert.equal(parseGeneration(ANSWER, 8), undefined, "an earlier question");
  const failure = ANSWER.with(4, 2).with(5, 0); // NLMSG_ERROR
  assert.equal(parseGeneration(failure, 7), undefined);
  for (let length = 0; length < 28; length++) {
    assert.equal(parseGeneration(ANSWER.subarray(0, length), 7), undefined, `cut at ${length}`);
  }
  assert.equal(parseGeneration(ANSWER.with(20, 0), 7), undefined, "an attribute without length");
});

Deno.test("CheckedRules knows its own changes from those of others", async () => {
  let generation: number | undefined = 1;
  const rules = new CheckedRules(() => generation);
  const commit = (count: number) => () => {
    generation! += count;
    return Promise.resolve();
  };
  assert.equal(rules.isUnchanged(), false, "no check so far");
  rules.begin()();
  assert.equal(rules.isUnchanged(), true);
  await rules.ownChange(commit(1));
  await rules.ownChange(commit(2), 2);
  assert.equal(rules.isUnchanged(), true);
  await rules.ownChange(commit(2));
  assert.equal(rules.isUnchanged(), false, "a transaction of another program fell in between");
  await rules.ownChange(commit(1));
  assert.equal(rules.isUnchanged(), false, "an own change heals nothing");
  const allInOrder = rules.begin();
  await commit(1)();
  allInOrder();
  assert.equal(rules.isUnchanged(), false, "changed while it was looked at");
  rules.begin()();
  await Promise.all([rules.ownChange(commit(1)), rules.ownChange(commit(1))]);
  assert.equal(rules.isUnchanged(), false, "in doubt, look");
  rules.begin()();
  rules.forget();
  assert.equal(rules.isUnchanged(), false);
  rules.begin()();
  generation = undefined;
  assert.equal(rules.isUnchanged(), false, "the kernel does not say");
  rules.begin()();
  assert.equal(rules.isUnchanged(), false);
  const blind = new CheckedRules(undefined);
  blind.begin()();
  assert.equal(blind.isUnchanged(), false);
});

/** A host with an input chain of so many rules; `asked` are the runs of nft since the last look at it. */
function hostOf(rules: number) {
  const place = { family: "inet", table: "filter", chain: "input" };
  const chain = { family: "inet", table: "filter", name: "input", type: "filter", hook: "input" };
  const entries = [
    { chain: { ...chain, prio: 0, policy: "accept" } },
    ...Array.from({ length: rules }, () => ({ rule: { ...place, expr: [{ accept: null }] } })),
  ];
  const host = { generation: 1, asked: [] as string[], table: "" };
  const run: RunProgram = ({ program, args, stdin }) => {
    if (program !== "nft") return Promise.reject(new Error("nothing there"));
    host.asked.push(args.join(" "));
    if (args[0] === "-f") {
      host.generation++;
      host.table = /^table inet openme \{\n[^]*?^\}$/m.exec(stdin ?? "")?.[0] ?? host.table;
      return Promise.resolve("");
    }
    const isListing = args.includes("ruleset");
    return Promise.resolve(isListing ? JSON.stringify({ nftables: entries }) : host.table);
  };
  return Object.assign(host, { run });
}

Deno.test("isIntact() runs no nft until another program has changed something", async () => {
  const host = hostOf(1);
  const backend = createNftBackend(planOf(), host.run, { readGeneration: () => host.generation });
  await backend.install([]);
  assert.equal(await backend.isIntact(), true);
  host.asked.length = 0;
  assert.equal(await backend.isIntact(), true);
  await backend.apply([openings("198.51.100.20", { "22/tcp": 5000 })]);
  assert.equal(await backend.isIntact(), true);
  assert.deepEqual(host.asked, ["-f -"]);
  host.generation++;
  assert.equal(await backend.isIntact(), true);
  assert.ok(host.asked.some((each) => each.endsWith("list ruleset")));
  host.generation++;
  host.table = "";
  assert.equal(await backend.isIntact(), false);
});

Deno.test("isIntact() lists a large ruleset that always changes only now and then, its own table always", async () => {
  const host = hostOf(20_000);
  const backend = createNftBackend(planOf(), host.run, { readGeneration: () => host.generation });
  await backend.install([]);
  assert.equal(await backend.isIntact(), true);
  host.asked.length = 0;
  for (let check = 0; check < 3; check++) {
    host.generation++;
    assert.equal(await backend.isIntact(), true);
  }
  assert.ok(!host.asked.some((each) => each.endsWith("list ruleset")));
  host.generation++;
  host.table = "";
  assert.equal(await backend.isIntact(), false);
});
