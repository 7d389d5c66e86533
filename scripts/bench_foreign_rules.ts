/**
 * What rules of other people cost: from a knock to the rule in the kernel, and what an idle server uses, beside blocklists
 * and rulesets that are not openme's, with 1, 100 and 4,000 grants of its own.
 */

import { KNOCK_PORT, labMissing } from "../tests/e2e/e2e.ts";
import { taggedKnock } from "../tests/attack/siege.ts";
import { blocklist, ruleset } from "../tests/e2e/foreign.ts";
import { IPV4, Lab } from "../tests/e2e/lab.ts";
import type { Served } from "../tests/e2e/openme.ts";
import { Site } from "../tests/e2e/site.ts";
import { pause } from "../tests/support/wait.ts";
import { print } from "./run.ts";

const GRANTS = [1, 100, 4000];
const KNOCKS = 9;
const IDLE_S = 24;
/** Grants that one client may hold. */
const PER_CLIENT = 200;
/** What people were promised. */
const MOST_MS = 300;
const MOST_CORES = 0.05;

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
  print("| beside | grants | knock to rule, p50 ms | most | idle, cores |");
  print("| :----- | -----: | --------------------: | ---: | ----------: |");
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
    using _replacing = replaced ? replaceEverySecond(lab, rules) : undefined;
    let held = 0;
    for (const count of GRANTS) {
      for (; held < count; held++) {
        await knock(lab, site, `client${1 + Math.floor(held / PER_CLIENT)}`, held);
        if (held % 100 === 99) await pause(300); // every change of a set writes all of it
      }
      await pause(10_000);
      const times: number[] = [];
      for (let i = 0; i < KNOCKS; i++) times.push(await knockToRule(lab, site, served, i));
      times.sort((a, b) => a - b);
      const before = await processorOf(lab);
      await pause(IDLE_S * 1000);
      const cores = (await processorOf(lab) - before) / IDLE_S;
      const [median = NaN, most = NaN] = [times[KNOCKS >> 1], times.at(-1)];
      if (most > MOST_MS || cores > MOST_CORES) kept = false;
      print(
        `| ${name} | ${count} | ${median.toFixed(1)} | ${most.toFixed(1)} | ${cores.toFixed(3)} |`,
      );
    }
    await served.stop();
  }
  return kept;
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

/** Processor seconds of the server, its children and its `nft -i` so far; not of who replaces a blocklist beside it. */
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
  run().catch((error) => print(`bench: cannot replace the blocklist: ${error}`));
  return { [Symbol.dispose]: () => stopped = true };
}
