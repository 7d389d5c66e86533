/** Commands that need the state alone work beside a configuration that cannot be loaded. */

import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { stateDirIn } from "../../lib/cli/load.ts";
import { bindControl, serveControl } from "../../lib/control/socket.ts";
import { SCHEMA } from "../../lib/state/schema.ts";
import { memoryLog } from "../support/memory_log.ts";
import { serverYaml } from "../support/server_yaml.ts";
import { Folder } from "../support/folder.ts";
import { failure, good, openme, unprivileged } from "./program.ts";

/** A state in which alice was let in once, and a file whose last line is wrong. */
async function site(): Promise<Folder> {
  const folder = await Folder.create();
  await Deno.mkdir(folder.file("state"));
  const database = new DatabaseSync(folder.file("state/state.db"));
  database.exec(SCHEMA);
  const insert = (table: string, columns: string, ...values: (string | number)[]) =>
    database.prepare(`INSERT INTO ${table} (${columns}) VALUES (${values.map(() => "?")})`)
      .run(...values);
  insert(
    "history",
    "at_ms, event, client, source, address, ports, expires_at_ms",
    ...[Date.now(), "granted", "alice", "192.0.2.7", "192.0.2.7", "22/tcp 54154/tcp"],
    Date.now() + 30_000,
  );
  database.close();
  const good = serverYaml({ server: [`state_dir: ${folder.file("state")}`] });
  await folder.write("server.yaml", `${good}prots: {}\n`);
  return folder;
}

const ERROR = `cannot load "server.yaml": prots: unknown key`;

function goingOn(dir: string, why: string): string[] {
  return [
    `openme: warning: ${ERROR}`,
    `openme: going on with the state directory "${dir}", ${why}`,
  ];
}

Deno.test("openme sessions, history, confirm and close go on beside a file with a slip in it", async () => {
  await using folder = await site();
  const state = folder.file("state");
  const run = (...args: string[]) =>
    openme([...args, "--config", "server.yaml"], { cwd: folder.path });
  const told = goingOn(state, "as that file says");
  assert.deepEqual(
    await run("sessions"),
    good([...told, "openme: nobody is let in at the moment"]),
  );
  const history = await run("history", "--json");
  assert.deepEqual({ ...history, stdout: "" }, good(told));
  // Which of them is the health port is not known.
  assert.deepEqual(JSON.parse(history.stdout).history[0].ports, ["22/tcp", "54154/tcp"]);
  assert.match(
    (await run("history", "--client", "bob")).stderr,
    /\nopenme: error: no client "bob" has been let in, and who is registered cannot be told /,
  );
  const closed = await run("close", "alice");
  assert.equal(closed.code, 1);
  assert.match(closed.stderr, new RegExp(`\n${told[1]}\nopenme: error: .*openme serve`));

  const stop = new AbortController();
  let confirmed = 0;
  serveControl(bindControl(state), {
    handle: (request) => {
      assert.deepEqual(request, { command: "confirm" });
      return Promise.resolve({ confirmed: ++confirmed });
    },
    log: memoryLog().log,
    signal: stop.signal,
  });
  try {
    assert.deepEqual(await run("confirm"), good([...told, "openme: confirmed: the guard stays"]));
    // With --state-dir the file is not needed.
    for (const config of ["server.yaml", "missing.yaml"]) {
      const args = ["confirm", "--state-dir", state, "--config", config];
      assert.deepEqual(
        await openme(args, { cwd: folder.path }),
        good(["openme: confirmed: the guard stays"]),
      );
    }
    assert.equal(confirmed, 3);
  } finally {
    stop.abort();
  }
  for (const command of ["sessions", "history"]) {
    const { code, stderr } = await openme(
      [command, "--state-dir", state, "--config", "missing.yaml"],
      { cwd: folder.path },
    );
    assert.deepEqual([code, stderr.includes("missing.yaml")], [0, false], stderr);
  }
});

Deno.test("a file that is missing or cannot be read stays an error", async () => {
  await using folder = await Folder.create();
  for (const command of ["sessions", "history", "confirm"]) {
    assert.deepEqual(
      await openme([command, "--config", "missing.yaml"], { cwd: folder.path }),
      failure(
        1,
        `cannot load "missing.yaml": there is no such file`,
        "make one: openme init --server HOST",
      ),
    );
  }
  assert.deepEqual(
    await openme(["confirm", "--config", "."], { cwd: folder.path }),
    failure(1, `cannot load ".": it is a directory`),
  );
  await folder.write("closed.yaml", serverYaml(), 0o000);
  assert.deepEqual(
    await openme(["confirm", "--config", "closed.yaml"], {
      cwd: folder.path,
      through: unprivileged(),
    }),
    failure(
      1,
      `cannot load "closed.yaml": permission denied`,
      "run it as the file's owner, or with sudo",
    ),
  );
});

Deno.test("stateDirIn() finds the state directory in what may be no YAML", () => {
  const found: [text: string, dir: string | undefined][] = [
    ["server:\n  state_dir: /srv/openme\n  drop_ports: tru\n", "/srv/openme"],
    ["server:\n  state_dir: /srv/openme # ours\n", "/srv/openme"],
    ["server:\n  state_dir: /srv/open me#1\r\n", "/srv/open me#1"],
    [`server:\n  "state_dir": "/srv/openme"\n`, "/srv/openme"],
    ["server: {private_key: x, state_dir: '/srv/a, b'}", "/srv/a, b"],
    ["server: {state_dir: /srv/openme, host: x}", "/srv/openme"],
    ["server:\n  # state_dir: /srv/old\n  state_dir: /srv/openme\n", "/srv/openme"],
    ["server:\n  # state_dir: /srv/old\n", undefined],
    ["server:\n  my_state_dir: /srv/old\n", undefined],
    ["server:\n  state_dir: relative\n", undefined],
    ["server:\n  state_dir:\n    /srv/openme\n", undefined],
    ["", undefined],
  ];
  for (const [text, dir] of found) assert.equal(stateDirIn(text), dir, text);
});
