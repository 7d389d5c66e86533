/**
 * `deno task bench:flood [--only TEXT] [SECTION…] [PLOT.svg]`: openme beside the field, in namespaces on this machine.
 * Names what is not installed. `--only` runs the floods of openme whose name contains the text, 22 s each: `--only
 * "openme: 5,000/s"`, or `--only openme` for all of them. Exits with 1 where openme misses a bound of `bench_junk.ts`.
 */

import { parseArgs } from "node:util";
import {
  aHundredAtOnce,
  aThousandKeys,
  coldClients,
  datagramToOpen,
  startAndSize,
} from "./bench_field.ts";
import { floods } from "./bench_junk.ts";
import { plotOf } from "./bench_plot.ts";
import { fwknop } from "./rivals/fwknop.ts";
import { knockd } from "./rivals/knockd.ts";
import { letmein } from "./rivals/letmein.ts";
import { type Contender, missingPrograms } from "./rivals/rival.ts";
import { print } from "./run.ts";

const { values: { only }, positionals } = parseArgs({
  args: Deno.args,
  options: { only: { type: "string" } },
  allowPositionals: true,
});
const svg = positionals.find((each) => each.endsWith(".svg"));
const wanted = positionals.filter((each) => each !== svg);

print(
  `Deno ${Deno.version.deno}, ${navigator.hardwareConcurrency} cores, load ${
    Deno.loadavg()[0]!.toFixed(1)
  }`,
);
const field: Contender[] = [];
if (only === undefined) {
  for (const each of [fwknop("pcap"), fwknop("udp server"), knockd, letmein]) {
    const missing = await missingPrograms(each);
    if (missing.length === 0) field.push(each);
    else print(`${each.name}: not measured, ${missing.join(", ")} not installed`);
  }
}

const missed: string[] = [];
const SECTIONS: Record<string, () => Promise<void>> = {
  flood: async () => {
    const done = await floods(field, only ?? "");
    missed.push(...done.missed);
    if (svg) await Deno.writeTextFile(svg, plotOf(done.series));
  },
  cold: () => coldClients(field),
  datagram: () => datagramToOpen(field),
  hundred: () => aHundredAtOnce(field),
  keys: () => aThousandKeys(field),
  size: () => startAndSize(field),
};
const sections = only !== undefined ? ["flood"] : wanted.length > 0 ? wanted : undefined;
for (const [name, run] of Object.entries(SECTIONS)) {
  if (sections?.includes(name) ?? true) await run();
}
for (const each of missed) print(`missed: ${each}`);
Deno.exit(missed.length === 0 ? 0 : 1);
