/** `openme sessions`: the grants in the database, with a running server or without. */

import assert from "node:assert/strict";
import { drawFrame } from "../../lib/cli/commands/sessions_watch.ts";
import { parseServerConfig } from "../../lib/config/server.ts";
import type { Grant } from "../../lib/grants.ts";
import { createLog } from "../../lib/system/log.ts";
import { ReplayMemory } from "../../lib/replay.ts";
import { StateStore } from "../../lib/state/store.ts";
import { waitFor } from "../support/wait.ts";
import { ALICE, BOB, filled, network } from "../support/knocks.ts";
import { ALICE_PUBLIC, OTHER_PUBLIC, serverYaml } from "../support/server_yaml.ts";
import { Folder } from "../support/folder.ts";
import { failure, good, openme } from "./program.ts";

const NOBODY = "openme: nobody is let in at the moment";

/** A state as a running server leaves it on disk: each grant with the knock that opened it, history included. */
function fill(dir: string, grants: readonly Grant[]): StateStore {
  const { store } = StateStore.open({
    dir,
    replay: new ReplayMemory(),
    replayWindowNs: 60_000_000_000n,
    clock: {
      now: () => ({ wallNs: BigInt(Date.now()) * 1_000_000n, steadyMs: performance.now() }),
      bootId: "boot",
    },
    log: createLog({ level: "error", format: "logfmt", now: () => new Date(), write: assert.fail }),
  });
  for (const [i, grant] of grants.entries()) {
    store.recordKnock({
      key: grant.key,
      randomNonce: filled(i, 16),
      timestampNs: BigInt(i),
      client: grant.client,
      atMs: grant.openedAtMs + 0.5,
      source: "192.0.2.77",
      opened: { grant, renewed: false },
    });
  }
  return store;
}

function grantOf(client: string, address: string, ports: Grant["ports"], endsInMs: number): Grant {
  const nowMs = Date.now();
  return {
    client,
    key: client === "alice" ? ALICE.key : BOB.key,
    address: network(address),
    ports,
    openedAtMs: nowMs - 2000,
    expiresAtMs: nowMs + endsInMs,
    endsSteadyMs: performance.now() + endsInMs,
  };
}

const SSH: Grant["ports"][number] = { protocol: "tcp", first: 22, last: 22 };
const HEALTH: Grant["ports"][number] = { protocol: "tcp", first: 54154, last: 54154 };

/** Ten minutes: long for a test, and it still says `9m5…s` when it is shown. */
const TEN_MINUTES_MS = 600_000;

async function sessions(folder: Folder, args: readonly string[] = []) {
  return await openme(["sessions", "--config", folder.file("server.yaml"), ...args]);
}

Deno.test("openme sessions shows nobody where there is no state, and makes none", async () => {
  await using folder = await Folder.create();
  await folder.write(
    "server.yaml",
    serverYaml({ server: [`state_dir: ${folder.file("missing")}`] }),
  );
  await Deno.mkdir(folder.file("empty"));
  const empty = good([], `${JSON.stringify({ grants: [], clients: [] }, undefined, 2)}\n`);
  assert.deepEqual(await sessions(folder), good([NOBODY]));
  assert.deepEqual(await sessions(folder, ["--json"]), empty);
  const other = ["--state-dir", folder.file("empty")];
  const nothingThere = failure(
    1,
    `there is no state of openme in "${folder.file("empty")}"`,
    `without --state-dir it is the configuration's: ${folder.file("missing")}`,
  );
  for (const args of [other, ["--json", ...other], ["--watch", "--json", ...other]]) {
    assert.deepEqual(await sessions(folder, args), nothingThere);
  }
  assert.deepEqual(await folder.names(), ["empty", "server.yaml"]);
  assert.deepEqual(await Array.fromAsync(Deno.readDir(folder.file("empty"))), []);
});

Deno.test("openme sessions shows who is let in, as JSON and as a table", async () => {
  await using folder = await Folder.create();
  const state = folder.file("state");
  await Deno.mkdir(state);
  await folder.write(
    "server.yaml",
    serverYaml({
      server: [`state_dir: ${state}`],
      rest:
        `clients: {alice: {ed25519_pubkey: ${ALICE_PUBLIC}}, bob: {ed25519_pubkey: ${OTHER_PUBLIC}}}`,
    }),
  );
  const web: Grant["ports"][number] = { protocol: "udp", first: 8080, last: 8090 };
  const grants = [
    grantOf("alice", "198.51.100.20", [SSH, HEALTH], TEN_MINUTES_MS),
    grantOf("bob", "2001:db8::7", [SSH, HEALTH, web], TEN_MINUTES_MS),
    // Ended, and not yet removed from the database.
    grantOf("bob", "198.51.100.21", [SSH], -1),
  ];
  const store = fill(state, grants);
  try {
    // What tells the story comes a moment later than the grants.
    await waitFor("both to have been seen", async () => {
      const { stdout } = await sessions(folder, ["--json"]);
      return JSON.parse(stdout).clients.length === 2;
    });
    const json = await sessions(folder, ["--json"]);
    assert.deepEqual({ ...json, stdout: "" }, good());
    const iso = (ms: number) => new Date(Math.trunc(ms)).toISOString();
    const shown = (
      { client, openedAtMs, expiresAtMs }: Grant,
      address: string,
      ports: string[],
    ) => ({
      client,
      address,
      ports,
      opened_at: iso(openedAtMs),
      expires_at: iso(expiresAtMs),
    });
    const expected = {
      grants: [
        shown(grants[0]!, "198.51.100.20", ["22/tcp"]),
        shown(grants[1]!, "2001:db8::7", ["22/tcp", "8080-8090/udp"]),
      ],
      clients: [
        { client: "alice", last_seen_at: iso(grants[0]!.openedAtMs) },
        { client: "bob", last_seen_at: iso(grants[2]!.openedAtMs) },
      ],
    };
    assert.deepEqual(JSON.parse(json.stdout), expected);
    assert.equal(json.stdout, JSON.stringify(expected, undefined, 2) + "\n");

    const table = await sessions(folder);
    assert.deepEqual({ ...table, stdout: "" }, good());
    assert.match(
      table.stdout,
      /^CLIENT {2}ADDRESS {8}PORTS {17}OPEN FOR {2}LEFT\nalice {3}198\.51\.100\.20 {2}22\/tcp {16}\d+s +(10m0s|9m\d\ds)\nbob {5}2001:db8::7 {4}22\/tcp 8080-8090\/udp {2}\d+s +(10m0s|9m\d\ds)\n$/,
    );
    // The flag names another folder, whose server has no grants.
    await Deno.mkdir(folder.file("other"));
    fill(folder.file("other"), []).close();
    assert.deepEqual(
      await sessions(folder, ["--state-dir", folder.file("other")]),
      good([NOBODY]),
    );
  } finally {
    store.close();
  }
  // After a stop that takes the guard out no grant is in force.
  assert.deepEqual(await sessions(folder), good([NOBODY]));
  const after = JSON.parse((await sessions(folder, ["--json"])).stdout);
  assert.deepEqual(after.grants, []);
  assert.deepEqual(after.clients.map(({ client }: { client: string }) => client), ["alice", "bob"]);
});

Deno.test("openme sessions leaves out the health port, also where it borders on another", async () => {
  await using folder = await Folder.create();
  await folder.write(
    "server.yaml",
    serverYaml({ server: [`state_dir: ${folder.path}`, "udp_port: 54154"] }),
  );
  const store = fill(folder.path, [
    grantOf("alice", "192.0.2.1", [{ protocol: "tcp", first: 54153, last: 54154 }], TEN_MINUTES_MS),
    grantOf("alice", "192.0.2.2", [{ protocol: "udp", first: 54154, last: 54154 }], TEN_MINUTES_MS),
  ]);
  try {
    const { stdout } = await sessions(folder, ["--json"]);
    assert.deepEqual(
      JSON.parse(stdout).grants.map(({ ports }: { ports: string[] }) => ports),
      [["54153/tcp"], ["54154/udp"]],
    );
  } finally {
    store.close();
  }
});

Deno.test("openme sessions says that it cannot read a damaged database, and leaves it alone", async () => {
  await using folder = await Folder.create();
  await folder.write("server.yaml", serverYaml({ server: [`state_dir: ${folder.path}`] }));
  await folder.write("state.db", "this is not a database ".repeat(500));
  for (const args of [[], ["--json"]]) {
    assert.deepEqual(
      await sessions(folder, args),
      failure(
        1,
        `cannot read the state database "${folder.file("state.db")}": file is not a database`,
        "it belongs to the user that runs openme serve: try sudo",
      ),
    );
  }
  assert.deepEqual(await folder.names(), ["server.yaml", "state.db"]);
});

Deno.test("openme sessions tells what stays open while it is used, and until when at most", async () => {
  await using folder = await Folder.create();
  await folder.write("server.yaml", serverYaml({ server: [`state_dir: ${folder.path}`] }));
  const nowMs = Date.now();
  const closesAt = "2099-12-31T00:00:00.000Z";
  const extendedGrant = (client: string, endsInMs: number, activeForMs: number): Grant => ({
    ...grantOf(client, "192.0.2.1", [SSH, HEALTH], endsInMs),
    extended: {
      caps: [{ ports: [SSH], expiresAtMs: Date.parse(closesAt), endsSteadyMs: 1e15 }],
      activeUntilMs: nowMs + activeForMs,
    },
  });
  fill(folder.path, [
    extendedGrant("alice", -60_000, 500_000),
    extendedGrant("bob", -60_000, -1),
  ]).close({ grantsStand: true });
  const run = (...args: string[]) =>
    openme(["sessions", ...args, "--config", "server.yaml"], {
      cwd: folder.path,
    });
  const { stdout } = await run();
  assert.match(stdout, /^alice .* 8m\d+s +open while used, at most until 2099-12-31T00:00:00Z$/m);
  assert.match(stdout, /^bob .* 0s +closed, unused: .* at most until 2099-12-31T00:00:00Z$/m);
  const { grants } = JSON.parse((await run("--json")).stdout);
  assert.deepEqual(grants.map((grant: Record<string, unknown>) => grant["closes_at"]), [
    closesAt,
    closesAt,
  ]);
  const iso = (ms: number) => new Date(nowMs + ms).toISOString();
  assert.deepEqual(grants.map((grant: Record<string, unknown>) => grant["expires_at"]), [
    iso(500_000),
    iso(-1),
  ]);
});

Deno.test("openme sessions --watch fits its bar, and the time left, into the terminal", () => {
  const config = parseServerConfig(serverYaml({ server: ["knock_timeout: 30s"] }), "");
  const nowMs = Date.now();
  const longest = "2001:1db8:1111:2222:3333:4444:5555:6666";
  const frame = (columns: number, address = longest, isRefused = false) => {
    const grant = {
      ...grantOf("alice", address, [SSH, HEALTH], 0),
      openedAtMs: nowMs - 15_000,
      expiresAtMs: nowMs + 15_000,
    };
    const refused = new Set(isRefused ? [grant] : []);
    const text = drawFrame({ grants: [grant], refused }, config, nowMs, { columns, rows: 24 })
      .replaceAll(new RegExp("\x1b\\[[HJK]", "g"), "");
    const [head, row] = text.split("\r\n");
    assert.ok(Math.max(head!.length, row!.length) <= columns, text);
    return [head!.split(/ {2,}/), row!.split(/ {2,}/).slice(2)];
  };
  const whole = ["CLIENT", "ADDRESS", "PORTS", "OPEN FOR", "LEFT"];
  assert.deepEqual(frame(120), [whole, [
    "22/tcp",
    "15s",
    "15s",
    `[${"#".repeat(10)}${"-".repeat(10)}]`,
  ]]);
  assert.deepEqual(frame(80, "192.0.2.1"), frame(120));
  assert.deepEqual(frame(80), [whole, ["22/tcp", "15s", "15s", "[###--]"]]);
  assert.deepEqual(frame(78), [whole, ["22/tcp", "15s", "15s"]]);
  assert.deepEqual(frame(61), [["CLIENT", "ADDRESS", "PORTS", "LEFT"], ["22/tcp", "15s"]]);
  assert.deepEqual(frame(60).at(1), ["22/tcp", "15s"]);
  assert.deepEqual(frame(60, "192.0.2.1").at(1)?.at(-1)?.length, 17);
  // The firewall does not have it: that is said in place of the bar.
  assert.deepEqual(frame(120, undefined, true).at(1), [
    "22/tcp",
    "15s",
    "15s",
    "refused by the firewall",
  ]);
  const narrow = frame(80, "192.0.2.1", true);
  assert.deepEqual(narrow.at(1)?.at(-1), "refused by the firewall");
});
