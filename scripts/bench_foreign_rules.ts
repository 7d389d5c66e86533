/**
 * What rules of other people cost: from a knock to the rule in the kernel, and what an idle server uses, beside blocklists
 * and rulesets that are not openme's, with 1, 100 and 4,000 grants of its own.
 */

import { KNOCK_PORT, labMissing } from "../tests/e2e/e2e.ts";
import { taggedKnock } from "../tests/attack/siege.ts";
import { blocklist, ruleset } from "../tests/e2e/foreign.ts";
import { IPV4, Lab } from "../tests/e2e/lab.ts";
import type { Served } from "../tests/e2e/openme.ts";
import type { Program } from "../tests/support/spawned.ts";
import { Site } from "../tests/e2e/site.ts";
import { pause } from "../tests/support/wait.ts";
import { print } from "./run.ts";

const GRANTS = [1, 100, 4000];
const KNOCKS = 9;
/** Beside something that comes and goes, as many are needed to meet its worst moment. */
const KNOCKS_BESIDE_CHANGES = 40;
const IDLE_S = 24;
/** Grants that one client may hold. */
const PER_CLIENT = 200;
/** What people were promised. */
const MOST_MS = 300;
const MOST_CORES = 0.05;
/**
 * The kernel runs the transactions of a network namespace one after the other, so beside rules that are replaced every
 * change waits for theirs, openme's too. There the slowest knock is held to the slowest of as many single elements that
 * an `nft` of its own adds in turn with the knocks: twice that where a knock arrives while an earlier change waits, and a
 * quarter for the luck of the moment.
 */
const MOST_TIMES_ALONE = 2.5;

const SET_ALONE = "type ipv4_addr; flags timeout; timeout 1h";

const NEIGHBOURS: readonly { name: string; rules: string; replaced?: boolean }[] = [
  { name: "nothing", rules: "" },
  { name: "20,000 addresses", rules: blocklist(20_000) },
  { name: "200,000 addresses", rules: blocklist(200_000) },
  { name: "200,000, replaced every second", rules: blocklist(200_000), replaced: true },
  { name: "50,000 rules", rules: ruleset(50_000) },
];

/** Measures and prints a table in Markdown. Gives whether everything is within what was promised. */
export async function besideForeignRules(): Promise<boolean> {
  const missing = await labMissing();
  if (missing !== undefined) {
    print(`beside rules of others: not measured, ${missing}`);
    return true;
  }
  print(
    "| beside | grants | knock to rule, p50 ms | most | an element alone, most | idle, cores |",
  );
  print(
    "| :----- | -----: | --------------------: | ---: | ---------------------: | ----------: |",
  );
  let kept = true;
  for (const { name, rules, replaced = false } of NEIGHBOURS) {
    await using lab = await Lab.create();
    if (rules) await lab.nft(rules);
    const clients = Array.from({ length: 4000 / PER_CLIENT + 1 }, (_, i) => `client${i}`);
    await using site = await Site.create(lab, {
      clients: Object.fromEntries(clients.map((each) => [each, ["22/tcp"]])),
      knockTimeout: "20m",
    });
    await using served = await site.serve();
    await using alone = await LoneNft.start(lab);
    using _replacing = replaced ? replaceEverySecond(lab, rules) : undefined;
    let held = 0;
    for (const count of GRANTS) {
      for (; held < count; held++) {
        await knock(lab, site, `client${1 + Math.floor(held / PER_CLIENT)}`, held);
        if (held % 100 === 99) await pause(300); // so many at once would be written as whole sets
      }
      await pause(10_000);
      const times: number[] = [];
      const timesAlone: number[] = [];
      const knocks = replaced ? KNOCKS_BESIDE_CHANGES : KNOCKS;
      for (let i = 0; i < knocks; i++) {
        if (replaced) {
          await somewhen();
          timesAlone.push(await alone.add(i));
          await somewhen();
        }
        times.push(await knockToRule(lab, site, served, i));
      }
      times.sort((a, b) => a - b);
      const before = await processorOf(lab);
      await pause(IDLE_S * 1000);
      const cores = (await processorOf(lab) - before) / IDLE_S;
      const [median = NaN, most = NaN] = [times[times.length >> 1], times.at(-1)];
      const mostAlone = Math.max(...timesAlone);
      const allowedMs = replaced ? MOST_TIMES_ALONE * mostAlone : MOST_MS;
      if (most > allowedMs || cores > MOST_CORES) kept = false;
      const cells = [
        ...[name, count, median.toFixed(1), most.toFixed(1)],
        ...[replaced ? mostAlone.toFixed(1) : "", cores.toFixed(3)],
      ];
      print(`| ${cells.join(" | ")} |`);
    }
    await served.stop();
  }
  return kept;
}

/** At any moment between two replacements. */
function somewhen(): Promise<void> {
  return pause(1000 * Math.random());
}

/** A knock of this client for its own address of that number. */
async function knock(lab: Lab, site: Site, client: string, number: number): Promise<void> {
  const target = `10.9.${number >> 8}.${number & 255}`;
  const agent = await lab.agent("client");
  await agent.send(await taggedKnock(site, client, target), IPV4.server, KNOCK_PORT);
}

/** ms from the datagram to the line of the log that says that the firewall has it. */
async function knockToRule(lab: Lab, site: Site, served: Served, i: number): Promise<number> {
  const target = `10.10.0.${i}`;
  const agent = await lab.agent("client");
  const bytes = await taggedKnock(site, "client0", target);
  const from = served.lines.length;
  const startedMs = performance.now();
  await agent.send(bytes, IPV4.server, KNOCK_PORT);
  const line = new RegExp(`event=(granted|renewed) client=client0 address=${target} `);
  const isOpen = await served.waitForLine(line, 15_000, from).then(() => true, () => false);
  return isOpen ? performance.now() - startedMs : Infinity;
}

/** An `nft -i` that adds one element after the other to a set in a table of its own: what no program could do without. */
class LoneNft implements AsyncDisposable {
  readonly #program: Program;
  #lines = 0;

  private constructor(program: Program) {
    this.#program = program;
  }

  static async start(lab: Lab): Promise<LoneNft> {
    await lab.nft(`table inet lone { set addresses { ${SET_ALONE}; }; }`);
    return new LoneNft(lab.start("server", ["nft", "-i"], { env: { HOME: "/dev/null" } }));
  }

  /** ms until the kernel has one more element. */
  async add(i: number): Promise<number> {
    const { stderr } = this.#program;
    const [word, from] = [`line${++this.#lines}done`, stderr.all.length];
    const startedMs = performance.now();
    // Block syntax, as openme writes: `add element` would first read every element of the others.
    await this.#program.writeLine(
      `table inet lone { set addresses { ${SET_ALONE}; elements = { 10.11.0.${i} }; }; }`,
    );
    await this.#program.writeLine(word); // it says nothing of a success, but complains about this
    await stderr.waitFor(new RegExp(word), 15_000, from);
    return performance.now() - startedMs;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#program[Symbol.asyncDispose]();
  }
}

/** Processor seconds of the server, its children and its `nft -i` so far; not of others that replace a blocklist beside it. */
async function processorOf(lab: Lab): Promise<number> {
  const { stdout } = await new Deno.Command("ip", {
    args: ["netns", "pids", lab.namespace("server")],
  }).output();
  let seconds = 0;
  for (const pid of new TextDecoder().decode(stdout).split("\n").filter(Boolean)) {
    const command = await Deno.readTextFile(`/proc/${pid}/cmdline`).catch(() => "");
    if (!/\0serve\0|^nft\0-i\0$/.test(command)) continue;
    const stat = await Deno.readTextFile(`/proc/${pid}/stat`).catch(() => "");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ").map(Number);
    seconds += fields.slice(11, 15).reduce((sum, ticks) => sum + ticks, 0) / 100;
  }
  return seconds;
}

/** Goes on until it is disposed of. */
function replaceEverySecond(lab: Lab, rules: string): Disposable {
  let stopped = false;
  const run = async () => {
    while (!stopped) {
      await Promise.all([lab.nft(rules), pause(1000)]);
    }
  };
  run().catch((error) => stopped || print(`bench: cannot replace the blocklist: ${error}`));
  return { [Symbol.dispose]: () => stopped = true };
}
