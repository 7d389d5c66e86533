/** Every shell script of the repository, read by shellcheck. */

import assert from "node:assert/strict";
import { testWith } from "./support/programs.ts";

const ROOT = new URL("../", import.meta.url).pathname;
/** The folders that have scripts. */
const FOLDERS = [".ci", "packaging", "scripts"];
/** The first line of a script: for a shell, or for what starts services on OpenWrt and Alpine. */
const FIRST_LINE = /^#!\S*\b(?:env )?(sh|bash|openrc-run)\b(?: \/etc\/rc\.common)?/;

/** The scripts below a folder, each with what shellcheck has to be told. */
async function scriptsBelow(folder: string): Promise<{ path: string; flags: string[] }[]> {
  const found = [];
  for await (const { name, isDirectory } of Deno.readDir(ROOT + folder)) {
    const path = `${folder}/${name}`;
    if (isDirectory) {
      found.push(...await scriptsBelow(path));
      continue;
    }
    const [line] = (await Deno.readTextFile(ROOT + path)).split("\n", 1);
    const first = FIRST_LINE.exec(line!);
    if (!first && !path.endsWith(".sh")) continue;
    const isService = /rc\.common|openrc-run/.test(line!);
    found.push({
      path,
      // SC1091: what a script takes in is read by itself. SC2034: what a service sets is read by what runs it.
      flags: [`--shell=${first?.[1] === "bash" ? "bash" : "sh"}`, "--exclude=SC1091"]
        .concat(isService ? ["--exclude=SC2034"] : []),
    });
  }
  return found.sort((a, b) => a.path < b.path ? -1 : 1);
}

testWith(["shellcheck"], "shellcheck has nothing to say about any shell script", async () => {
  const scripts = (await Promise.all(FOLDERS.map(scriptsBelow))).flat();
  const paths = scripts.map(({ path }) => path);
  for (const path of [".ci/run", "packaging/install.sh", "scripts/setup/enter.sh"]) {
    assert.ok(paths.includes(path), path);
  }
  for (const { path, flags } of scripts) {
    const { stdout, stderr } = await new Deno.Command("shellcheck", {
      args: [...flags, "--norc", path],
      cwd: ROOT,
    }).output();
    const decoder = new TextDecoder();
    assert.equal(decoder.decode(stdout) + decoder.decode(stderr), "");
  }
});
