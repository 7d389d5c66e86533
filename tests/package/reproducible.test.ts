/**
 * Packages of the same program are the same bytes, made in another folder, at another time and under another umask. The
 * program itself is compared by .ci/run, which compiles it twice.
 */

import assert from "node:assert/strict";
import { basename } from "node:path";
import { makeArch, makeDeb, makeRpm } from "../../scripts/package/nfpm.ts";
import { make as makeNpm } from "../../scripts/package/npm.ts";
import { sha256 } from "../../scripts/package/sums.ts";
import { make as makeTarball } from "../../scripts/package/tarball.ts";
import { testPackages } from "./dist.ts";

/** Stands in for openme, of which only the size matters here. */
const PROGRAM = '#!/bin/sh\necho "what $* prints"\n';

/** The sums of all kinds of packages by name. */
async function sumsOf(umask: number): Promise<Record<string, string>> {
  const dist = await Deno.makeTempDir({ prefix: "openme-dist-" });
  const before = Deno.umask(umask);
  try {
    const program = `${dist}/program`;
    await Deno.writeTextFile(program, PROGRAM, { mode: 0o755 });
    const options = {
      ...{ program, dist, version: "1.2.3", architecture: Deno.build.arch },
      epochSeconds: 1_700_000_000,
    };
    const sums: Record<string, string> = {};
    for (const make of [makeDeb, makeRpm, makeArch, makeTarball, makeNpm]) {
      for (const path of await make(options)) sums[basename(path)] = await sha256(path);
    }
    return sums;
  } finally {
    Deno.umask(before);
    await Deno.remove(dist, { recursive: true });
  }
}

await testPackages(["tar", "xz", "gzip"], "packages made twice are the same bytes", async () => {
  const first = await sumsOf(0o022);
  assert.equal(Object.keys(first).length, 5);
  await new Promise((resolve) => setTimeout(resolve, 1100)); // times of files are in seconds
  assert.deepEqual(await sumsOf(0o077), first);
});
