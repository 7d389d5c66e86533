/**
 * From datagram to rule: how long after a knock was sent the kernel has its rule, and the server has logged that. Server
 * and sender are on one host and the sender is the server's parent, so that no network is in the figure.
 */

import { fileURLToPath } from "node:url";
import { labMissing } from "../tests/e2e/e2e.ts";
import { bytesToHex } from "../lib/crypto/keys.ts";
import { taggedKnock } from "../tests/attack/siege.ts";
import { Lab } from "../tests/e2e/lab.ts";
import { OPENME } from "../tests/support/openme_command.ts";
import { SEPARATE, Site } from "../tests/e2e/site.ts";
import { KNOCK_PORT } from "../tests/e2e/e2e.ts";
import type { Task, Times } from "./bench_latency_sender.ts";
import { print } from "./run.ts";

const KNOCKS = 60;
/** More is not what people were promised: the median until the rule. */
const MOST_MS = 1;

/** One row of the figures. */
interface Row {
  readonly how: string;
  readonly apartMs: number;
  /** Whether another process takes all that it can of one processor. */
  readonly busy?: boolean;
  /** Medians of commit cf2629f, which wrote sets by `nft -i`: until the rule, until the log. */
  readonly before: readonly [rule: number, told: number];
}

const ROWS: readonly Row[] = [
  { how: "one after the other", apartMs: 0, before: [2.78, 3.26] },
  { how: "beside other work", apartMs: 60, busy: true, before: [3.25, 3.79] },
  { how: "after a pause", apartMs: 60, before: [3.9, 4.51] },
];

/** Measures and prints each row. Gives whether the medians are within the bound, or says why they cannot be measured. */
export async function datagramToRule(): Promise<boolean> {
  const missing = await labMissing();
  if (missing !== undefined) {
    print(`datagram to rule: not measured, ${missing}`);
    return true;
  }
  let kept = true;
  for (const row of ROWS) if (await measure(row) > MOST_MS) kept = false;
  return kept;
}

async function measure({ how, apartMs, busy, before }: Row): Promise<number> {
  const { rule, told } = await latencies({ apartMs, busy });
  print(
    `datagram to rule, ${KNOCKS} knocks ${how}: p50 ${rule.text} ms (at most ${MOST_MS}; before: ${
      before[0]
    }); in the log ${told.text} (before: ${before[1]})`,
  );
  return rule.p50;
}

/** How long after each of so many knocks the kernel had its rule, and the log its line, in ms. */
export async function latencies(
  { apartMs, busy, separate = SEPARATE }: {
    readonly apartMs: number;
    readonly busy?: boolean | undefined;
    readonly separate?: string;
  },
): Promise<{ readonly rule: Percentiles; readonly told: Percentiles }> {
  await using lab = await Lab.create();
  const names = Array.from({ length: KNOCKS }, (_, i) => `client${i}`);
  await using site = await Site.create(lab, {
    clients: Object.fromEntries(names.map((name) => [name, ["22/tcp"]])),
    knockTimeout: "30s",
    server: [`separate: ${separate}`],
  });
  // Once before the knocks are sealed: a new database refuses what is dated before its start.
  await (await site.serve()).stop();
  const knocks: Task["knocks"] = await Promise.all(
    names.map(async (client, i) => {
      const address = [198, 51, 100, i + 1];
      const datagram = await taggedKnock(site, client, address.join("."));
      return { client, address, hex: bytesToHex(datagram) };
    }),
  );
  const serve = [...OPENME, "serve", "--config", site.config, "--state-dir", site.stateDir];
  const task: Task = { dir: site.dir, serve, port: KNOCK_PORT, apartMs, knocks };
  const path = `${site.dir}/latency.json`;
  await Deno.writeTextFile(path, JSON.stringify(task));
  const flags = ["--quiet", "--no-config", "--no-lock", "--unstable-net", "-A"];
  const script = fileURLToPath(import.meta.resolve("./bench_latency_sender.ts"));
  if (busy) lab.start("other", ["sh", "-c", "while :; do :; done"]);
  const output = await lab.run("server", [Deno.execPath(), "run", ...flags, script, path]);
  const times = JSON.parse(output) as Times[];
  return {
    rule: percentiles(times.map(({ rule }) => rule)),
    told: percentiles(times.map(({ told }) => told)),
  };
}

/** Of times in ms. */
export interface Percentiles {
  readonly p50: number;
  readonly text: string;
}

function percentiles(times: readonly number[]): Percentiles {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.floor(share * (sorted.length - 1))] ?? NaN;
  return { p50: at(0.5), text: `${at(0.5).toFixed(2)}, p95 ${at(0.95).toFixed(2)}` };
}
