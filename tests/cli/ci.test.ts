/** The jobs of README, docs/ci.md and action.yml, run as far as a machine without those services can. */

import assert from "node:assert/strict";
import { parse } from "yaml";
import { testWith } from "../support/programs.ts";
import { ACTION, actionSteps } from "../documents/action.ts";
import { blocksUnder, ROOT } from "../documents/blocks.ts";
import { must } from "../support/knocks.ts";
import { Desk } from "./desk.ts";
import { openme } from "./program.ts";

const DOC = await Deno.readTextFile(`${ROOT}docs/ci.md`);

/** What one text tells people to put where. */
interface Told {
  readonly where: string;
  /** The steps of a workflow. */
  readonly github: { uses?: string; with?: Record<string, string>; run?: string }[];
  readonly gitlab: string[];
  readonly crontab: string;
  readonly service: string;
  readonly timer: string;
}

/** The texts of the blocks under a heading. */
async function textsUnder(document: string, heading: string): Promise<string[]> {
  const blocks = await blocksUnder({ document, heading, test: import.meta.url });
  return blocks.map(({ text }) => text);
}

function toldBy(where: string, blocks: readonly string[]): Told {
  assert.equal(blocks.length, 5, where);
  const [github, gitlab, crontab, service, timer] = blocks as [
    string,
    string,
    string,
    string,
    string,
  ];
  const workflow = parse(github);
  return {
    where,
    github: workflow.steps ?? workflow.jobs.deploy.steps,
    gitlab: parse(gitlab).deploy.script,
    crontab,
    service,
    timer,
  };
}

/** The README has them all in one section; the detailed text has a section for each. */
const TOLD: readonly Told[] = [
  toldBy("README.md", await textsUnder("README.md", "In CI and cron")),
  toldBy("docs/ci.md", [
    ...await textsUnder("docs/ci.md", "GitHub Actions"),
    ...await textsUnder("docs/ci.md", "GitLab CI"),
    ...await textsUnder("docs/ci.md", "cron"),
    ...await textsUnder("docs/ci.md", "systemd"),
  ]),
];

const RSYNC = "rsync -a site/ deploy@vps.example.org:/srv/site/\n";

Deno.test("the GitHub action knocks, quietly, with the profile that it is given", async () => {
  await using desk = await Desk.create();
  const [prepare, knock] = actionSteps();
  const names = Object.keys(ACTION.inputs);
  const path = desk.folder.path;
  for (const _ of [1, 2]) { // two uses in one job
    const prepared = await desk.run(["bash", "-e", "-c", prepare.run], prepare.env({}, path));
    assert.deepEqual(prepared, { code: 0, stdout: "", stderr: "", knocks: 0 });
  }
  const run = (inputs: Record<string, string>) =>
    desk.run(["bash", "-e", "-c", knock.run], knock.env(inputs, path));
  const quiet = { code: 0, stdout: "", stderr: "", knocks: 1 };
  assert.deepEqual(await run({ profile: desk.profiles("home") }), quiet);
  assert.deepEqual(
    await run({ profile: desk.profiles("a", "b"), name: "b", ip: "192.0.2.7" }),
    quiet,
  );
  const failed = await run({ profile: desk.profiles("a", "b"), name: "$(touch pwned)" });
  assert.equal(failed.code, 1);
  assert.equal(failed.knocks, 0);
  assert.match(
    failed.stderr,
    /^openme: error: cannot load "\$OPENME_PROFILE": profiles: there is no profile "\$\(touch pwned\)"; there is a, b\n/,
  );
  assert.deepEqual(await run({ profile: "" }), {
    code: 1,
    stdout: "",
    stderr: "openme: error: OPENME_PROFILE is set, but there is nothing in it\n" +
      "openme: hint: is the secret there? A CI job of a fork, or of an unprotected branch, often gets none\n",
    knocks: 0,
  });
  assert.equal((await run({ profile: desk.profiles("a"), ip: "nowhere" })).code, 2);
  assert.ok(!(await desk.folder.names()).includes("pwned"));
  // The workflows that people are told to write: the action's inputs, then what comes after it.
  for (const { where, github } of TOLD) {
    const [used, then] = github.slice(-2);
    assert.match(must(used).uses ?? "", /^OWNER\/openme@COMMIT$/, where);
    const inputs = must(must(used).with);
    assert.ok(Object.keys(inputs).every((name) => names.includes(name)), where);
    const profile = desk.profiles("home");
    const secret = "${{ secrets.OPENME_PROFILE }}";
    const filled = Object.entries(inputs).map((
      [name, text],
    ) => [name, text.replace(secret, profile)]);
    assert.deepEqual(await run(Object.fromEntries(filled)), quiet, where);
    const result = await desk.run(["bash", "-e", "-c", must(must(then).run)]);
    assert.deepEqual(result, { code: 0, stdout: RSYNC, stderr: "", knocks: 0 }, where);
  }
});

for (const { where, gitlab, crontab, service } of TOLD) {
  Deno.test(`the GitLab job of ${where} knocks and goes on; without a profile it stops`, async () => {
    await using desk = await Desk.create();
    const command = ["bash", "-e", "-c", gitlab.join("\n")];
    const result = await desk.run(command, { OPENME_PROFILE: desk.profiles("ci") });
    assert.deepEqual(result, { code: 0, stdout: RSYNC, stderr: "", knocks: 1 });
    const failed = await desk.run(command, { OPENME_PROFILE: "nonsense" });
    assert.deepEqual([failed.code, failed.stdout, failed.knocks], [1, "", 0]);
  });

  Deno.test(`the crontab line of ${where} knocks and prints nothing of its own`, async () => {
    await using desk = await Desk.create();
    await Deno.mkdir(desk.folder.file(".openme"));
    await desk.folder.write(".openme/config.yaml", desk.profiles("backup", "other"));
    const [, command] = must(/^(?:[\d*/,-]+ ){5}(.*)\n$/.exec(crontab));
    assert.ok(!command!.includes("%"), "cron takes a % for a line break");
    // The desk's folder stands for /usr/bin with openme and rsync in it.
    const env = { HOME: desk.folder.path, PATH: `${desk.folder.path}:/usr/bin:/bin` };
    const result = await desk.run(["sh", "-c", command!], env);
    assert.deepEqual(result, {
      code: 0,
      stdout: "rsync -a /srv/ backup@vps.example.org:/srv/\n",
      stderr: "",
      knocks: 1,
    });
  });

  Deno.test(`the command of the systemd service of ${where} knocks`, async () => {
    await using desk = await Desk.create();
    await desk.folder.write("profile", desk.profiles("backup"));
    const settings = must(/^ExecStartPre=(openme .*)$/m.exec(service));
    const command = must(settings[1]).replace("${CREDENTIALS_DIRECTORY}", desk.folder.path);
    const result = await desk.run(command.split(" "));
    assert.deepEqual(result, { code: 0, stdout: "", stderr: "", knocks: 1 });
  });
}

for (const { where, service, timer } of TOLD) {
  testWith(
    ["systemd-analyze"],
    `systemd finds nothing wrong with the units of ${where}`,
    async () => {
      await using desk = await Desk.create();
      // Programs that are not installed here stand in: it is the units that are checked.
      const local = (text: string) => text.replaceAll(/^(Exec\w+=)\S+/gm, "$1/bin/true");
      await desk.folder.write("backup.service", local(service), 0o644);
      await desk.folder.write("backup.timer", timer, 0o644);
      const units = ["./backup.service", "./backup.timer"];
      const { stderr } = await desk.run(["systemd-analyze", "verify", "--man=no", ...units]);
      const complaints = stderr.split("\n").filter((line) => /backup\.(service|timer)/.test(line));
      assert.deepEqual(complaints, []);
      const calendar = must(/^OnCalendar=(.*)$/m.exec(timer))[1]!;
      assert.equal((await desk.run(["systemd-analyze", "calendar", calendar])).code, 0);
    },
  );
}

Deno.test("the exit codes of the documentation are those of openme knock", async () => {
  await using desk = await Desk.create();
  const start = { cwd: desk.folder.path, env: desk.env };
  const profile = await desk.folder.write("p.yaml", desk.profiles("a"));
  const codes = await Promise.all([
    openme(["knock", "--client-config", profile], start),
    openme(["knock", "b", "--client-config", profile], start),
    openme(["knock", "--bogus"], start),
  ]);
  assert.deepEqual(codes.map(({ code }) => code), [0, 1, 2]);
  for (const code of [0, 1, 2, 3]) assert.match(DOC, new RegExp(`^\\| +${code} \\| `, "m"));
});
