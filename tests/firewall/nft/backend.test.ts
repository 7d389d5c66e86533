/** The nftables backend: the order of what it asks of `nft`, its errors, and, against the real one, what then stands. */

import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import fc from "fast-check";
import type { Address } from "../../../lib/values/address.ts";
import { OpenmeError } from "../../../lib/values/errors.ts";
import type { ClientOpenings, QuickSets } from "../../../lib/firewall/backend.ts";
import { HOLE_COMMENT, type Prefix } from "../../../lib/firewall/plan.ts";
import { createNftBackend } from "../../../lib/firewall/nft/backend.ts";
import { type AddressOpenings, Grants } from "../../../lib/grants.ts";
import {
  formatNetwork,
  grantedNetwork,
  type PrefixLengths,
  SINGLE,
} from "../../../lib/values/network.ts";
import { mergePortRanges, type PortRange } from "../../../lib/values/ports.ts";
import { type ProgramRun, type RunProgram, runProgram } from "../../../lib/system/run_program.ts";
import { address, network } from "../../support/knocks.ts";
import { type Namespace, namespaceTest } from "../namespace.ts";
import { anyRange, openings, planOf, ranges } from "../support.ts";

const NO_TABLE =
  "nft list table inet openme failed with exit code 1: Error: No such file or directory";

/** A machine whose `nft` takes everything, and remembers it. */
class FakeMachine {
  readonly asked: string[] = [];
  /** The texts of its transactions. */
  readonly given: string[] = [];
  ruleset: unknown[] = [];
  /** What it lists of openme's table; it has none where this is `undefined`. */
  table: string | undefined;
  failing: RegExp | undefined;

  readonly run: RunProgram = ({ program, args, stdin }: ProgramRun) => {
    const line = [program, ...args].join(" ");
    if (program === "cat") return Promise.reject(new Error("nothing there"));
    this.asked.push(line);
    if (this.failing?.test(line)) {
      return Promise.reject(new OpenmeError("COMMAND", `${line} failed with exit code 1: broken`));
    }
    if (args[0] === "-f") {
      this.given.push(stdin ?? "");
      this.table = /^table inet openme \{\n[^]*?^\}$/m.exec(stdin ?? "")?.[0] ??
        (stdin?.includes("delete table inet openme") ? undefined : this.table);
      return Promise.resolve("");
    }
    if (args[0] === "--json") return Promise.resolve(JSON.stringify({ nftables: this.ruleset }));
    if (this.table === undefined) return Promise.reject(new OpenmeError("COMMAND", NO_TABLE));
    return Promise.resolve(args.includes("set") ? "" : this.table);
  };

  /** Somebody else's input chain with that policy, and openme's hole in it if so. */
  setHost(policy: "accept" | "drop", hole = false): void {
    const chain = { family: "inet", table: "filter", name: "input" };
    const kind = { type: "filter", hook: "input", prio: 0, policy };
    const rule = { family: "inet", table: "filter", chain: "input", handle: 7 };
    this.ruleset = [
      { chain: { ...chain, ...kind } },
      ...(hole ? [{ rule: { ...rule, comment: HOLE_COMMENT, expr: [{ accept: null }] } }] : []),
    ];
  }
}

const GRANTED = [openings("198.51.100.20", { "22/tcp": 30_000 })];
const INSERT = "insert rule inet filter input meta mark & 0x40000000 == 0x40000000 accept";

Deno.test("install() is one transaction, the hole included", async () => {
  for (
    const { dropPorts, policy, hole } of [
      { dropPorts: true, policy: "accept", hole: false },
      { dropPorts: true, policy: "drop", hole: true },
      { dropPorts: false, policy: "drop", hole: true },
    ] as const
  ) {
    const machine = new FakeMachine();
    machine.setHost(policy);
    const backend = createNftBackend(planOf({ dropPorts }), machine.run);
    await backend.install(GRANTED);
    assert.equal(machine.given.length, 1);
    const [text = ""] = rounded(machine.given);
    assert.match(text, /^add table inet openme\ndelete table inet openme\ntable inet openme \{\n/);
    assert.ok(text.includes("elements = { 198.51.100.20 . tcp . 22 timeout 30000ms }"));
    assert.equal(text.includes("mark"), hole);
    assert.equal(text.includes(INSERT), hole);
  }
});

Deno.test("install() takes out a hole that an earlier openme left and that nobody needs", async () => {
  const machine = new FakeMachine();
  machine.setHost("accept", true);
  await createNftBackend(planOf(), machine.run).install([]);
  assert.ok(machine.given[0]!.endsWith("delete rule inet filter input handle 7\n"));
});

Deno.test("isIntact() sees what is gone, what is changed and what has come", async () => {
  const machine = new FakeMachine();
  machine.setHost("accept");
  const backend = createNftBackend(planOf(), machine.run);
  assert.equal(await backend.isIntact(), false, "before the first install");
  await backend.install([]);
  assert.equal(await backend.isIntact(), true);
  const { table } = machine;
  machine.table = undefined;
  assert.equal(await backend.isIntact(), false, "somebody flushed it");
  const lines = table!.split("\n");
  const rules = lines.entries().filter(([, line]) => /\b(?:accept|drop)$/.test(line)).toArray();
  assert.ok(rules.length > 3);
  for (const [i, line] of rules) {
    machine.table = lines.toSpliced(i, 1).join("\n");
    assert.equal(await backend.isIntact(), false, `somebody took out a rule: ${line}`);
  }
  machine.table = table;
  machine.setHost("drop");
  assert.equal(await backend.isIntact(), false, "a firewall came that drops what openme lets in");
  await backend.install([]);
  assert.equal(await backend.isIntact(), false, "the hole is not there");
  machine.setHost("drop", true);
  assert.equal(await backend.isIntact(), true);
  machine.setHost("accept", true);
  assert.equal(await backend.isIntact(), false, "the hole is needed no longer");
  assert.equal(machine.given.length, 2, "looking changes nothing");
});

Deno.test("isIntact() throws where it cannot look", async () => {
  const machine = new FakeMachine();
  const backend = createNftBackend(planOf(), machine.run);
  await backend.install([]);
  machine.failing = /list table/;
  await assert.rejects(backend.isIntact(), { code: "FIREWALL" });
});

/** What is run to give a set these elements; of the times that are left no more than what was asked for is known. */
function writing(set: string, ...elements: string[]): string {
  const flags = set.endsWith("_ranges") ? "interval, timeout" : "timeout";
  const flush = `flush set inet openme ${set}\n`;
  if (elements.length === 0) return flush;
  return flush +
    `table inet openme { set ${set} { type ipv4_addr . inet_proto . inet_service; flags ${flags}; ` +
    `elements = { ${elements.join(", ")} } }; }\n`;
}

/** The texts, each time rounded up to a second: less than that passes between two writes. */
function rounded(texts: readonly string[]): string[] {
  return texts.map((text) =>
    text.replace(/timeout (\d+)ms/g, (_, ms) => `timeout ${Math.ceil(Number(ms) / 1000)}000ms`)
  );
}

Deno.test("apply() writes whole sets, with the time that is left, and asks nothing for nothing", async () => {
  const machine = new FakeMachine();
  const backend = createNftBackend(planOf(), machine.run);
  await backend.install(GRANTED);
  machine.given.length = machine.asked.length = 0;
  const at = "198.51.100.20 . tcp";
  await backend.apply([openings("198.51.100.21", { "22/tcp": 9000 })]);
  await backend.apply([openings("198.51.100.20", { "20-30/tcp": 5000 })]);
  await backend.apply([openings("198.51.100.20", {})]);
  await backend.apply([openings("198.51.100.20", {})]);
  await backend.apply([]);
  const other = "198.51.100.21 . tcp . 22 timeout 9000ms";
  assert.deepEqual(rounded(machine.given), [
    writing("granted4", `${at} . 22 timeout 30000ms`, other),
    writing("granted4", other) + writing("granted4_ranges", `${at} . 20-30 timeout 5000ms`),
    writing("granted4_ranges"),
  ]);
  assert.deepEqual(machine.asked, Array(3).fill("nft -f -"));
});

Deno.test("apply() asks for what changes alone, before it returns, and for whole sets where that cannot be", async () => {
  const asked: string[] = [];
  let isBusy = false;
  const text = (each: readonly AddressOpenings[]) =>
    each.flatMap(({ openings }) => openings.map(({ first }) => first)).join();
  const quickSets: QuickSets = {
    changeOpenings: ({ before, after }) => {
      asked.push(`${text(before)} -> ${text(after)}`);
      return Promise.resolve(!isBusy);
    },
    replaceOpenings: (sets, openings) => {
      asked.push(`${[...sets].join()}: ${text(openings)}`);
      return Promise.resolve(true);
    },
    replaceStamps: () => Promise.resolve(true),
  };
  const backend = createNftBackend(planOf({}), new FakeMachine().run, { quickSets });
  await backend.install([openings("198.51.100.1", { "21/tcp": 60_000 })]);
  const opened = backend.apply([openings("198.51.100.2", { "22/tcp": 60_000 })]);
  assert.deepEqual(asked, [" -> 22"]);
  await opened;
  await backend.apply([openings("198.51.100.2", { "23/tcp": 60_000 })]);
  isBusy = true;
  await backend.apply([openings("198.51.100.2", {})]);
  assert.deepEqual(asked, [" -> 22", "22 -> 23", "23 -> ", "granted4: 21"]);
});

Deno.test("apply() leaves out openings that have ended, and gives the others the time they have left", async () => {
  const machine = new FakeMachine();
  const backend = createNftBackend(planOf(), machine.run);
  await backend.install([openings("198.51.100.20", { "22/tcp": 40, "80/tcp": 30_000 })]);
  await delay(150);
  await backend.apply([openings("198.51.100.21", { "22/tcp": 5000 })]);
  const text = machine.given.at(-1)!;
  assert.ok(!text.includes("198.51.100.20 . tcp . 22"));
  const left = Number(/198\.51\.100\.20 \. tcp \. 80 timeout (\d+)ms/.exec(text)?.[1]);
  assert.ok(left > 0 && left <= 30_000 - 150, `${left} ms`);
});

Deno.test("apply() that ends after a later write writes the newest again", async () => {
  const machine = new FakeMachine();
  const backend = createNftBackend(planOf(), (each) => run(each));
  let run = machine.run;
  await backend.install([]);
  for (const by of ["apply", "install"] as const) {
    machine.given.length = 0;
    const [begun, hangs] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    run = async (each) => {
      run = machine.run;
      begun.resolve();
      await hangs.promise;
      return await machine.run(each);
    };
    const first = backend.apply([openings("198.51.100.20", { "22/tcp": 60_000 })]);
    await begun.promise;
    const second = [openings("198.51.100.21", { "22/tcp": 60_000 })];
    await (by === "apply" ? backend.apply(second) : backend.install(second));
    hangs.resolve();
    await first;
    assert.ok(machine.given.at(-1)!.includes("198.51.100.21 . tcp . 22"), by);
    assert.equal(machine.given.at(-1)!.includes("198.51.100.20"), by === "apply");
    assert.equal(machine.given.length, 3);
  }
});

Deno.test("apply() ends while others overlap with it all the time", async () => {
  const machine = new FakeMachine();
  let nextMs = 0;
  const backend = createNftBackend(planOf(), async (each) => {
    if (each.args[0] === "-f") await delay(5 + nextMs++ % 3);
    return await machine.run(each);
  });
  await backend.install([]);
  machine.given.length = 0;
  const client = async (n: number) => {
    for (let knock = 0; knock < 10; knock++) {
      await backend.apply([openings(`198.51.100.${10 * n + knock}`, { "22/tcp": 60_000 })]);
    }
  };
  await Promise.all([1, 2, 3, 4, 5].map(client));
  assert.equal(machine.given.at(-1)!.match(/tcp \. 22/g)?.length, 50);
  assert.ok(machine.given.length <= 500, `${machine.given.length} runs for 50 changes`);
});

Deno.test("install() forgets what stood before it", async () => {
  const machine = new FakeMachine();
  const backend = createNftBackend(planOf(), machine.run);
  await backend.install(GRANTED);
  await backend.install([]);
  machine.given.length = 0;
  await backend.apply([openings("198.51.100.20", { "80/tcp": 5000 })]);
  assert.deepEqual(rounded(machine.given), [
    writing("granted4", "198.51.100.20 . tcp . 80 timeout 5000ms"),
  ]);
});

/** A network's openings after these knocks. */
function opened(first: number, latest: number, ports: Record<string, number> = { "22/tcp": 5000 }) {
  return { ...openings("198.51.100.0/24", ports), knocks: { first, latest } };
}

Deno.test("apply() lets one more claim a network with each knock, and only then", async () => {
  const machine = new FakeMachine();
  const backend = createNftBackend(
    planOf({ prefixes: [{ family: 4, length: 24 }] }),
    machine.run,
  );
  await backend.install([]);
  const texts = async (change: ReturnType<typeof opened>) => {
    machine.given.length = machine.asked.length = 0;
    await backend.apply([change]);
    return rounded(machine.given);
  };
  const LOOK = "nft --json list set inet openme claimed4_24";
  const gone = (set: string, element: string) =>
    `add element inet openme ${set} { ${element} timeout 1s }\n` +
    `delete element inet openme ${set} { ${element} }\n`;
  const closing = writing("prefix4_24");
  const unclaiming = gone("claimed4_24", "198.51.100.0");
  const opening = writing("prefix4_24", "198.51.100.0 . tcp . 22 timeout 5000ms");
  assert.deepEqual(await texts(opened(1, 1)), [opening]);
  assert.deepEqual(machine.asked, [LOOK, "nft -f -"], "nobody can be noted yet");
  // Another client's end, a change of ports, a run that is repeated.
  assert.deepEqual(await texts(opened(1, 1)), [opening]);
  assert.deepEqual(machine.asked, ["nft -f -"], "no knock, nothing to look for");
  assert.deepEqual(await texts(opened(1, 2)), [opening], "nobody has claimed it");
  machine.ruleset = [{ set: { name: "claimed4_24", elem: ["198.51.101.0", "198.51.100.0"] } }];
  assert.deepEqual(await texts(opened(1, 3)), [unclaiming, opening]);
  assert.deepEqual(machine.asked, [LOOK, "nft -f -", "nft -f -"], "who is noted stays noted");
  assert.deepEqual(await texts(opened(1, 3, {})), [closing]);

  // It was open before: closed first, whatever became of it; then who is noted there is forgotten.
  const elem = ["198.51.100.9", { elem: { val: "198.51.100.77", expires: 1 } }, "198.51.101.9"];
  machine.ruleset = [{ set: { name: "noted4_24", elem } }];
  const forgetting = gone("noted4_24", "198.51.100.9") + gone("noted4_24", "198.51.100.77");
  assert.deepEqual(await texts(opened(4, 4)), [forgetting, opening]);
  assert.deepEqual(await texts(opened(5, 5)), [closing, forgetting, opening]);
});

Deno.test("install() keeps who is noted in networks that stay open, and the claim but for a knock", async () => {
  const machine = new FakeMachine();
  const backend = createNftBackend(planOf(), machine.run);
  await backend.install([opened(1, 1)]); // a size that the plan does not have
  machine.ruleset = [{ set: { elem: ["198.51.100.0", "198.51.100.9", "198.51.101.9"] } }];
  const sets = async (change: ReturnType<typeof opened>) => {
    await backend.install([change]);
    return ["claimed4_24", "noted4_24"].map((set) =>
      new RegExp(` set ${set} \\{ .*? elements = \\{ (.*?) \\}`).exec(machine.given.at(-1)!)?.[1]
    );
  };
  assert.deepEqual(await sets(opened(1, 1)), ["198.51.100.0", "198.51.100.0, 198.51.100.9"]);
  assert.deepEqual(await sets(opened(1, 2)), [undefined, "198.51.100.0, 198.51.100.9"]);
  assert.deepEqual(await sets(opened(3, 3)), [undefined, undefined]);
  machine.failing = /nft -f/;
  await assert.rejects(backend.install([opened(4, 4)]));
  machine.failing = undefined;
  assert.deepEqual(await sets(opened(4, 4)), [undefined, undefined], "it opened anew all the same");
  machine.failing = /list set .* noted/;
  assert.deepEqual(await sets(opened(3, 3)), [undefined, undefined], "the table is gone");
});

namespaceTest(
  "who is noted in a network is not noted in a wider one around it",
  async (namespace) => {
    const backend = createNftBackend(planOf({ prefixes: PREFIXES }), namespace.run);
    const both = ["198.51.100.0/24", "198.51.100.0/29"].map((at) => ({
      ...openings(at, { "22/tcp": 60_000 }),
      knocks: { first: 1, latest: 1 },
    }));
    await backend.install(both);
    const add = (set: string, element: string) =>
      namespace.nft(["add", "element", "inet", "openme", set, `{ ${element} }`]);
    await add("claimed4_29", "198.51.100.0");
    await add("noted4_29", "198.51.100.1");
    await add("noted4_24", "198.51.100.2");
    await backend.install(both);
    const listed = async (set: string) =>
      /elements = \{ (\S+) expires/.exec(
        await namespace.nft(["list", "set", "inet", "openme", set]),
      )?.[1];
    const sets = ["claimed4_24", "noted4_24", "claimed4_29", "noted4_29"];
    assert.deepEqual(await Promise.all(sets.map(listed)), [
      undefined,
      "198.51.100.2",
      "198.51.100.0",
      "198.51.100.1",
    ]);
  },
);

Deno.test("apply() throws where the table has no set for a network, and install() makes one", async () => {
  const machine = new FakeMachine();
  const backend = createNftBackend(planOf(), machine.run);
  await backend.install([]);
  await assert.rejects(backend.apply([opened(1, 1)]), {
    code: "FIREWALL",
    message: "the table has no set for networks such as 198.51.100.0/24",
  });
  await backend.apply([opened(1, 1, {})]); // there is nothing to take away
  await backend.install([opened(1, 1)]);
  await backend.apply([opened(1, 2)]);
});

/** A line of /proc/net/tcp: an established connection from 198.51.100.n to 192.0.2.5, port 22. */
function established(n: number): string {
  const remote = n.toString(16).toUpperCase().padStart(2, "0") + "6433C6";
  return `   0: 050200C0:0016 ${remote}:C350 01 00000000:00000000\n`;
}

Deno.test("after a flush only connections go on that were seen while the guard stood", async () => {
  const machine = new FakeMachine();
  let table = established(20);
  const run: RunProgram = (each) =>
    each.args[0] === "/proc/net/tcp" ? Promise.resolve(table) : machine.run(each);
  const backend = createNftBackend(planOf(), run);
  const kept = () =>
    [...machine.given.at(-1)!.matchAll(/(198\.51\.100\.\d+) \. 50000 \. 192\.0\.2\.5 \. 22/g)]
      .map(([, at]) => at);
  await backend.install([]);
  assert.deepEqual(kept(), ["198.51.100.20"], "what was there before the guard came");

  table += established(21); // let in by a knock, and then looked at
  assert.equal(await backend.isIntact(), true);
  table += established(22); // slipped in while the rules were gone
  machine.table = undefined;
  assert.equal(await backend.isIntact(), false);
  await backend.install([]);
  assert.deepEqual(kept(), ["198.51.100.20", "198.51.100.21"]);
});

Deno.test("apply() that failed is put right by the next install()", async () => {
  const machine = new FakeMachine();
  const backend = createNftBackend(planOf(), machine.run);
  await backend.install(GRANTED);
  machine.failing = /-f/;
  await assert.rejects(backend.apply([openings("198.51.100.20", { "80/tcp": 1000 })]));
  machine.failing = undefined;
  machine.given.length = 0;
  await backend.install(GRANTED);
  await backend.apply([openings("198.51.100.21", { "22/tcp": 1000 })]);
  assert.ok(!machine.given.join("").includes("198.51.100.20 . tcp . 80"));
  assert.ok(machine.given[1]!.includes("198.51.100.20 . tcp . 22"));
});

Deno.test("reconfigure() holds from the next install on", async () => {
  const machine = new FakeMachine();
  const backend = createNftBackend(planOf({ guardedPorts: ranges("22/tcp") }), machine.run);
  await backend.install([]);
  backend.reconfigure(planOf({ guardedPorts: ranges("80/tcp") }));
  assert.equal(machine.given.length, 1);
  await backend.install([]);
  assert.match(machine.given[1]!, /set guarded \{ .* elements = \{ tcp \. 80 \} \}/);
});

Deno.test("remove() takes the table out first, then the holes", async () => {
  const machine = new FakeMachine();
  machine.setHost("drop", true);
  const backend = createNftBackend(planOf(), machine.run);
  await backend.install([]);
  machine.given.length = 0;
  await backend.remove();
  assert.deepEqual(machine.given, [
    "add table inet openme\ndelete table inet openme\n",
    "delete rule inet filter input handle 7\n",
  ]);
  assert.equal(await backend.isIntact(), false);
});

Deno.test("openToEveryone() asks only where the host's firewall does the closing", async () => {
  const machine = new FakeMachine();
  assert.equal(await createNftBackend(planOf(), machine.run).openToEveryone(), undefined);
  assert.deepEqual(machine.asked, []);
  const plan = planOf({ dropPorts: false });
  const open = await createNftBackend(plan, machine.run).openToEveryone();
  assert.deepEqual(open?.ports, plan.guardedPorts);
  machine.setHost("drop");
  assert.equal(await createNftBackend(plan, machine.run).openToEveryone(), undefined);
});

Deno.test("a missing nft is an error that says what to install", async () => {
  const run: RunProgram = (run) =>
    runProgram({ ...run, program: run.program === "nft" ? "no-nft-on-this-host" : run.program });
  for (const act of ["install", "remove"] as const) {
    const backend = createNftBackend(planOf(), run);
    await assert.rejects(act === "install" ? backend.install([]) : backend.remove(), (error) => {
      assert.ok(error instanceof OpenmeError);
      assert.equal(error.code, "FIREWALL");
      assert.equal(error.message, "cannot run no-nft-on-this-host: there is no such program");
      assert.match(error.hint ?? "", /^install nftables: apt-get install nftables/);
      return true;
    });
  }
});

Deno.test("a failing or hanging nft is an error with a hint, and a deadline", async () => {
  const deadlines = new Set<number>();
  const machine = new FakeMachine();
  machine.failing = /./;
  const run: RunProgram = (each) => {
    deadlines.add(each.timeoutMs);
    return machine.run(each);
  };
  await assert.rejects(createNftBackend(planOf(), run).install([]), (error) => {
    assert.ok(error instanceof OpenmeError);
    assert.equal(error.code, "FIREWALL");
    assert.match(error.message, /^nft .* failed with exit code 1: broken$/);
    assert.match(error.hint ?? "", /nft list ruleset/);
    return true;
  });
  assert.ok(deadlines.size > 0);
  for (const ms of deadlines) assert.ok(0 < ms && ms <= 10_000, `${ms} ms`);
});

Deno.test("the table of a living openme is not taken over, that of a dead one is", async () => {
  const stat = (pid: number, ticks: number) =>
    `${pid} (openme) x) S 1 ${Array(17).fill(0).join(" ")} ${ticks} 0 0\n`;
  for (const { ticks, taken } of [{ ticks: 500, taken: false }, { ticks: 501, taken: true }]) {
    const machine = new FakeMachine();
    machine.table = "table inet openme {\n\tchain owner_4242_500 {\n\t}\n}";
    const run: RunProgram = (each) =>
      each.args[0] === "/proc/4242/stat" ? Promise.resolve(stat(4242, ticks)) : machine.run(each);
    const installing = createNftBackend(planOf(), run).install([]);
    if (taken) await installing;
    else {
      await assert.rejects(installing, {
        message: "another openme serve, process 4242, guards this host",
      });
    }
    assert.equal(machine.given.length, taken ? 1 : 0);
  }
});

const SECONDS: Record<string, number> = { d: 86_400, h: 3600, m: 60, s: 1, ms: 0.001 };

/** The elements of a set, as nft lists them: `198.51.100.20 . tcp . 22` and the time that they were given, in s. */
async function elementsOf(namespace: Namespace, set: string): Promise<Map<string, number>> {
  const listing = await namespace.nft(["list", "set", "inet", "openme", set]);
  const inside = /elements = \{([^}]*)\}/.exec(listing)?.[1] ?? "";
  return new Map(
    inside.split(",").map((each) => each.trim()).filter(Boolean).map((each) => {
      const [, element, timeout] = /^(.+) timeout (\S+) expires \S+$/.exec(each) ??
        assert.fail(each);
      const parts = [...timeout!.matchAll(/(\d+)(d|h|ms|m|s)/g)];
      assert.equal(parts.map(([part]) => part).join(""), timeout);
      const seconds = parts.map(([, count, unit]) => Number(count) * SECONDS[unit!]!)
        .reduce((sum, part) => sum + part, 0);
      // What is left when the set is written is less than what was asked for, by some ms.
      return [element!, Math.ceil(Math.round(seconds * 1000) / 1000)];
    }),
  );
}

const SETS = ["granted4", "granted6", "prefix4_24", "prefix4_29", "prefix6_64"].flatMap((set) => [
  set,
  `${set}_ranges`,
]);

/** What is written again later has less time left: up to a minute less on a busy machine. */
const wholeMinutes = (seconds: number) => Math.ceil(seconds / 60) * 60;

/** What stands in all sets of openings, networks as text: `198.51.100.0/24 . tcp . 22`; the seconds in whole minutes. */
async function grantedIn(namespace: Namespace): Promise<Map<string, number>> {
  const table = await namespace.nft(["list", "table", "inet", "openme"]);
  const lists = await Promise.all(
    SETS.filter((set) => table.includes(`set ${set} {`)).map(async (set) => {
      const length = /_(\d+)/.exec(set)?.[1];
      return [...await elementsOf(namespace, set)].map(([element, seconds]) =>
        [length ? element.replace(" ", `/${length} `) : element, wholeMinutes(seconds)] as const
      );
    }),
  );
  return new Map(lists.flat().sort());
}

/** What the kernel must hold for these openings. */
function expectedFrom(all: readonly AddressOpenings[]): Map<string, number> {
  return new Map(
    all.flatMap(({ address, openings }) =>
      openings.map(({ protocol, first, last, timeoutMs }): [string, number] => [
        `${formatNetwork(address)} . ${protocol} . ${first === last ? first : `${first}-${last}`}`,
        timeoutMs / 1000,
      ])
    ).sort(),
  );
}

/** One knock: who, for which address, to what, for how many seconds; or the end of what was granted. */
interface Step {
  readonly at: Address;
  readonly client: string;
  readonly ports: readonly PortRange[];
  readonly seconds: number;
}

const FEW = ["198.51.100.20", "198.51.100.21", "2001:db8::7"].map(address);
/** One is granted addresses, the others the networks around them. */
const CLIENTS: Record<string, PrefixLengths> = {
  alice: SINGLE,
  bob: { v4: 24, v6: 64 },
  carol: { v4: 29, v6: 64 },
};
const PREFIXES: Prefix[] = [
  { family: 4, length: 24 },
  { family: 4, length: 29 },
  { family: 6, length: 64 },
];

const anyStep: fc.Arbitrary<Step> = fc.record({
  at: fc.constantFrom(...FEW),
  client: fc.constantFrom("alice", "bob", "carol"),
  ports: fc.array(
    fc.oneof(
      anyRange,
      fc.constantFrom(...ranges("22/tcp", "20-30/tcp", "25-40/tcp", "1-65535/udp")),
    ),
    { maxLength: 3 },
  ).map(mergePortRanges),
  // Whole minutes, and long enough that nothing ends by itself while the test looks.
  seconds: fc.constantFrom(3600, 3660, 7200, 86_400),
});

function placeOf(client: string, at: Address): string {
  return formatNetwork(grantedNetwork(at, CLIENTS[client]));
}

namespaceTest(
  "after any history of knocks the kernel holds exactly what is granted",
  async (namespace) => {
    const backend = createNftBackend(planOf({ prefixes: PREFIXES }), namespace.run);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(anyStep, { minLength: 1, maxLength: 3 }), { maxLength: 5 }),
        async (batches) => {
          const grants = new Grants();
          const now = { wallNs: 0n, steadyMs: 0 };
          await backend.install([]);
          for (const batch of batches) {
            for (const { at, client, ports, seconds } of batch) {
              if (ports.length === 0) {
                grants.withdraw((each) =>
                  each.client === client && formatNetwork(each.address) === placeOf(client, at)
                );
              } else {
                grants.open(at, {
                  client,
                  key: client,
                  ports,
                  lifetimeMs: seconds * 1000,
                  expiresAtMs: undefined,
                  prefix: CLIENTS[client],
                }, now);
              }
            }
            const touched = new Set(batch.map(({ client, at }) => placeOf(client, at)));
            await backend.apply(
              [...touched].map((at) => forClients(grants.openingsOf(network(at), now))),
            );
          }
          const expected = expectedFrom(grants.allOpenings(now));
          assert.deepEqual(await grantedIn(namespace), expected);
          // Putting everything anew comes to the same.
          await backend.install(grants.allOpenings(now).map(forClients));
          assert.deepEqual(await grantedIn(namespace), expected);
        },
      ),
      { numRuns: 12 },
    );
  },
);

namespaceTest("an element that has just ended is renewed all the same", async (namespace) => {
  const backend = createNftBackend(planOf(), namespace.run);
  await backend.install([openings("198.51.100.20", { "22/tcp": 50, "80-90/tcp": 50 })]);
  const deadlineMs = performance.now() + 5000;
  while ((await grantedIn(namespace)).size > 0) assert.ok(performance.now() < deadlineMs);
  await backend.apply([openings("198.51.100.20", { "22/tcp": 3600_000, "85-95/tcp": 3600_000 })]);
  assert.deepEqual(
    await grantedIn(namespace),
    new Map([["198.51.100.20 . tcp . 22", 3600], ["198.51.100.20 . tcp . 85-95", 3600]]),
  );
});

namespaceTest("the guard comes, is looked after, and goes without a trace", async (namespace) => {
  const host = `table inet filter {
  set friends { type ipv4_addr; flags interval; elements = { 192.0.2.0/24 } }
  chain input {
    type filter hook input priority 0; policy drop
    ip saddr @friends accept comment "not of openme"
  }
  chain forward { type filter hook forward priority 0; policy drop; }
}`;
  await namespace.nft(["-f", "-"], host);
  const before = await namespace.nft(["list", "ruleset"]);
  const others = async () => {
    const tables = await namespace.nft(["list", "ruleset"]);
    return tables.replace(/^table inet openme \{\n[^]*?^\}\n/m, "");
  };
  for (const dropPorts of [true, false]) {
    const backend = createNftBackend(planOf({ dropPorts }), namespace.run);
    await backend.install(GRANTED);
    assert.equal(await backend.isIntact(), true);
    const hole = INSERT.replace("insert rule inet filter input ", "");
    assert.ok((await others()).includes(`policy drop;\n\t\t${hole}`), "the hole is the first rule");
    // One hole, whatever is installed on top.
    await backend.install(GRANTED);
    assert.equal((await others()).split(HOLE_COMMENT).length, 2);

    await namespace.nft(["flush", "chain", "inet", "filter", "input"]);
    assert.equal(await backend.isIntact(), false, "the hole is gone");
    await namespace.nft(["flush", "ruleset"]);
    assert.equal(await backend.isIntact(), false, "all is gone");
    await namespace.nft(["-f", "-"], host);
    await backend.install(GRANTED);
    assert.equal(await backend.isIntact(), true);
    assert.deepEqual([...(await grantedIn(namespace)).keys()], ["198.51.100.20 . tcp . 22"]);

    await backend.remove();
    assert.equal(await namespace.nft(["list", "ruleset"]), before);
    await backend.remove(); // and once more, with nothing there
    assert.equal(await namespace.nft(["list", "ruleset"]), before);
  }
});

/** For a backend to which it is all the same whose grants they are. */
function forClients(openings: AddressOpenings): ClientOpenings {
  return { ...openings, clients: [] };
}
