/**
 * From datagram to rule: how long after a knock was sent the server says that the kernel has its rule. Server and sender
 * are on one host and the sender is the server's parent, so that no network and no other program is in the figure.
 */

import { fileURLToPath } from "node:url";
import { labMissing } from "../tests/e2e/e2e.ts";
import { bytesToHex } from "../lib/crypto/keys.ts";
import { taggedKnock } from "../tests/attack/siege.ts";
import { Lab } from "../tests/e2e/lab.ts";
import { OPENME } from "../tests/support/openme_command.ts";
import { Site } from "../tests/e2e/site.ts";
import { KNOCK_PORT } from "../tests/e2e/e2e.ts";
import type { Task } from "./bench_latency_sender.ts";
import { print } from "./run.ts";

const KNOCKS = 60;
/** More is not what people were promised. */
const MOST_MS = 3;

/**
 * Measures and prints: knocks one after the other, and some apart, where the processor has gone to sleep in between. Gives
 * whether the median of the first is within the bound, or says why it cannot be measured.
 */
export async function datagramToRule(): Promise<boolean> {
  const missing = await labMissing();
  if (missing !== undefined) {
    print(`datagram to rule: not measured, ${missing}`);
    return true;
  }
  const p50 = await measure(0, "one after the other");
  await measure(60, "60 ms apart");
  return p50 <= MOST_MS;
}

async function measure(apartMs: number, how: string): Promise<number> {
  await using lab = await Lab.create();
  const names = Array.from({ length: KNOCKS }, (_, i) => `client${i}`);
  await using site = await Site.create(lab, {
    clients: Object.fromEntries(names.map((name) => [name, ["22/tcp"]])),
    knockTimeout: "30s",
  });
  const knocks: Task["knocks"] = await Promise.all(
    names.map(async (client, i) => ({
      client,
      hex: bytesToHex(await taggedKnock(site, client, `198.51.100.${i + 1}`)),
    })),
  );
  const serve = [...OPENME, "serve", "--config", site.config, "--state-dir", site.stateDir];
  const task: Task = { dir: site.dir, serve, port: KNOCK_PORT, apartMs, knocks };
  const path = `${site.dir}/latency.json`;
  await Deno.writeTextFile(path, JSON.stringify(task));
  const flags = ["--quiet", "--no-config", "--no-lock", "--unstable-net", "-A"];
  const script = fileURLToPath(import.meta.resolve("./bench_latency_sender.ts"));
  const output = await lab.run("server", [Deno.execPath(), "run", ...flags, script, path]);
  const times = (JSON.parse(output) as number[]).sort((a, b) => a - b);
  const at = (share: number) => times[Math.floor(share * (times.length - 1))] ?? NaN;
  print(
    `datagram to rule, ${KNOCKS} knocks ${how}: p50 ${at(0.5).toFixed(2)} ms, p95 ${
      at(0.95).toFixed(2)
    } ms${apartMs === 0 ? ` (p50 at most ${MOST_MS})` : ""}`,
  );
  return at(0.5);
}
