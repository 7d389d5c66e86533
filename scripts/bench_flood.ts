/**
 * `deno task bench:flood [SECTION…] [PLOT.svg]`: openme beside the field, in namespaces on this machine: good knocks
 * accepted beside floods, and what that costs; from a client's start, and from a datagram, to the open port; a hundred at
 * once; a thousand keys; start, memory and size. What is not installed is said so. Prints tables in Markdown.
 */

import { flood, goodKnocks, taggedKnock } from "../tests/attack/siege.ts";
import { bytesToHex } from "../lib/crypto/keys.ts";
import { IPV4, Lab } from "../tests/e2e/lab.ts";
import { OPENME } from "../tests/support/openme_command.ts";
import { pause } from "../tests/support/wait.ts";
import { percentiles, timeToOpen, usageOf } from "./bench_lab.ts";
import { datagramToRule } from "./bench_latency.ts";
import { plotOf, type Series } from "./bench_plot.ts";
import { fwknop, savedKnock } from "./rivals/fwknop.ts";
import { knockd } from "./rivals/knockd.ts";
import { letmein } from "./rivals/letmein.ts";
import { NAMES, openme, startOpenme } from "./rivals/openme.ts";
import { type Contender, DOORS, missingPrograms, type Rival } from "./rivals/rival.ts";
import { capture, print } from "./run.ts";

const FORGED = 10_000;
const ROWS = [
  { rate: 0, sources: 1 },
  { rate: 1000, sources: 1 },
  { rate: 10_000, sources: 1 },
  { rate: 100_000, sources: 1 },
  { rate: 1000, sources: FORGED },
  { rate: 5000, sources: FORGED },
  { rate: 20_000, sources: FORGED },
  { rate: 50_000, sources: FORGED },
  { rate: 100_000, sources: FORGED },
];
type Row = typeof ROWS[number];

/** openme's good knocks are datagrams of the generator's; others' are processes of their clients: more time for them. */
const SECONDS = 6;
const RIVAL_SECONDS = 17;
/** fwknop looks for packets now and then, so that one round says little. */
const ROUNDS = 40;
const MANY = 100;

const svg = Deno.args.find((arg) => arg.endsWith(".svg"));
const wanted = Deno.args.filter((arg) => arg !== svg);
const series: Series[] = [];
const SECTIONS: Record<string, () => Promise<void>> = {
  flood: floods,
  cold: coldClients,
  datagram: datagramToOpen,
  hundred: aHundredAtOnce,
  keys: aThousandKeys,
  size: startAndSize,
};
const field: Contender[] = [];
for (const each of [fwknop("pcap"), fwknop("udp server"), knockd, letmein]) {
  const missing = await missingPrograms(each);
  if (missing.length === 0) field.push(each);
  else print(`${each.name}: not measured, ${missing.join(", ")} not installed`);
}
const [load] = Deno.loadavg();
print(
  `Deno ${Deno.version.deno}, ${navigator.hardwareConcurrency} cores, load ${load!.toFixed(1)}`,
);
for (const [name, run] of Object.entries(SECTIONS)) {
  if (wanted.length === 0 || wanted.includes(name)) await run();
}
if (svg) await Deno.writeTextFile(svg, plotOf(series));
Deno.exit(0);

async function floods(): Promise<void> {
  for (const tagged of [true, false]) {
    const name = tagged ? "openme" : "openme, untagged";
    heading(name);
    await using lab = await Lab.create();
    const points: Point[] = [];
    for (const row of ROWS) points.push(await floodOpenme(lab, row, tagged));
    series.push({ name, points });
  }
  for (const contender of field) {
    heading(contender.name);
    await using lab = await Lab.create();
    const points: Point[] = [];
    for (const row of ROWS) points.push(await floodRival(lab, contender, row));
    series.push({ name: contender.name, points });
  }
}

type Point = Series["points"][number];

async function floodOpenme(lab: Lab, { rate, sources }: Row, tagged: boolean): Promise<Point> {
  await using rival = await startOpenme(lab);
  const good = await goodKnocks(rival.site, NAMES, { count: DOORS, tagged });
  const lines = rival.served.lines.length;
  const before = await usageOf(lab);
  const sent = await flood(lab, rival.site, { rate, sources, seconds: SECONDS, good });
  const after = await usageOf(lab);
  const accepted = await settled(rival);
  report(
    { rate, sources },
    { ...sent, before, after, accepted },
    rival.served.lines.length - lines,
  );
  await rival.served.stop();
  return { rate, sources, share: accepted / DOORS };
}

async function floodRival(lab: Lab, contender: Contender, { rate, sources }: Row): Promise<Point> {
  await using rival = await contender.start(lab);
  const dir = await Deno.makeTempDir({ prefix: "openme-bench-" });
  try {
    const before = await usageOf(lab);
    const [sent] = await Promise.all([
      flood(lab, { dir }, { rate, sources, seconds: RIVAL_SECONDS, good: [], port: rival.port }),
      knockAll(lab, rival),
    ]);
    const after = await usageOf(lab);
    const accepted = await settled(rival);
    report({ rate, sources }, { ...sent, before, after, accepted });
    return { rate, sources, share: accepted / DOORS };
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

/** Each door once, evenly over the flood; a client that waits for an answer keeps no other waiting. */
async function knockAll(lab: Lab, rival: Rival): Promise<void> {
  const startMs = performance.now();
  const running: Promise<unknown>[] = [];
  for (let i = 0; i < DOORS; i++) {
    await pause(startMs + 1000 + i * (RIVAL_SECONDS - 2) * 1000 / DOORS - performance.now());
    running.push(lab.output("client", rival.knock(i)));
  }
  await Promise.all(running);
}

/** How many doors are open once no more open. */
async function settled(rival: Rival): Promise<number> {
  let last = -1;
  for (let open = await rival.opened(); open !== last; open = await rival.opened()) {
    last = open;
    await pause(1500);
  }
  return last;
}

function heading(name: string): void {
  print(`\n### ${name}\n`);
  print(
    `| junk/s wanted | sources | junk/s sent | accepted of ${DOORS} | processor, cores | memory, MB | log lines/s |`,
  );
  print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
}

function report(
  { rate, sources }: Row,
  { junk, seconds, before, after, accepted }: {
    junk: number;
    seconds: number;
    before: { cpuS: number };
    after: { cpuS: number; mb: number };
    accepted: number;
  },
  lines?: number,
): void {
  const cells = [
    rate,
    sources,
    (junk / seconds).toFixed(0),
    accepted,
    ((after.cpuS - before.cpuS) / seconds).toFixed(2),
    after.mb.toFixed(0),
    lines === undefined ? "" : (lines / seconds).toFixed(0),
  ];
  print(`| ${cells.join(" | ")} |`);
}

async function coldClients(): Promise<void> {
  print(`\n### From the start of the client to the first connection, ${ROUNDS} times, ms\n`);
  print("| client | p50 | p95 |\n| --- | ---: | ---: |");
  await using lab = await Lab.create();
  await (await lab.agent("server")).listen({ tcp: [22] });
  for (const contender of [openme, ...field]) {
    await using rival = await contender.start(lab);
    const times: number[] = [];
    for (let i = 0; i < ROUNDS; i++) {
      times.push(await timeToOpen(lab, { command: rival.knockHere }));
      await rival.shutHere();
    }
    print(`| ${rival.name} | ${percentiles(times)} |`);
  }
}

async function datagramToOpen(): Promise<void> {
  print(`\n### From the first datagram to the first connection, ${ROUNDS} times, ms\n`);
  print("| server | p50 | p95 |\n| --- | ---: | ---: |");
  await using lab = await Lab.create();
  await (await lab.agent("server")).listen({ tcp: [22] });
  const measure = async (rival: Rival, datagrams: () => Promise<Datagrams>) => {
    const times: number[] = [];
    for (let i = 0; i < ROUNDS; i++) {
      times.push(await timeToOpen(lab, { datagrams: await datagrams() }));
      await rival.shutHere();
    }
    print(`| ${rival.name} | ${percentiles(times)} |`);
  };
  {
    await using rival = await startOpenme(lab);
    await measure(rival, async () => [
      { port: rival.port, hex: bytesToHex(await taggedKnock(rival.site, "alice")) },
    ]);
  }
  for (const contender of field) {
    if (contender === letmein) {
      print("| letmein | (a dialogue: see its client) | |");
      continue;
    }
    await using rival = await contender.start(lab);
    await measure(
      rival,
      async () =>
        contender === knockd
          ? [7000, 8000, 9000].map((port) => ({ port: port + DOORS, hex: "00" }))
          : [{ port: rival.port, hex: await savedKnock(lab, rival.knockHere) }],
    );
  }
  print("");
  await datagramToRule();
}

type Datagrams = readonly { readonly port: number; readonly hex: string }[];

async function aHundredAtOnce(): Promise<void> {
  print(`\n### ${MANY} clients at once: from the first start to the last open door, ms\n`);
  print("| clients | ms | open |\n| --- | ---: | ---: |");
  await using lab = await Lab.create();
  {
    await using rival = await startOpenme(lab);
    const good = await goodKnocks(rival.site, NAMES, { count: MANY, tagged: true });
    const datagrams = good.map((hex) => Uint8Array.fromHex(hex));
    const agent = await lab.agent("client");
    const startMs = performance.now();
    await Promise.all(datagrams.map((each) => agent.send(each, IPV4.server, rival.port)));
    await lastOpen(`openme, ${MANY} datagrams`, rival, startMs);
  }
  for (const contender of [openme, ...field]) {
    await using rival = await contender.start(lab);
    const startMs = performance.now();
    const running = Array.from({ length: MANY }, (_, i) => lab.output("client", rival.knock(i)));
    await lastOpen(rival.name, rival, startMs);
    await Promise.all(running);
  }
}

async function lastOpen(name: string, rival: Rival, startMs: number): Promise<void> {
  const deadlineMs = startMs + 20_000;
  let [open, ms] = [0, 0];
  while (open < MANY && performance.now() < deadlineMs) {
    open = await rival.opened();
    ms = performance.now() - startMs;
  }
  print(`| ${name} | ${open < MANY ? "" : ms.toFixed(0)} | ${open} |`);
}

async function aThousandKeys(): Promise<void> {
  print(
    "\n### From the start of the client to the first connection, by registered keys, p50, ms\n",
  );
  print("| server | 1 key | 1,000 keys |\n| --- | ---: | ---: |");
  await using lab = await Lab.create();
  await (await lab.agent("server")).listen({ tcp: [22] });
  for (const contender of [openme, ...field.filter((each) => each !== knockd)]) {
    const cells: string[] = [];
    for (const clients of [1, 1000]) {
      await using rival = await contender.start(lab, { clients });
      const times: number[] = [];
      for (let i = 0; i < ROUNDS / 4; i++) {
        times.push(await timeToOpen(lab, { command: rival.knockHere }));
        await rival.shutHere();
      }
      cells.push(percentiles(times).split(" ")[0]!);
    }
    print(`| ${contender.name} | ${cells.join(" | ")} |`);
  }
}

async function startAndSize(): Promise<void> {
  print(
    "\n### Start of the daemon, its memory when idle, and size of its and its client's programs\n",
  );
  print("| server | start, ms | memory, MB | programs, MB |\n| --- | ---: | ---: | ---: |");
  await using lab = await Lab.create();
  for (const contender of [openme, ...field]) {
    const times: number[] = [];
    let mb = 0;
    for (let i = 0; i < 5; i++) {
      await using rival = await contender.start(lab);
      times.push(rival.startMs);
      mb = (await usageOf(lab)).mb;
    }
    const programs = contender === openme ? [OPENME[0]!] : contender.programs;
    const sizes = await Promise.all(programs.map(sizeOf));
    const size = sizes.reduce((sum, each) => sum + each, 0) / 2 ** 20;
    print(
      `| ${contender.name} | ${percentiles(times).split(" ")[0]} | ${mb.toFixed(0)} | ${
        size.toFixed(1)
      } |`,
    );
  }
}

async function sizeOf(program: string): Promise<number> {
  const path = await capture("sh", ["-c", 'command -v "$0"', program]);
  return path === undefined ? NaN : (await Deno.stat(path.trim())).size;
}
