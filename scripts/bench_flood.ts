/**
 * `deno task bench:flood`: good knocks accepted beside floods, in namespaces on this machine, with openme and, where they
 * are installed, its rivals; what the server costs meanwhile; and from the start of a client to the open port. Prints
 * tables in Markdown, and writes the plot of docs/performance.md where a path is given.
 */

import { IPV4, Lab } from "../tests/e2e/lab.ts";
import { OPENME } from "../tests/e2e/openme.ts";
import { Site } from "../tests/e2e/site.ts";
import { pause, within } from "../tests/e2e/wait.ts";
import { countLetIn, flood, goodKnocks, targetOf } from "../tests/attack/siege.ts";
import { FWKNOP_MODES, type Rival, startFwknop } from "./bench_rivals.ts";
import { plotOf, type Series } from "./bench_plot.ts";
import { print } from "./run.ts";

const SECONDS = 6;
const GOOD = 300;
/** A rival's knocks are processes of its client: fewer of them. */
const RIVAL_GOOD = 80;
const NAMES = ["alice", "bob", "carol"];
const FORGED = 10_000;
const ROUNDS = 10;

const ROWS = [
  { rate: 0, sources: 1 },
  { rate: 1000, sources: 1 },
  { rate: 10_000, sources: 1 },
  { rate: 100_000, sources: 1 },
  { rate: 1000, sources: FORGED },
  { rate: 5000, sources: FORGED },
  { rate: 20_000, sources: FORGED },
  { rate: 50_000, sources: FORGED },
] as const;

/** Without a tag, and for rivals: fewer rows. */
const FEW = ROWS.filter(({ rate, sources }) =>
  rate <= 1000 || (sources === 1 ? rate === 10_000 : rate <= 20_000)
);

const series: Series[] = [];

await floodOpenme("openme", ROWS, true);
await floodOpenme("openme, untagged", FEW.filter(({ sources }) => sources > 1), false);
for (const mode of FWKNOP_MODES) await floodFwknop(mode);
await coldClients();
if (Deno.args[0]) await Deno.writeTextFile(Deno.args[0], plotOf(series));
Deno.exit(0);

async function floodOpenme(
  name: string,
  rows: readonly typeof ROWS[number][],
  tagged: boolean,
): Promise<void> {
  heading(name);
  await using lab = await Lab.create();
  const points: { rate: number; sources: number; share: number }[] = [];
  for (const { rate, sources } of rows) {
    await using site = await Site.create(lab, {
      clients: Object.fromEntries(NAMES.map((each) => [each, ["22/tcp"]])),
      knockTimeout: "5m",
    });
    await using served = await site.serve();
    const good = await goodKnocks(site, NAMES, { count: GOOD, tagged });
    const lines = served.lines.length;
    const before = await usage(lab);
    const sent = await flood(lab, site, { rate, sources, seconds: SECONDS, good });
    const after = await usage(lab);
    await pause(300);
    const accepted = await countLetIn(lab, GOOD);
    row({
      rate,
      sources,
      sent: sent.junk / sent.seconds,
      accepted,
      of: GOOD,
      cpu: (after.cpuS - before.cpuS) / sent.seconds,
      mb: after.mb,
      lines: (served.lines.length - lines) / sent.seconds,
    });
    points.push({ rate, sources, share: accepted / GOOD });
    await served.stop();
  }
  series.push({ name, points });
}

async function floodFwknop(mode: typeof FWKNOP_MODES[number]): Promise<void> {
  const name = `fwknop, ${mode}`;
  await using lab = await Lab.create();
  const points: { rate: number; sources: number; share: number }[] = [];
  for (const { rate, sources } of FEW) {
    await using rival = await startFwknop(lab, mode);
    if (!rival) return print(`${name}: not measured, it is not installed`);
    if (points.length === 0) heading(name);
    await using site = await Site.create(lab, { clients: { alice: ["22/tcp"] } });
    const before = await usage(lab);
    const [sent] = await Promise.all([
      flood(lab, site, { rate, sources, seconds: SECONDS, good: [], port: rival.port }),
      knockAll(lab, rival),
    ]);
    const after = await usage(lab);
    await pause(500);
    const open = await rival.letIn();
    const accepted = Array.from({ length: RIVAL_GOOD }, (_, i) =>
      targetOf(i)).filter((each) => open.has(each)).length;
    row({
      rate,
      sources,
      sent: sent.junk / sent.seconds,
      accepted,
      of: RIVAL_GOOD,
      cpu: (after.cpuS - before.cpuS) / sent.seconds,
      mb: after.mb,
      lines: NaN,
    });
    points.push({ rate, sources, share: accepted / RIVAL_GOOD });
  }
  series.push({ name, points });
}

async function knockAll(lab: Lab, rival: Rival): Promise<void> {
  const startMs = performance.now();
  for (let i = 0; i < RIVAL_GOOD; i++) {
    await pause(startMs + 1000 + i * (SECONDS - 2) * 1000 / RIVAL_GOOD - performance.now());
    await lab.output("client", rival.knock(targetOf(i)));
  }
}

/** From the start of the client's process to the first connection. */
async function coldClients(): Promise<void> {
  print(`\n### From the start of the client to the first connection, ${ROUNDS} times, ms\n`);
  print("| client | p50 | p95 |\n| --- | ---: | ---: |");
  await using lab = await Lab.create();
  await (await lab.agent("server")).listen({ tcp: [22] });
  {
    await using site = await Site.create(lab, {
      clients: { alice: ["22/tcp"] },
      knockTimeout: "1s",
    });
    await using served = await site.serve();
    const command = [...OPENME, "knock", "--client-config", `${site.dir}/alice.yaml`];
    const compiled = OPENME.length === 1 ? "compiled" : "from source";
    await latencies(lab, `openme, ${compiled}`, command, () => pause(1300));
    await served.stop();
  }
  for (const mode of FWKNOP_MODES) {
    await using rival = await startFwknop(lab, mode);
    if (!rival) continue;
    await latencies(lab, rival.name, rival.knock(IPV4.client), async () => {
      await lab.run("server", ["iptables", "-F", "FWKNOP_INPUT"]);
    });
  }
}

async function latencies(
  lab: Lab,
  name: string,
  command: string[],
  close: () => Promise<void>,
): Promise<void> {
  const script = new URL("./bench_prober.ts", import.meta.url).pathname;
  const times: number[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    const out = await within(
      lab.run("client", [
        Deno.execPath(),
        "run",
        "--no-config",
        "--no-lock",
        "-A",
        script,
        IPV4.server,
        "22",
        ...command,
      ]),
      15_000,
      "NaN",
    );
    times.push(Number(out));
    await close();
  }
  const good = times.filter(Number.isFinite).sort((a, b) => a - b);
  const at = (share: number) => (good[Math.floor(share * (good.length - 1))] ?? NaN).toFixed(1);
  const missed = ROUNDS - good.length;
  print(`| ${name}${missed ? ` (${missed} never opened)` : ""} | ${at(0.5)} | ${at(0.95)} |`);
}

/** Processor seconds and memory of the largest process in the server's namespace: the daemon. */
async function usage(lab: Lab): Promise<{ cpuS: number; mb: number }> {
  const { stdout } = await new Deno.Command("ip", {
    args: ["netns", "pids", lab.namespace("server")],
  }).output();
  let [cpuS, mb] = [0, 0];
  for (const pid of new TextDecoder().decode(stdout).split("\n").filter(Boolean)) {
    const stat = await Deno.readTextFile(`/proc/${pid}/stat`).catch(() => "");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (fields.length < 22) continue;
    cpuS += (Number(fields[11]) + Number(fields[12])) / 100;
    mb = Math.max(mb, Number(fields[21]) * 4096 / 2 ** 20);
  }
  return { cpuS, mb };
}

function heading(name: string): void {
  print(`\n### ${name}\n`);
  print(
    "| junk/s wanted | sources | junk/s sent | good accepted | of | processor, cores | memory, MB | log lines/s |",
  );
  print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
}

function row(
  { rate, sources, sent, accepted, of, cpu, mb, lines }: {
    rate: number;
    sources: number;
    sent: number;
    accepted: number;
    of: number;
    cpu: number;
    mb: number;
    lines: number;
  },
): void {
  const shown = Number.isNaN(lines) ? "" : lines.toFixed(0);
  print(
    `| ${rate} | ${sources} | ${sent.toFixed(0)} | ${accepted} | ${of} | ${cpu.toFixed(2)} | ${
      mb.toFixed(0)
    } | ${shown} |`,
  );
}
