/** Where standard error is systemd's journal, lines carry their priority; everywhere else nothing changes. */

import assert from "node:assert/strict";
import { withPriority } from "../../lib/system/journal.ts";
import { lacks, unless } from "../support/programs.ts";
import { Folder } from "../support/folder.ts";
import { freeUdpPort } from "./program.ts";
import { OPENME } from "../support/openme_command.ts";
import { serverYaml } from "../support/server_yaml.ts";

/** Runs its arguments with a file as stderr, whose device and inode are in JOURNAL_STREAM. `$0` is added to the inode. */
const AS_JOURNAL = `f=$1; shift; : > "$f"
JOURNAL_STREAM=$(stat -c %d "$f"):$(($(stat -c %i "$f") + $0)) exec "$@" 2> "$f"`;

/** What a command writes to stderr; `off`: the inode of JOURNAL_STREAM is another one by so much. */
async function told(folder: Folder, args: readonly string[], off = 0): Promise<string> {
  const file = await folder.write("stderr", ""); // not what an earlier command wrote
  const child = new Deno.Command("sh", {
    args: ["-c", AS_JOURNAL, `${off}`, file, ...OPENME, ...args],
    cwd: folder.path,
    stdin: "null",
    stdout: "null",
  }).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), 60_000);
  if (args[0] === "serve") {
    const isUp = async () => /listening|error/.test(await folder.read("stderr").catch(() => ""));
    while (!await isUp()) await new Promise((resolve) => setTimeout(resolve, 50));
    child.kill("SIGTERM");
  }
  await child.status;
  clearTimeout(timer);
  return await folder.read("stderr");
}

Deno.test("errors, warnings and the log carry their priority for the journal", async () => {
  await using folder = await Folder.create();
  await folder.write(
    "server.yaml",
    serverYaml({
      server: [
        `udp_port: ${freeUdpPort()}`,
        "firewall: none",
        "interface: missing0",
        `state_dir: ${folder.file("state")}`,
      ],
    }),
  );
  const at = ["--config", "server.yaml"];
  assert.equal(
    await told(folder, ["check", "--config", "nothing.yaml"]),
    `<3>openme: error: cannot load "nothing.yaml": there is no such file\n` +
      "<3>openme: hint: make one: openme init --server HOST\n",
  );
  const checked = await told(folder, ["check", ...at]);
  assert.match(checked, /^<4>openme: warning: server\.firewall: none guards nothing/m);
  assert.match(checked, /^<6>openme: server\.yaml is good/m);
  for (const format of ["logfmt", "json"]) {
    const lines = await told(folder, ["serve", ...at, "--log-format", format]);
    const levels = { error: 3, warn: 4, info: 6, debug: 7 };
    assert.match(lines, /listening/);
    assert.match(lines, /^<4>/m);
    for (const line of lines.trimEnd().split("\n")) {
      const [, priority, level] = /^<(\d)>.*?\blevel"?[=:]"?(\w+)/.exec(line) ?? [];
      assert.equal(levels[level as keyof typeof levels], Number(priority), line);
    }
  }
});

Deno.test("where JOURNAL_STREAM names another stream, nothing changes", async () => {
  await using folder = await Folder.create();
  assert.equal(
    await told(folder, ["check", "--config", "nothing.yaml"], 1),
    `openme: error: cannot load "nothing.yaml": there is no such file\n` +
      "openme: hint: make one: openme init --server HOST\n",
  );
});

/** A journald of its own, in a mount namespace with a /run of its own. `$1` is a folder for what it wrote. */
const OWN_JOURNAL = `set -e
out=$1; shift
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/log/journal
/lib/systemd/systemd-journald 2>/dev/null & journald=$!
for i in $(seq 100); do [ -S /run/systemd/journal/stdout ] && break; sleep 0.1; done
systemd-cat -t openme sh -c 'JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec "$@"' sh "$@" || true
for i in $(seq 100); do
  journalctl -q -D /run/log/journal -t openme -o json > "$out"; [ -s "$out" ] && break; sleep 0.1
done
kill $journald; wait`;

/** Why there can be no journald of our own here. */
async function journalMissing(): Promise<string | undefined> {
  const missing = lacks("unshare", "mount", "systemctl");
  if (missing !== undefined) return missing;
  const args = ["-m", "test", "-x", "/lib/systemd/systemd-journald"];
  const { success } = await new Deno.Command("unshare", { args, stderr: "null" }).output();
  return success ? undefined : "needs root and systemd-journald";
}

const missing = await journalMissing();

Deno.test({
  ...unless(missing, "systemd's journal reads the priorities"),
  fn: async () => {
    assert.equal(missing, undefined);
    await using folder = await Folder.create();
    const out = folder.file("journal");
    const child = await new Deno.Command("unshare", {
      args: [
        ...["-m", "sh", "-c", OWN_JOURNAL, "sh", out, ...OPENME],
        ...["check", "--config", "/nothing.yaml"],
      ],
      stdin: "null",
    }).output();
    assert.ok(child.success, new TextDecoder().decode(child.stderr));
    const entries = (await folder.read("journal")).trimEnd().split("\n").map((line) =>
      JSON.parse(line)
    );
    assert.deepEqual(entries.map(({ PRIORITY, MESSAGE }) => [PRIORITY, MESSAGE]), [
      ["3", `openme: error: cannot load "/nothing.yaml": there is no such file`],
      ["3", "openme: hint: make one: openme init --server HOST"],
    ]);
  },
});

Deno.test("withPriority() reads the level of a line for people from its first words", () => {
  const rows = [
    ["<3>", "openme: error: x"],
    ["<4>", "openme: warning: x"],
    ["<4>", "openme: hint: x"],
    ["<6>", "openme: added openme: error: to x"],
  ] as const;
  for (const [priority, line] of rows) {
    assert.equal(withPriority(line, undefined), priority + line);
    assert.equal(withPriority(line, "debug"), `<7>${line}`);
  }
});
