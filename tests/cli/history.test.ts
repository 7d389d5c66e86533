/** `openme history`: the events in the database, in words and as JSON. */

import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { SCHEMA } from "../../lib/state/schema.ts";
import { serverYaml } from "../support/server_yaml.ts";
import { Folder } from "../support/folder.ts";
import { failure, good, openme, type Result } from "./program.ts";

type HistoryRow = readonly [
  atMs: number,
  event: string,
  client: string,
  source: string,
  address: string,
  ports: string,
  expiresAtMs: number | null,
  reason: string | null,
  aheadMs: number | null,
];

const NOW_MS = Math.trunc(Date.now() / 1000) * 1000;
const HOUR_MS = 3_600_000;

const ROWS: readonly HistoryRow[] = [
  [
    NOW_MS - 30 * HOUR_MS,
    "granted",
    "bob",
    "192.0.2.1",
    "192.0.2.1",
    "22/tcp 54154/tcp",
    NOW_MS - 30 * HOUR_MS + 30_000,
    null,
    null,
  ],
  [
    NOW_MS - 3000,
    "granted",
    "alice",
    "192.0.2.7",
    "192.0.2.7",
    "22/tcp 54154/tcp 53/udp",
    NOW_MS + 27_000,
    null,
    null,
  ],
  [
    NOW_MS - 2000,
    "renewed",
    "alice",
    "192.0.2.7",
    "2001:db8::7",
    "22/tcp",
    NOW_MS + 88_000,
    null,
    null,
  ],
  [NOW_MS - 1000, "refused", "alice", "192.0.2.7", "", "", null, "stale", -123_000],
  [NOW_MS - 700, "refused", "carol", "192.0.2.1", "", "", null, "backend", null],
  [NOW_MS - 500, "refused", "al\x1b[31m\nx", "192.0.2.8", "", "", null, "expired", null],
];

async function site(): Promise<Folder> {
  const folder = await Folder.create();
  await Deno.mkdir(folder.file("state"));
  await folder.write("server.yaml", serverYaml({ server: [`state_dir: ${folder.file("state")}`] }));
  const database = new DatabaseSync(folder.file("state/state.db"));
  database.exec(SCHEMA);
  const insert = database.prepare(
    "INSERT INTO history (at_ms, event, client, source, address, ports, expires_at_ms, reason, ahead_ms) " +
      "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
  );
  for (const row of ROWS) insert.run(...row);
  database.close();
  return folder;
}

function history(folder: Folder, args: readonly string[]): Promise<Result> {
  return openme(["history", "--config", "server.yaml", ...args], { cwd: folder.path });
}

function time(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z/, "Z");
}

Deno.test("openme history tells who was let in, and who was not and why", async () => {
  await using folder = await site();
  const { code, stdout, stderr } = await history(folder, []);
  assert.deepEqual([code, stderr], [0, ""]);
  assert.deepEqual(stdout.split("\n").map((line) => line.replaceAll(/ {2,}/g, "  ")), [
    "TIME  CLIENT  FROM  WHAT",
    `${time(NOW_MS - 30 * HOUR_MS)}  bob  192.0.2.1  let in: 22/tcp for 30s`,
    `${time(NOW_MS - 3000)}  alice  192.0.2.7  let in: 22/tcp 53/udp for 30s`,
    `${time(NOW_MS - 2000)}  alice  192.0.2.7  renewed 2001:db8::7: 22/tcp for 1m30s`,
    `${
      time(NOW_MS - 1000)
    }  alice  192.0.2.7  refused (stale): its clock is 2m3s behind: set it (timedatectl set-ntp true)`,
    `${
      time(NOW_MS - 700)
    }  carol  192.0.2.1  refused (backend): the firewall refused to let it in: ` +
    "openme doctor, and firewall_failed in the log of openme serve, say why",
    `${
      time(NOW_MS - 500)
    }  al\\u001b[31m\\u000ax  192.0.2.8  refused (expired): its key has expired: ` +
    "openme rotate gives it a new one, and expires in the configuration says until when",
    "",
  ]);
});

Deno.test("openme history --client and --since pick, --json has a fixed shape", async () => {
  await using folder = await site();
  const { stdout } = await history(folder, ["--client", "alice", "--since", "24h", "--json"]);
  const iso = (ms: number) => new Date(ms).toISOString();
  assert.deepEqual(JSON.parse(stdout), {
    history: [
      {
        at: iso(NOW_MS - 3000),
        event: "granted",
        client: "alice",
        source: "192.0.2.7",
        address: "192.0.2.7",
        ports: ["22/tcp", "53/udp"],
        expires_at: iso(NOW_MS + 27_000),
      },
      {
        at: iso(NOW_MS - 2000),
        event: "renewed",
        client: "alice",
        source: "192.0.2.7",
        address: "2001:db8::7",
        ports: ["22/tcp"],
        expires_at: iso(NOW_MS + 88_000),
      },
      {
        at: iso(NOW_MS - 1000),
        event: "refused",
        client: "alice",
        source: "192.0.2.7",
        reason: "stale",
        clock_ahead_ms: -123_000,
        cause: "its clock is 2m3s behind: set it (timedatectl set-ntp true)",
      },
    ],
  });
  const since = JSON.parse((await history(folder, ["--since", "31h", "--json"])).stdout);
  assert.equal(since.history.length, ROWS.length);
  for (
    const [name, hint] of [["nobody", "openme list shows them all"], [
      "alcie",
      "did you mean alice?",
    ]]
  ) {
    assert.deepEqual(
      await history(folder, ["--client", name!]),
      failure(1, `there is no client "${name}"`, hint),
    );
  }
  // Known, but not of late.
  assert.deepEqual(
    await history(folder, ["--client", "bob", "--since", "1ms"]),
    good(["openme: nothing has happened"]),
  );
  assert.deepEqual(
    await history(folder, ["--since", "yesterday"]),
    failure(2, `--since: expected a span such as "90d" or "12h", got "yesterday"`),
  );
});

Deno.test("openme history tells what the firewall refused, and what ended before its time", async () => {
  await using folder = await site();
  const database = new DatabaseSync(folder.file("state/state.db"));
  const end = database.prepare(
    "UPDATE history SET ended_at_ms = ?, ended_why = ? WHERE address = ?",
  );
  end.run(NOW_MS - 30 * HOUR_MS + 10_600, "key revoked", "192.0.2.1");
  end.run(NOW_MS - 2700, "closed by \x1b", "192.0.2.7");
  database.exec("UPDATE history SET failed = 1 WHERE address = '2001:db8::7'");
  database.close();
  const { stdout } = await history(folder, []);
  const told = stdout.split("\n").slice(1, 4).map((line) => line.slice(line.indexOf("192")));
  assert.deepEqual(told.map((line) => line.replaceAll(/ {2,}/g, "  ")), [
    "192.0.2.1  let in: 22/tcp for 11s (key revoked)",
    "192.0.2.7  let in: 22/tcp 53/udp for 300ms (closed by \\u001b)",
    "192.0.2.7  not renewed 2001:db8::7: 22/tcp: the firewall refused",
  ]);
  const json = JSON.parse((await history(folder, ["--json", "--client", "alice"])).stdout).history;
  const [closed, failed, stale] = json as Record<string, unknown>[];
  assert.equal(closed!["ended_at"], new Date(NOW_MS - 2700).toISOString());
  assert.equal(closed!["ended_why"], "closed by \x1b");
  assert.deepEqual([closed!["failed"], failed!["failed"], failed!["ended_at"]], [
    undefined,
    true,
    undefined,
  ]);
  assert.equal(stale!["event"], "refused");
});

Deno.test("openme history where there is no database", async () => {
  await using folder = await site();
  for (const wrong of [".", "missing", "server.yaml"]) {
    assert.deepEqual(
      await history(folder, ["--state-dir", wrong]),
      failure(
        1,
        `there is no state of openme in "${wrong}"`,
        `without --state-dir it is the configuration's: ${folder.file("state")}`,
      ),
    );
  }
  await Deno.remove(folder.file("state"), { recursive: true });
  assert.deepEqual(await history(folder, []), good(["openme: nothing has happened"]));
});
