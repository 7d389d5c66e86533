/**
 * Good knocks beside junk: how many each daemon accepts, and the processor time and memory that it takes. openme has to
 * keep bounds here; the bench fails where it does not.
 */

import { flood, goodKnocks, watchedStamp } from "../tests/attack/siege.ts";
import { Lab } from "../tests/e2e/lab.ts";
import { pause } from "../tests/support/wait.ts";
import { usageDuring } from "./bench_lab.ts";
import type { Series } from "./bench_plot.ts";
import { NAMES, startOpenme } from "./rivals/openme.ts";
import { type Contender, DOORS, type Rival } from "./rivals/rival.ts";
import { print } from "./run.ts";

/** Junk of the right size for openme: random bytes after the version. */
interface Junk {
  readonly name: string;
  /** Datagrams a second. */
  readonly rate: number;
  /** How many source addresses they claim to come from. */
  readonly sources: number;
  /** With a valid stamp and a wrong tag, as an observer of knocks can send it. */
  readonly stamped?: true;
}

const FORGED = 10_000;
const ALL_JUNK: readonly Junk[] = [
  { name: "none", rate: 0, sources: 1 },
  { name: "100,000/s from one source", rate: 100_000, sources: 1 },
  { name: "5,000/s forged", rate: 5000, sources: FORGED },
  { name: "20,000/s forged", rate: 20_000, sources: FORGED },
  { name: "50,000/s forged", rate: 50_000, sources: FORGED },
  { name: "100,000/s forged", rate: 100_000, sources: FORGED },
  { name: "20,000/s stamped", rate: 20_000, sources: FORGED, stamped: true },
];

/** A daemon, and the kind of good knocks that it gets. */
interface Subject {
  readonly name: string;
  /** Whether this junk shows something of it. */
  readonly meets: (junk: Junk) => boolean;
  readonly flood: (lab: Lab, junk: Junk) => Promise<Result>;
}

/** What one flood showed. */
interface Result {
  /** Good knocks, of `DOORS`. */
  readonly accepted: number;
  /** Junk datagrams a second that went out. */
  readonly sent: number;
  /** Processor time for each second of the flood. */
  readonly cores: number;
  /** The most memory, MB. */
  readonly mb: number;
  /** Log lines a second, where there is a log to read. */
  readonly lines?: number;
}

/** What openme keeps: at least so many accepted, at most so many cores and MB. */
type Bound = Partial<Pick<Result, "accepted" | "cores" | "mb">>;

const BOUNDS: Readonly<Record<string, Bound>> = {
  "openme: 5,000/s forged": { cores: 0.6 },
  "openme: 100,000/s forged": { accepted: 299, cores: 0.6, mb: 130 },
  "openme: 20,000/s stamped": { accepted: 297 },
  "openme, untagged: 5,000/s forged": { accepted: 285, cores: 0.6 },
  "openme, only stamped: 100,000/s forged": { accepted: 299, cores: 0.15 },
};

/** How long a flood is, s: long, as the good knocks of other programs are processes, which take processor time too. */
const SECONDS = 17;

/**
 * Sends every kind of junk whose name, such as "openme: 5,000/s forged", contains `only`, to openme and to the field.
 * Prints tables and returns what the plot shows, and the bounds that openme missed.
 */
export async function floods(
  field: readonly Contender[],
  only: string,
): Promise<{ readonly series: readonly Series[]; readonly missed: readonly string[] }> {
  const subjects = [
    openmeWith("openme", { tagged: true, meets: () => true }),
    openmeWith("openme, untagged", { tagged: false, meets: isPlotted }),
    openmeWith("openme, only stamped", {
      tagged: true,
      meets: (junk) => isPlotted(junk) && [0, 100_000].includes(junk.rate),
      server: ["only_stamped_knocks: true"],
    }),
    ...field.map(rival),
  ];
  const results: Results = new Map();
  print(`\n| daemon: junk | junk/s sent | accepted of ${DOORS} | cores | MB | log lines/s |`);
  print("| --- | ---: | ---: | ---: | ---: | ---: |");
  for (const subject of subjects) {
    const wanted = ALL_JUNK.filter((junk) =>
      subject.meets(junk) && nameOf(subject, junk).includes(only)
    );
    if (wanted.length === 0) continue;
    await using lab = await Lab.create();
    for (const junk of wanted) {
      const result = await subject.flood(lab, junk);
      const { accepted, sent, lines } = result;
      const name = nameOf(subject, junk);
      const cells = [name, sent.toFixed(0), accepted, taken(result), lines?.toFixed(0) ?? ""];
      print(`| ${cells.join(" | ")} |`);
      results.set(name, result);
    }
  }
  if (only === "") {
    printTable(`Accepted of ${DOORS}`, subjects, results, ({ accepted }) => String(accepted));
    printTable("Cores and MB", subjects, results, (result) => taken(result, ", "));
  }
  return {
    series: subjects.map((subject) => seriesOf(subject, results)),
    missed: [...results].flatMap(([name, result]) => flaws(name, result)),
  };
}

/** By the name of the daemon and its junk. */
type Results = Map<string, Result>;

function nameOf(subject: Subject, junk: Junk): string {
  return `${subject.name}: ${junk.name}`;
}

/** Junk by daemon, in Markdown. */
function printTable(
  title: string,
  subjects: readonly Subject[],
  results: Results,
  cellOf: (result: Result) => string,
): void {
  print(`\n${title}:\n\n| junk | ${subjects.map(({ name }) => name).join(" | ")} |`);
  print(`| --- |${" ---: |".repeat(subjects.length)}`);
  for (const junk of ALL_JUNK) {
    const cells = subjects.map((subject) => {
      const result = results.get(nameOf(subject, junk));
      return result ? cellOf(result) : "";
    });
    print(`| ${[junk.name, ...cells].join(" | ")} |`);
  }
}

/** Junk from forged sources without a stamp, and none. */
function isPlotted({ rate, sources, stamped }: Junk): boolean {
  return rate === 0 || sources > 1 && !stamped;
}

/** What the plot shows of a daemon. */
function seriesOf(subject: Subject, results: Results): Series {
  const points: Series["points"][number][] = [];
  for (const junk of ALL_JUNK) {
    const result = results.get(nameOf(subject, junk));
    if (!result || !isPlotted(junk)) continue;
    points.push({ ...result, rate: junk.rate, share: result.accepted / DOORS });
  }
  return { name: subject.name, points };
}

function taken({ cores, mb }: Result, between = " | "): string {
  return `${cores.toFixed(2)}${between}${mb.toFixed(0)}`;
}

/** Where a result is not within its bound, with both figures. */
function flaws(name: string, result: Result): string[] {
  const { accepted = 0, cores = Infinity, mb = Infinity } = BOUNDS[name] ?? {};
  return [
    ...(result.accepted < accepted ? [`${result.accepted} accepted, not ${accepted}`] : []),
    ...(result.cores > cores ? [`${result.cores.toFixed(2)} cores, more than ${cores}`] : []),
    ...(result.mb > mb ? [`${result.mb.toFixed(0)} MB, more than ${mb}`] : []),
  ].map((flaw) => `${name}: ${flaw}`);
}

/** openme, with knocks of its own client, or of deployed clients, which have neither stamp nor tag. */
function openmeWith(
  name: string,
  { tagged, meets, server = [] }: Pick<Subject, "meets"> & {
    readonly tagged: boolean;
    readonly server?: readonly string[];
  },
): Subject {
  return {
    name,
    meets,
    flood: async (lab, { rate, sources, stamped }) => {
      await using rival = await startOpenme(lab, { server });
      const good = await goodKnocks(rival.site, NAMES, { count: DOORS, tagged });
      const stamp = stamped ? await watchedStamp(rival.site, NAMES[0]) : undefined;
      const linesBefore = rival.served.lines.length;
      const { done, cpuS, peakMb } = await usageDuring(
        lab,
        () => flood(lab, rival.site, { rate, sources, stamp, seconds: SECONDS, good }),
      );
      const { junk, seconds } = done;
      const lines = (rival.served.lines.length - linesBefore) / seconds;
      const accepted = await settled(rival);
      await rival.served.stop();
      return { accepted, sent: junk / seconds, cores: cpuS / seconds, mb: peakMb, lines };
    },
  };
}

function rival(contender: Contender): Subject {
  return {
    name: contender.name,
    meets: isPlotted,
    flood: (lab, junk) => floodRival(lab, contender, junk),
  };
}

async function floodRival(
  lab: Lab,
  contender: Contender,
  { rate, sources }: Junk,
): Promise<Result> {
  await using rival = await contender.start(lab);
  const dir = await Deno.makeTempDir({ prefix: "openme-bench-" });
  try {
    const { done: [{ junk, seconds }], cpuS, peakMb } = await usageDuring(lab, () =>
      Promise.all([
        flood(lab, { dir }, { rate, sources, seconds: SECONDS, good: [], port: rival.port }),
        knockAll(lab, rival),
      ]));
    const accepted = await settled(rival);
    return { accepted, sent: junk / seconds, cores: cpuS / seconds, mb: peakMb };
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

/** Knocks once for each door, evenly over the flood. Each client is a process; none waits for another. */
async function knockAll(lab: Lab, rival: Rival): Promise<void> {
  const startMs = performance.now();
  const running: Promise<unknown>[] = [];
  for (let i = 0; i < DOORS; i++) {
    await pause(startMs + 1000 + i * (SECONDS - 2) * 1000 / DOORS - performance.now());
    running.push(lab.output("client", rival.knock(i)));
  }
  await Promise.all(running);
}

/** How many doors are open, once their number no longer changes. */
async function settled(rival: Rival): Promise<number> {
  let last = -1;
  for (let open = await rival.opened(); open !== last; open = await rival.opened()) {
    last = open;
    await pause(1500);
  }
  return last;
}
