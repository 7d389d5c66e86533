/**
 * packaging/install.sh with the archives of `deno task package`: the ordinary one on this machine, the portable one in a
 * root of busybox. Run by name, with OPENME_PACKAGES, as .ci/run does.
 */

import assert from "node:assert/strict";
import { VERSION } from "../../lib/values/version.ts";
import { NEEDED, SCRIPT, Site } from "../install/site.ts";
import { findProgram } from "../support/programs.ts";
import { BusyboxRoot, ENTER } from "./busybox_root.ts";
import { NAMES, packagePath, testPackages } from "./dist.ts";

const PORTABLE = `openme-${VERSION}-linux-portable-${Deno.build.arch}.tar.xz`;

/** Registers a test with a place that has one of the archives. */
async function test(
  name: string,
  programs: string[],
  fn: (site: Site) => Promise<void>,
): Promise<void> {
  await testPackages([...NEEDED, ...programs], `install.sh installs ${name}`, async () => {
    await using site = await Site.create();
    site.releases.publish(VERSION, { [name]: await Deno.readFile(packagePath(name)) });
    await fn(site);
  });
}

/** Runs a program to its end, with a script on its standard input. */
async function output([program, ...args]: readonly string[], input = ""): Promise<string> {
  const child = new Deno.Command(program!, {
    args,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

await test(NAMES.tar, [], async (site) => {
  const [where] = await site.surroundings();
  const { code, stderr } = await site.run(where!);
  assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
  assert.deepEqual(await site.left(), ["prefix/bin", "prefix/bin/openme"]);
  assert.equal(await output([`${site.prefix}/bin/openme`, "--version"]), `openme ${VERSION}\n`);
});

await test(PORTABLE, ["unshare", "mount"], async (site) => {
  await using root = await BusyboxRoot.create();
  const enter = [findProgram("unshare")!, "-m", "sh", "-c", ENTER, root.path];
  const told = await output(
    [...enter, "sh", "-s", "--", "--base-url", site.releases.url],
    SCRIPT,
  );
  assert.match(told, /^openme \S+ is now \/usr\/bin\/openme\./);
  assert.equal(await output([...enter, "openme", "--version"]), `openme ${VERSION}\n`);
  assert.deepEqual([...Deno.readDirSync(`${root.path}/tmp`)], []);
  assert.deepEqual([...Deno.readDirSync(`${root.path}/usr/lib`)].map((each) => each.name), [
    "openme",
  ]);
});
