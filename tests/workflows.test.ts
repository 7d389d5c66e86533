/** The workflows, read by actionlint (are they right) and by zizmor (are they safe). */

import assert from "node:assert/strict";
import { parse } from "yaml";
import { ACTIONLINT, ZIZMOR } from "../scripts/checkers.ts";
import { keptPath } from "../scripts/package/pypi.ts";
import { Folder } from "./support/folder.ts";
import { lacks, unless } from "./support/programs.ts";

/** A step of a job, as far as it is read here. */
interface Step {
  readonly uses?: string;
  readonly with?: Readonly<Record<string, unknown>>;
}

const ROOT = new URL("../", import.meta.url).pathname;
const WORKFLOWS = ".github/workflows";

/** Runs a checker on paths; gives what it prints, which is nothing where it has no complaint. */
type Check = (paths: readonly string[], cwd?: string) => Promise<string>;

const actionlint: Check = async (paths, cwd = ROOT) => {
  // Without shellcheck where there is none: tests/shell.test.ts says so. pyflakes has nothing to read here.
  return await report(keptPath(ACTIONLINT), ["-no-color", "-pyflakes=", ...paths], cwd);
};
const zizmor: Check = async (paths, cwd = ROOT) => {
  return await report(
    keptPath(ZIZMOR),
    ["--offline", "--quiet", "--no-config", "--color=never", ...paths],
    cwd,
  );
};

async function report(program: string, args: string[], cwd: string): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(program, { args, cwd }).output();
  const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  return code === 0 ? "" : text || `exit code ${code}`;
}

async function test(
  program: { readonly name: string; readonly version: string },
  title: string,
  fn: () => Promise<void>,
): Promise<void> {
  const isThere = await Deno.stat(keptPath(program)).then(() => true, () => false);
  const missing = lacks("shellcheck") ??
    (isThere ? undefined : `needs ${program.name}: deno run -A scripts/checkers.ts`);
  Deno.test({
    ...unless(missing, title),
    fn: async () => {
      assert.equal(missing, undefined);
      await fn();
    },
  });
}

/** What a checker says of the release workflow with a change. */
async function changed(check: Check, from: string | RegExp, to: string): Promise<string> {
  await using folder = await Folder.create();
  const text = await Deno.readTextFile(`${ROOT}${WORKFLOWS}/release.yml`);
  const other = text.replace(from, to);
  assert.notEqual(other, text);
  await Deno.mkdir(folder.file(".github/workflows"), { recursive: true });
  await folder.write(`${WORKFLOWS}/release.yml`, other);
  return await check([`${WORKFLOWS}/release.yml`], folder.path);
}

const names = [...Deno.readDirSync(ROOT + WORKFLOWS)].map(({ name }) => `${WORKFLOWS}/${name}`);

Deno.test("no workflow keeps its token beside the sources, or may write where a job does not say so", async () => {
  let count = 0;
  for (const name of names) {
    const { permissions, jobs } = parse(await Deno.readTextFile(ROOT + name));
    for (const right of Object.values(permissions)) assert.equal(right, "read", name);
    for (const { steps } of Object.values<{ steps: Step[] }>(jobs)) {
      for (const step of steps) {
        if (!step.uses?.startsWith("actions/checkout@")) continue;
        assert.equal(step.with?.["persist-credentials"], false, name);
        count++;
      }
    }
  }
  assert.ok(count > 5);
});

await test(
  ACTIONLINT,
  "actionlint has nothing to say about the workflows, and would have",
  async () => {
    assert.ok(names.includes(`${WORKFLOWS}/release.yml`));
    assert.equal(await actionlint(names), "");
    assert.match(
      await changed(actionlint, "needs.tag.outputs.epoch", "needs.tag.outputs.time"),
      /"time"/,
    );
    assert.match(await changed(actionlint, "macos-15-intel", "macos-13.5"), /label "macos-13\.5"/);
    assert.match(
      await changed(actionlint, "git merge-base", "echo $GITHUB_REF; git merge-base"),
      /SC2086/,
    );
  },
);

await test(
  ZIZMOR,
  "zizmor has nothing to say about the workflows and the action, and would have",
  async () => {
    assert.equal(await zizmor([...names, "action.yml"]), "");
    const changes: [string | RegExp, string, RegExp][] = [
      [/checkout@[0-9a-f]{40} # v[0-9.]+/, "checkout@v6", /unpinned-uses/],
      ['notes "$GITHUB_REF_NAME"', 'notes "${{ github.ref_name }}"', /template-injection/],
    ];
    for (const [from, to, finding] of changes) {
      assert.match(await changed(zizmor, from, to), finding);
    }
  },
);
