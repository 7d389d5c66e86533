/**
 * openme beside the field where nothing is under attack: from a client's start, and from a datagram, to the open port; a
 * hundred clients at once; a thousand keys; start, memory and size. Prints tables in Markdown.
 */

import { goodKnocks, taggedKnock } from "../tests/attack/siege.ts";
import { bytesToHex } from "../lib/crypto/keys.ts";
import { IPV4, Lab } from "../tests/e2e/lab.ts";
import { OPENME } from "../tests/support/openme_command.ts";
import { percentiles, timeToOpen, usageOf } from "./bench_lab.ts";
import { datagramToRule } from "./bench_latency.ts";
import { savedKnock } from "./rivals/fwknop.ts";
import { knockd } from "./rivals/knockd.ts";
import { letmein } from "./rivals/letmein.ts";
import { NAMES, openme, startOpenme } from "./rivals/openme.ts";
import { type Contender, DOORS, type Rival } from "./rivals/rival.ts";
import { capture, print } from "./run.ts";

/** fwknop looks for packets at intervals, so one round says little. */
const ROUNDS = 40;
const MANY = 100;

/** From the start of each client to the first connection. */
export async function coldClients(field: readonly Contender[]): Promise<void> {
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

/** From the first datagram to the first connection, and to the rule as the log of openme tells it. */
export async function datagramToOpen(field: readonly Contender[]): Promise<void> {
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

/** A hundred clients at once, until the last door is open. */
export async function aHundredAtOnce(field: readonly Contender[]): Promise<void> {
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

/** With 1 and with 1,000 registered keys. */
export async function aThousandKeys(field: readonly Contender[]): Promise<void> {
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

/** How long each daemon takes to start, its memory when idle, and the size of its programs. */
export async function startAndSize(field: readonly Contender[]): Promise<void> {
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
