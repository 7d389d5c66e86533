/**
 * What a server of one process costs while nothing happens: its resident memory, compiled, and the programs that it starts
 * in a minute, with nft and with iptables. `bench_separate.ts` says how much more two processes cost.
 */

import { labMissing } from "../tests/e2e/e2e.ts";
import { Lab } from "../tests/e2e/lab.ts";
import { Served } from "../tests/e2e/openme.ts";
import { Site } from "../tests/e2e/site.ts";
import { lacks } from "../tests/support/programs.ts";
import { pause } from "../tests/support/wait.ts";
import { compileOpenme } from "./compile.ts";
import { print } from "./run.ts";

const MOST_MB = 65;
const MOST_PROGRAMS = 6;
const SETTLED_MS = 10_000;
const MINUTE_MS = 60_000;
const START_MS = 15_000;

const FIREWALLS = ["nft", "iptables-nft", "iptables-legacy"];
/** Every program that a server may run with these. */
const PROGRAMS = [
  ...["cat", "nft", "conntrack", "iptables-nft", "ip6tables-nft", "iptables-nft-restore"],
  ...["ip6tables-nft-restore", "iptables-legacy", "ip6tables-legacy", "iptables-legacy-restore"],
  "ip6tables-legacy-restore",
];

/** Measures and prints a table in Markdown; gives whether everything is within its bound. */
export async function idleServers(): Promise<boolean> {
  const missing = await labMissing() ?? lacks("nft", "iptables-nft", "iptables-legacy");
  if (missing !== undefined) {
    print(`idle: not measured, ${missing}`);
    return true;
  }
  const dir = await Deno.makeTempDir({ prefix: "openme-bench-" });
  try {
    const openme = `${dir}/openme`;
    await compileOpenme(openme);
    print("| idle, compiled | MB after 10 s | MB a minute later | programs in that minute |");
    print("| :------------- | ------------: | ----------------: | ----------------------: |");
    const found = await Promise.all(FIREWALLS.map((firewall) => idle(openme, firewall)));
    for (const { firewall, mb, mbLater, programs } of found) {
      print(`| ${firewall} | ${mb.toFixed(1)} | ${mbLater.toFixed(1)} | ${programs} |`);
    }
    print(`at most ${MOST_MB} MB after 10 s, and ${MOST_PROGRAMS} programs`);
    return found.every(({ mb, programs }) => mb <= MOST_MB && programs <= MOST_PROGRAMS);
  } catch (error) {
    const mustWork = Deno.env.get("OPENME_E2E") === "require";
    print(`idle: not measured: ${(error as Error).message}`);
    return !mustWork;
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

async function idle(openme: string, firewall: string) {
  await using lab = await Lab.create();
  await using site = await Site.create(lab, {
    clients: { alice: ["22/tcp"] },
    firewall,
    server: ["separate: off"],
  });
  const counted = await countingPrograms(site.dir);
  await using served = new Served(
    lab.start("server", [
      ...["env", `PATH=${counted.path}`, openme, "serve", "--config", site.config],
    ]),
  );
  await served.waitForLine(/listening/, START_MS);
  await pause(SETTLED_MS);
  const mb = await residentMb(lab);
  const before = await counted.count();
  await pause(MINUTE_MS);
  const programs = await counted.count() - before;
  const mbLater = await residentMb(lab);
  await served.stop();
  return { firewall, mb, mbLater, programs };
}

/** A PATH on which each program leaves a line before it runs. */
async function countingPrograms(dir: string) {
  const [folder, started] = [`${dir}/counting`, `${dir}/started`];
  const path = Deno.env.get("PATH") ?? "";
  await Deno.mkdir(folder);
  await Deno.writeTextFile(started, "");
  for (const name of PROGRAMS) {
    const script = `#!/bin/sh\necho ${name} >>'${started}'\nPATH='${path}' exec ${name} "$@"\n`;
    await Deno.writeTextFile(`${folder}/${name}`, script, { mode: 0o755 });
  }
  return {
    path: `${folder}:${path}`,
    count: async () => (await Deno.readTextFile(started)).split("\n").length - 1,
  };
}

/** Of the server alone, without its `nft -i`. */
async function residentMb(lab: Lab): Promise<number> {
  const { stdout } = await new Deno.Command("ip", {
    args: ["netns", "pids", lab.namespace("server")],
  }).output();
  for (const pid of new TextDecoder().decode(stdout).split("\n").filter(Boolean)) {
    const status = await Deno.readTextFile(`/proc/${pid}/status`).catch(() => "");
    const [, kb] = /^Name:\topenme\n[^]*^VmRSS:\s*(\d+) kB/m.exec(status) ?? [];
    if (kb !== undefined) return Number(kb) / 1024;
  }
  throw new Error("no openme runs in the lab");
}

if (import.meta.main) Deno.exit(await idleServers() ? 0 : 1);
