/** The rules of a client's entry at the command line: `add`, `list`, `check`, `rename`. */

import assert from "node:assert/strict";
import { odditiesOf } from "../../lib/cli/commands/check.ts";
import { extendingFlaw } from "../../lib/cli/extending.ts";
import { canExtend } from "../../lib/config/extend.ts";
import { guardPlanOf } from "../../lib/config/guard_plan.ts";
import { parseServerConfig } from "../../lib/config/server.ts";
import { BACKENDS } from "../../lib/firewall/catalog.ts";
import { BACKEND_NAMES } from "../../lib/firewall/plan.ts";
import { Folder } from "../support/folder.ts";
import { ALICE_PUBLIC, OTHER_PUBLIC, serverYaml } from "../support/server_yaml.ts";
import { failure, openme } from "./program.ts";

const HOURS = "Mon-Fri 08:00-18:00 Europe/Berlin";

Deno.test("openme add takes every rule as a flag, list tells them, and rename keeps who is needed", async () => {
  await using folder = await Folder.create();
  await folder.write("server.yaml", serverYaml({ server: ["state_dir: /nowhere/at/all"] }));
  const run = (...args: string[]) =>
    openme([...args, "--config", "server.yaml"], { cwd: folder.path });
  const flags = [
    "--hours",
    `${HOURS}; Sat 09:00-12:00 UTC`,
    "--from",
    "203.0.113.0/24,2001:db8::1",
  ];
  const more = [
    "--uses",
    "3",
    "--lifetime",
    "8h",
    "--needs",
    "alice",
    "--extend-while-used",
    "10h",
  ];
  const bob = ["add", "bob", "--pubkey", OTHER_PUBLIC];
  assert.equal((await run(...bob, ...flags, ...more)).code, 0);
  const text = await folder.read("server.yaml");
  for (
    const line of [
      /hours: \[Mon-Fri 08:00-18:00 Europe\/Berlin, Sat 09:00-12:00 UTC\]/,
      /from: \[203\.0\.113\.0\/24, "?2001:db8::1"?\]/,
      /uses: 3$/m,
      /lifetime: 8h$/m,
      /needs: alice$/m,
      /extend_while_used: 10h$/m,
    ]
  ) assert.match(text, line);

  assert.equal(
    (await run(...bob, "--uses", "3", "--hours", `${HOURS};sat 09:00-12:00 UTC`)).code,
    0,
  );
  assert.deepEqual(
    await run(...bob, "--uses", "4"),
    failure(
      1,
      `cannot add "bob": it has this key already, but with other values for uses`,
      "change its entry in the configuration, or openme revoke bob first",
    ),
  );
  await run("rename", "alice", "chief");
  const words = `${HOURS} or Sat 09:00-12:00 UTC; from 203.0.113.0/24 or 2001:db8::1; ` +
    "together with chief; for 8h0m0s; while used, at most 10h0m0s; 3 times (3 left)";
  assert.ok((await run("list")).stdout.includes(words), (await run("list")).stdout);
  const { clients } = JSON.parse((await run("list", "--json")).stdout);
  assert.deepEqual(clients[1].extensions, [{ ports: ["22/tcp"], most_ms: 36_000_000 }]);
  assert.deepEqual([clients[0].conditions, clients[1].conditions, clients[1].used], [null, {
    hours: [HOURS, "Sat 09:00-12:00 UTC"],
    networks: ["203.0.113.0/24", "2001:db8::1"],
    uses: 3,
    totp: false,
    needs: ["chief"],
    lifetime_ms: 28_800_000,
  }, 0]);
});

Deno.test("a firewall that keeps nothing open is warned of, where a client asks for it", async () => {
  const configOf = (line: string) =>
    parseServerConfig(
      serverYaml({
        rest:
          `clients:\n  alice: {ed25519_pubkey: ${ALICE_PUBLIC}, allowed_ports: [22/tcp]${line}}`,
      }),
      "",
    );
  const extended = configOf(", extend_while_used: 8h");
  for (const name of BACKEND_NAMES.filter((each) => !/firewalld|command|pf/.test(each))) {
    const run = () => Promise.resolve("");
    const parts = { plan: guardPlanOf(extended), run, log: undefined as never };
    const backend = await BACKENDS[name].make({
      ...parts,
      stateDir: undefined,
      command: undefined,
    });
    assert.equal(backend.activity !== undefined, canExtend(name), name);
    const flaw = extendingFlaw(extended, backend);
    if (name === "nft") assert.equal(flaw, undefined);
    else {assert.match(
        flaw!.why,
        new RegExp(`not there with ${backend.name}: a grant lasts as long`),
      );}
    assert.equal(extendingFlaw(configOf(""), backend), undefined);
  }
  const oddities = odditiesOf(configOf(", extend_while_used: 30s"), 0);
  assert.ok(oddities.some((each) => each.includes("no longer than a knock opens anyway")));
});

Deno.test("openme rename changes the name in whatever file needs it, and nothing else", async () => {
  await using folder = await Folder.create();
  await folder.write("server.yaml", serverYaml());
  await Deno.mkdir(folder.file("clients.d"), { mode: 0o755 });
  const bob = (needs: string) =>
    `clients:\n  bob:\n    ed25519_pubkey: ${OTHER_PUBLIC}\n    allowed_ports: [ssh]\n    needs: ${needs} # both\n`;
  await folder.write("clients.d/bob.yaml", bob("[carol, alice]"), 0o644);
  const args = ["rename", "alice", "chief", "--config", "server.yaml"];
  assert.equal((await openme(args, { cwd: folder.path })).code, 0);
  assert.equal(
    (await folder.read("clients.d/bob.yaml")).replaceAll("[ ", "[").replaceAll(" ]", "]"),
    bob("[carol, chief]"),
  );
});

Deno.test("openme add refuses flags that no entry can have", async () => {
  await using folder = await Folder.create();
  await folder.write("server.yaml", serverYaml());
  const rows: [flag: string, value: string, error: string, hint?: string][] = [
    ["--uses", "often", `--uses: expected a number of uses from 1 to 1000000, got "often"`],
    ["--uses", "0", "--uses: expected a number of uses from 1 to 1000000, got 0"],
    [
      "--lifetime",
      "2d",
      `--lifetime: expected a duration from 1s to 24h0m0s, such as "30s", got "2d"`,
    ],
    [
      "--needs",
      "carol",
      `--needs: expected another client's name, got "carol"`,
      "nobody is two people",
    ],
    ["--from", "", `--from: expected a value, got ""`],
    [
      "--from",
      "192.0.2.0/24, 203.0.113.9/24",
      `--from[1]: expected an address or a network such as "203.0.113.0/24", got "203.0.113.9/24"`,
      `did you mean "203.0.113.0/24"?`,
    ],
  ];
  for (const [flag, value, error, hint] of rows) {
    const args = ["add", "carol", flag, value, "--config", "server.yaml"];
    assert.deepEqual(await openme(args, { cwd: folder.path }), failure(2, error, hint));
  }
});

Deno.test("openme check warns of rules that can never be fulfilled", () => {
  const rest = `clients:
  alice: {ed25519_pubkey: ${ALICE_PUBLIC}, allowed_ports: [22/tcp], from: 127.0.0.0/8, needs: [bob, carol]}
  bob: {ed25519_pubkey: ${OTHER_PUBLIC}, allowed_ports: [22/tcp], expires: 2020-01-01}`;
  const config = parseServerConfig(serverYaml({ server: ["drop_ports: true"], rest }), "x");
  assert.deepEqual(odditiesOf(config, Date.parse("2026-11-30")), [
    "clients.alice.from: no knock can come from there",
    "clients.alice.needs: its knocks wait for bob, whose key has expired",
    "clients.alice.needs: its knocks wait for carol, and there is no such client",
    "clients.bob: its key has expired",
  ]);
});
