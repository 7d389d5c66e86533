/**
 * What it costs that another process reads the datagrams: `server.separate: auto` beside `off`, compiled, in turns. From
 * datagram to rule, and memory of an idle server: the proportional set size of all its processes.
 */

import { fileURLToPath } from "node:url";
import { Lab } from "../tests/e2e/lab.ts";
import { serve } from "../tests/e2e/openme.ts";
import { Site } from "../tests/e2e/site.ts";
import { pause } from "../tests/support/wait.ts";
import { latencies } from "./bench_latency.ts";
import { compileOpenme } from "./compile.ts";
import { print } from "./run.ts";

const MOST_MORE_MS = 0.5;
const MOST_MORE_MB = 40;
const ROUNDS = 5;
const APART_MS = [0, 60];
const SETTLED_MS = 10_000;
const MODES = ["off", "auto"] as const;

/** Measures and prints; gives whether both are within their bounds. */
async function compare(): Promise<boolean> {
  let kept = true;
  for (const apartMs of APART_MS) {
    const [off, auto] = await inTurns(async (separate) => {
      const { rule } = await latencies({ apartMs, separate });
      return rule.p50;
    });
    const more = auto! - off!;
    kept &&= more <= MOST_MORE_MS;
    print(
      `datagram to rule, knocks ${apartMs} ms apart: off ${off!.toFixed(2)} ms, auto ${
        auto!.toFixed(2)
      } ms: ${more.toFixed(2)} more (at most ${MOST_MORE_MS})`,
    );
  }
  const [off, auto] = await inTurns(idleMb, 2);
  const more = auto! - off!;
  kept &&= more <= MOST_MORE_MB;
  print(
    `idle, all processes (Pss): off ${off!.toFixed(1)} MB, auto ${auto!.toFixed(1)} MB: ${
      more.toFixed(1)
    } more (at most ${MOST_MORE_MB})`,
  );
  return kept;
}

/** The medians of both modes, measured in turns. */
async function inTurns(
  measure: (separate: string) => Promise<number>,
  rounds = ROUNDS,
): Promise<number[]> {
  const found: number[][] = MODES.map(() => []);
  for (let round = 0; round < rounds; round++) {
    for (const [i, mode] of MODES.entries()) found[i]!.push(await measure(mode));
  }
  return found.map((each) => each.toSorted((a, b) => a - b)[each.length >> 1]!);
}

async function idleMb(separate: string): Promise<number> {
  await using lab = await Lab.create();
  await using site = await Site.create(lab, {
    clients: { alice: ["22/tcp"] },
    server: [`separate: ${separate}`],
  });
  await using _served = await serve(lab, site.config);
  await pause(SETTLED_MS);
  const { stdout } = await new Deno.Command("ip", {
    args: ["netns", "pids", lab.namespace("server")],
  }).output();
  const sizes = await Promise.all(
    new TextDecoder().decode(stdout).split("\n").filter(Boolean).map(async (pid) => {
      const name = await Deno.readTextFile(`/proc/${pid}/comm`).catch(() => "");
      if (name.trim() !== "openme") return 0;
      const sizes = await Deno.readTextFile(`/proc/${pid}/smaps_rollup`);
      return Number(/^Pss:\s+(\d+) kB/m.exec(sizes)![1]) / 1024;
    }),
  );
  const processes = sizes.filter((size) => size > 0).length;
  const expected = separate === "off" ? 1 : 2;
  if (processes !== expected) throw new Error(`${processes} processes with separate: ${separate}`);
  return sizes.reduce((a, b) => a + b, 0);
}

/** In a process of its own: which program is measured is decided when the tests' modules are loaded. */
async function withCompiled(): Promise<number> {
  const dir = await Deno.makeTempDir({ prefix: "openme-bench-" });
  try {
    await compileOpenme(`${dir}/openme`);
    const { code } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", fileURLToPath(import.meta.url)],
      env: { OPENME_BIN: `${dir}/openme` },
    }).spawn().status;
    return code;
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

if (import.meta.main) {
  Deno.exit(Deno.env.has("OPENME_BIN") ? (await compare() ? 0 : 1) : await withCompiled());
}
