/** The systemd units: systemd reads them without a complaint, and finds them confined. */

import assert from "node:assert/strict";
import { LOOKUP_PATHS } from "../lib/fleet/lookup_files.ts";
import { UNITS } from "../lib/cli/setup/steps.ts";
import { testWith } from "./support/programs.ts";

const SERVICES = UNITS.filter((name) => name.endsWith(".service"));
/** systemd's own scale, 0 to 10: below 5 is "OK", and a unit without any confinement gets 9.6. */
const MOST_EXPOSED = 2.0;

async function run(program: string, args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command(program, { args }).output();
  return { code, text: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
}

/** The units with a program that is there, in a folder of their own. */
async function withUnits(body: (paths: string[]) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "openme-units-" });
  try {
    const paths = await Promise.all(UNITS.map(async (name) => {
      const text = await Deno.readTextFile(new URL(`../packaging/${name}`, import.meta.url));
      await Deno.writeTextFile(
        `${dir}/${name}`,
        text.replaceAll(/^(Exec\w+=)openme\b/gm, "$1true"),
      );
      return `${dir}/${name}`;
    }));
    await body(paths);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

function test(title: string, fn: () => Promise<void>): void {
  testWith(["systemd-analyze"], title, fn);
}

test("systemd-analyze verify has nothing to say about the units", () =>
  withUnits(async (paths) => {
    assert.deepEqual(await run("systemd-analyze", ["verify", ...paths]), { code: 0, text: "" });
  }));

test("systemd-analyze security finds the units confined", () =>
  withUnits(async (paths) => {
    for (const path of paths.filter((path) => path.endsWith(".service"))) {
      const args = ["security", "--offline=true", `--threshold=${MOST_EXPOSED * 10}`, path];
      const { code, text } = await run("systemd-analyze", args);
      assert.equal(code, 0, text);
      assert.match(text, /Overall exposure level/);
    }
  }));

Deno.test("the fleet's process has the files by which names are looked up, and no other of their folder", async () => {
  const unit = new URL("../packaging/openme-fleet@.service", import.meta.url);
  const text = await Deno.readTextFile(unit);
  const lines = [...text.matchAll(/^BindReadOnlyPaths=(.*)$/gm)].flatMap(([, paths]) =>
    paths!.split(" ")
  );
  assert.deepEqual(LOOKUP_PATHS.filter((path) => !lines.includes(`-${path}`)), []);
  assert.deepEqual(lines.filter((path) => !/^-\/etc\/[\w.-]+$/.test(path)), []);
  assert.match(text, /^TemporaryFileSystem=\/etc:ro /m);
});

test("the units run what openme has", async () => {
  const { COMMANDS, HIDDEN_COMMANDS } = await import("../lib/cli/catalog.ts");
  const known = { ...COMMANDS, ...HIDDEN_COMMANDS };
  for (const name of SERVICES) {
    const text = await Deno.readTextFile(new URL(`../packaging/${name}`, import.meta.url));
    const commands = [...text.matchAll(/^Exec\w+=openme (\w+)$/gm)];
    assert.ok(commands.length > 0);
    for (const [, command] of commands) assert.ok(Object.hasOwn(known, command!), command);
  }
});
