/**
 * packaging/install.sh with the archives of `deno task package`: the ordinary one on this machine, the portable one in a
 * root of busybox. Run by name, with OPENME_PACKAGES, as .ci/run does.
 */

import assert from "node:assert/strict";
import { VERSION } from "../../lib/values/version.ts";
import { NEEDED, SCRIPT, Site } from "../install/site.ts";
import { findProgram, lacks, type ProgramName, unless } from "../support/programs.ts";
import { BusyboxRoot, ENTER } from "./busybox_root.ts";

const folder = Deno.env.get("OPENME_PACKAGES");
const name = (kind: string) => `openme-${VERSION}-linux-${kind}${Deno.build.arch}.tar.xz`;

/** Registers a test with the place that has one of the archives. */
function test(kind: string, programs: ProgramName[], fn: (site: Site) => Promise<void>): void {
  const missing = folder === undefined ? "needs OPENME_PACKAGES" : lacks(...NEEDED, ...programs);
  Deno.test({
    ...unless(missing, `install.sh installs ${name(kind)}`),
    fn: async () => {
      assert.equal(missing, undefined);
      await using site = await Site.create();
      const archive = await Deno.readFile(`${folder}/${name(kind)}`);
      site.releases.publish(VERSION, { [name(kind)]: archive });
      await fn(site);
    },
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

test("", [], async (site) => {
  const [where] = await site.surroundings();
  const { code, stderr } = await site.run(where!);
  assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
  assert.deepEqual(await site.left(), ["prefix/bin", "prefix/bin/openme"]);
  assert.equal(await output([`${site.prefix}/bin/openme`, "--version"]), `openme ${VERSION}\n`);
});

test("portable-", ["unshare", "mount"], async (site) => {
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
