/**
 * `deno task fuzz [SECONDS]`: inputs that find new ground are kept and changed further. What counts as new ground is what
 * V8 counts: its precise coverage, through the inspector, says which blocks of `lib/` an input has run for the first
 * time. Four subjects in turn: the gate, the configuration, the state file, the command line. `OPENME_FUZZ_SEED` repeats
 * a run.
 */

import { Session } from "node:inspector";
import { type FuzzSubject, fuzzSubjects } from "../tests/attack/fuzz_subjects.ts";
import { Random } from "../tests/attack/random.ts";
import { print } from "./run.ts";

const SECONDS = Number(Deno.args[0] ?? 60);
const SEED = Number(
  Deno.env.get("OPENME_FUZZ_SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0],
);
/** Coverage is read after so many inputs: reading it costs more than running them. */
const BATCH = 32;
const CORPUS = 400;

interface FunctionCoverage {
  readonly ranges: readonly { startOffset: number; endOffset: number; count: number }[];
}
interface ScriptCoverage {
  readonly url: string;
  readonly functions: readonly FunctionCoverage[];
}

/** Blocks of `lib/` that have run since this was last asked. */
class Coverage {
  readonly #session = new Session();
  readonly seen = new Set<string>();

  async start(): Promise<void> {
    this.#session.connect();
    await this.#post("Profiler.enable");
    await this.#post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
  }

  /** How many blocks were new. */
  async takeNew(): Promise<number> {
    const { result } = await this.#post("Profiler.takePreciseCoverage") as {
      result: readonly ScriptCoverage[];
    };
    const before = this.seen.size;
    for (const { url, functions } of result) {
      if (!url.includes("/lib/")) continue;
      for (const { ranges } of functions) {
        for (const { startOffset, endOffset, count } of ranges) {
          // How often, roughly: ten times through a loop is not what once is.
          if (count > 0) {
            this.seen.add(
              `${url}:${startOffset}-${endOffset}:${Math.min(6, Math.floor(Math.log2(count) / 2))}`,
            );
          }
        }
      }
    }
    return this.seen.size - before;
  }

  #post(method: string, params: object = {}): Promise<unknown> {
    return new Promise((resolve, reject) =>
      this.#session.post(
        method,
        params,
        (error: Error | null, result?: object) => error ? reject(error) : resolve(result),
      )
    );
  }
}

function mutate(input: Uint8Array, { seeds, words }: FuzzSubject, random: Random): Uint8Array {
  let bytes = [...input];
  for (let changes = 1 + random.below(4); changes > 0; changes--) {
    const at = random.below(bytes.length + 1);
    switch (random.below(8)) {
      case 0:
        if (at < bytes.length) bytes[at] = bytes[at]! ^ (1 << random.below(8));
        break;
      case 1:
        if (at < bytes.length) bytes[at] = [0, 1, 0x7f, 0x80, 0xff, 10, 32, 58][random.below(8)]!;
        break;
      case 2:
        bytes.splice(at, 1 + random.below(8));
        break;
      case 3:
        bytes.splice(at, 0, ...bytes.slice(at, at + 1 + random.below(32)));
        break;
      case 4: {
        const other = seeds[random.below(seeds.length)]!;
        const from = random.below(other.length + 1);
        bytes.splice(at, random.below(32), ...other.subarray(from, from + random.below(64)));
        break;
      }
      case 5:
        bytes.splice(at, 0, ...random.bytes(1 + random.below(8)));
        break;
      default:
        if (words.length > 0) {
          const word = new TextEncoder().encode(words[random.below(words.length)]!);
          bytes.splice(at, random.below(2) * word.length, ...word);
        }
    }
    if (bytes.length > 4096) bytes = bytes.slice(0, 4096);
  }
  return Uint8Array.from(bytes);
}

async function fuzz(subject: FuzzSubject, seconds: number, coverage: Coverage, random: Random) {
  const corpus = [...subject.seeds];
  const endMs = performance.now() + seconds * 1000;
  let [runs, found] = [0, 0];
  for (const seed of corpus) await subject.run(seed);
  await coverage.takeNew();
  while (performance.now() < endMs) {
    const batch = Array.from(
      { length: BATCH },
      () => mutate(corpus[random.below(corpus.length)]!, subject, random),
    );
    for (const input of batch) {
      runs++;
      try {
        await subject.run(input);
      } catch (error) {
        const path = await Deno.makeTempFile({ prefix: `openme-fuzz-${subject.name}-` });
        await Deno.writeFile(path, input);
        print(`fuzz: ${subject.name}: ${error instanceof Error ? error.stack : error}`);
        print(`fuzz: seed ${SEED}, the input is in ${path}`);
        Deno.exit(1);
      }
    }
    // Who of the batch it was is not worth finding out: all of it goes in, and what is useless is pushed out.
    if (await coverage.takeNew() > 0) {
      found++;
      corpus.push(...batch);
      while (corpus.length > CORPUS) {
        corpus.splice(subject.seeds.length + random.below(corpus.length - subject.seeds.length), 1);
      }
    }
  }
  print(`fuzz: ${subject.name}: ${runs} inputs, ${found} batches found new ground, nothing broke`);
}

const random = new Random(SEED);
const coverage = new Coverage();
await coverage.start();
print(`fuzz: seed ${SEED}, ${SECONDS} s`);
const subjects = await fuzzSubjects(random);
for (const subject of subjects) await fuzz(subject, SECONDS / subjects.length, coverage, random);
print(`fuzz: ${coverage.seen.size} blocks of lib/ were reached`);
Deno.exit(0);
