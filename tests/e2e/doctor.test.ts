/** `openme doctor` on hosts that are well, and on hosts that are not; and `sessions --watch` on a terminal. */

import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { encodeBase64 } from "../../lib/crypto/keys.ts";
import { publicKeyOf } from "../../lib/crypto/sync.ts";
import { lacks, unless } from "../support/programs.ts";
import { e2e } from "./e2e.ts";
import type { Lab } from "./lab.ts";
import { OPENME } from "../support/openme_command.ts";
import { openme } from "./openme.ts";
import { SEPARATE, Site } from "./site.ts";
import { waitFor } from "../support/wait.ts";
import { LINE_MS } from "../support/spawned.ts";

interface Finding {
  readonly level: "ok" | "warn" | "fail";
  readonly what: string;
  readonly found: string;
  readonly hint?: string;
}

async function ask(lab: Lab, side: "server" | "client", args: string[]) {
  const { code, stdout, stderr } = await openme(lab, side, ["doctor", "--json", ...args]);
  assert.equal(stderr, "");
  const { findings } = JSON.parse(stdout) as { findings: Finding[] };
  for (const { level, what, hint } of findings) {
    assert.equal(
      hint !== undefined,
      level !== "ok",
      `${what}: what is wrong comes with what to do`,
    );
  }
  assert.equal(code, findings.some(({ level }) => level === "fail") ? 1 : 0);
  const levels = (level: string) => findings.filter((each) => each.level === level);
  return { fails: levels("fail").map(({ what }) => what), findings };
}

/** How many rows each table of the state has. */
function stateOf(site: Site): Record<string, unknown> {
  const database = new DatabaseSync(`${site.stateDir}/state.db`, { readOnly: true });
  const tables = ["nonces", "grants", "history", "last_seen"];
  const rows = tables.map((table) =>
    [table, database.prepare(`SELECT count(*) AS n FROM ${table}`).get()?.["n"]] as const
  );
  database.close();
  return Object.fromEntries(rows);
}

e2e("doctor on a server and on a client", async (lab, t) => {
  await using site = await Site.create(lab, { clients: { alice: ["22/tcp"] } });
  const server = () => ask(lab, "server", ["--server", "--config", site.config]);
  const client = (name = "alice") =>
    ask(lab, "client", ["--client", "--client-config", `${site.dir}/${name}.yaml`]);

  await t.step("without serve nothing is guarded, and no knock is answered", async () => {
    const { fails } = await server();
    assert.deepEqual(fails, ["serve", "rules", "ports"]);
    const { fails: clientFails, findings } = await client();
    assert.deepEqual(clientFails, ["knock"]);
    assert.match(
      findings.at(-1)!.found,
      /health port 54154\/tcp did not open \(10\.0\.0\.1: refused\)$/,
    );
  });

  let served = await site.serve();

  await t.step("all is well", async () => {
    const { fails, findings } = await server();
    assert.deepEqual(fails, []);
    const serves = findings.find(({ what }) => what === "serve");
    assert.match(serves!.found, /^runs, process \d+, 0 grants in force$/);
    const { found: processes } = findings.find(({ what }) => what === "taker")!;
    assert.match(processes, SEPARATE === "off" ? /^serve is one process, / : /^serve is two /);
    const { fails: clientFails, findings: clientFindings } = await client();
    assert.deepEqual(clientFails, []);
    const found = (what: string) => clientFindings.filter((each) => each.what === what);
    assert.match(found("route")[0]!.found, /^to 10\.0\.0\.1 from 10\.0\.0\.2 on eth0$/);
    assert.match(found("knock")[0]!.found, /^default: alice is let in from 10\.0\.0\.2 to 22\/tcp/);
    assert.equal(found("clock")[0]!.found, "as the server's");
    const text = await openme(lab, "server", ["doctor", "--server", "--config", site.config]);
    assert.match(text.stdout, /^ok {4}config +\S+server\.yaml: 1 client\n/);
  });

  await t.step(
    "a chain of the host's that has lost its hole, and ports that are open to all",
    async () => {
      // A living server would mend that within seconds.
      await served.kill("SIGKILL");
      await lab.nft(
        "table inet filter { chain input { type filter hook input priority 0; policy drop; }\n }",
      );
      assert.deepEqual((await server()).fails, ["serve", "hole"]);
      served = await site.serve();
      assert.deepEqual((await server()).fails, []);
      await lab.nft("delete table inet filter");
      await site.configure({ dropPorts: false });
      await served.waitForLine(/event=reloaded/);
      assert.deepEqual((await server()).fails, ["ports"]);
    },
  );

  await t.step("a stranger's profile, and modes that give keys away", async () => {
    await site.configure({ clients: {}, dropPorts: true });
    await served.waitForLine(/event=reloaded.* clients=0/);
    const { fails, findings } = await client();
    assert.deepEqual(fails, ["knock"]);
    assert.match(findings.at(-1)!.hint!, /log-level debug/);
    const knocks = (await server()).findings.filter(({ what }) => what === "knocks");
    assert.match(
      knocks[0]!.found,
      /^\d+ knocks? in the last hour had a signature of no registered/,
    );
    assert.equal(knocks.length, 1);
    await Deno.chmod(site.stateDir, 0o755);
    assert.deepEqual((await server()).fails, ["state"]);
    await Deno.chmod(site.stateDir, 0o700);
  });

  await t.step("a profile with another server's key: counted, and nothing else", async () => {
    const from = served.lines.length;
    await site.configure({ clients: { alice: ["22/tcp"] } });
    await served.waitForLine(/event=reloaded.* clients=1/, LINE_MS, from);
    const profile = `${site.dir}/alice.yaml`;
    const text = await Deno.readTextFile(profile);
    const other = encodeBase64(publicKeyOf("X25519", new Uint8Array(32).fill(7)));
    const before = { lines: served.lines.length, state: stateOf(site) };
    await Deno.writeTextFile(profile, text.replace(/server_pubkey: .*/, `server_pubkey: ${other}`));
    for (let i = 0; i < 3; i++) await site.knock("alice");
    const told = "3 knocks in the last hour could not be decrypted: " +
      "a client with an old or wrong server key, or junk";
    const { fails, findings } = await waitFor("the count", async () => {
      const found = await server();
      return found.findings.some(({ found }) => found === told) ? found : undefined;
    });
    assert.deepEqual(fails, []);
    const finding = findings.find(({ found }) => found === told)!;
    assert.deepEqual([finding.level, finding.what], ["warn", "knocks"]);
    assert.match(finding.hint!, /^server_pubkey in that client's profile has to be public_key in /);
    const shown = await openme(lab, "server", ["sessions", "--config", site.config]);
    assert.equal(shown.code, 0);
    assert.ok(shown.stderr.includes(`openme: ${told}\n`), shown.stderr);
    assert.deepEqual(served.lines.slice(before.lines), [], "it fills no log");
    assert.deepEqual(stateOf(site), before.state, "and leaves nothing on disk");
  });
});

e2e("sessions --watch", async (lab, t) => {
  await using site = await Site.create(lab, {
    clients: { alice: ["22/tcp"] },
    knockTimeout: "20s",
  });
  await using served = await site.serve();
  await site.knock("alice");
  await served.waitForLine(/event=granted/);
  const command = [...OPENME, "sessions", "--watch", "--config", site.config];

  await t.step({
    ...unless(lacks("script"), "draws the time left as a bar that gets shorter"),
    fn: async () => {
      // `script` gives it a terminal.
      const drawn = lab.start("server", ["script", "-qec", command.join(" "), "/dev/null"]);
      const row = /alice +10\.0\.0\.2 +22\/tcp +\d+s +\d+s +\[#+-*\]/;
      const bars = async (from: number) => {
        const line = await drawn.stdout.waitFor(row, 10_000, from);
        return /\[(#+)/.exec(line)![1]!.length;
      };
      const first = await bars(0);
      let later = first;
      for (let from = 0; later >= first; from++) later = await bars(from);
      assert.ok(later < first);
      await drawn.kill("SIGTERM");
    },
  });

  await t.step("--json prints one line a second, and ends cleanly", async () => {
    const lines = lab.start("server", [...command, "--json"]);
    await lines.stdout.waitFor(/^\{"grants":\[\{"client":"alice",/, 10_000);
    await lines.stdout.waitFor(/^\{"grants":\[\{"client":"alice",/, LINE_MS, 1);
    assert.equal((await lines.kill("SIGTERM")).code, 0, String(lines.stderr));
  });
});
