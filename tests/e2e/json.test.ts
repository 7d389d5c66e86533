/** `--json` of every command that has it: one JSON object, every name in the table of docs/json.md, with its type. */

import assert from "node:assert/strict";
import { COMMANDS } from "../../lib/cli/catalog.ts";
import { ALICE_PUBLIC } from "../support/server_yaml.ts";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { checkNames, readTable } from "./json_names.ts";
import { IPV4, type Lab } from "./lab.ts";
import { openme } from "./openme.ts";
import { Site } from "./site.ts";
import { waitFor } from "../support/wait.ts";

/** Two doors of knockd, one of which has no counterpart. */
const KNOCKD = `[openSSH]
  sequence = 7000,8000
  command = /sbin/iptables -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT
[other]
  sequence = 1,2
  command = /usr/bin/true
`;

e2e("the names of --json", async (lab, t) => {
  const table = await readTable();
  const seen = new Set<string>();
  /** The commands whose output was looked at. */
  const ran = new Set<string>();
  await using site = await Site.create(lab, {
    clients: { alice: ["ssh"], bob: ["ssh"] },
    clientLines: { alice: ["extend_while_used: 1h"] },
    ports: { ssh: ["22/tcp"] },
    knockTimeout: "60s",
  });
  const agent = await lab.agent("server");
  await agent.listen({ tcp: [22] });

  /** What a command prints, looked at. The first word is its name. */
  const run = async (
    side: "server" | "client",
    args: readonly string[],
    { codes = [0] }: { codes?: readonly number[] } = {},
  ): Promise<Record<string, unknown>> => {
    const { code, stdout, stderr } = await openme(lab, side, [...args, "--json"]);
    const where = `openme ${args.join(" ")}`;
    assert.ok(codes.includes(code), `${where}: exit code ${code}: ${stderr}`);
    const value = JSON.parse(stdout) as Record<string, unknown>;
    assert.ok(typeof value === "object" && !Array.isArray(value), `${where}: no object`);
    checkNames(value, { table, seen, where });
    ran.add(args[0]!);
    return value;
  };
  const server = (...args: string[]) => run("server", [...args, "--config", site.config]);
  const alice = ["--client-config", `${site.dir}/alice.yaml`];
  const client = (args: string[], codes = [0]) => run("client", [...args, ...alice], { codes });

  await t.step("before serve has run", async () => {
    await server("check");
    await server("plan");
    await server("list");
    await server("sessions");
    await server("history");
    await client(["knock"]);
    await client(["profiles"]);
    await client(["knock", "--wait", "23/tcp", "--timeout", "200ms"], [3]);
    await client(["knock", "--check", "--timeout", "200ms"], [3]);
    await client(["status", "--timeout", "200ms"], [3]);
    await client(["doctor", "--client"], [0, 1]);
    await run("server", ["doctor", "--server", "--config", site.config], { codes: [0, 1] });
  });

  await t.step("the server's own files", async () => {
    const [out, qr] = [`${site.dir}/carol.yaml`, `${site.dir}/carol.svg`];
    const rules = ["--hours", "00:00-24:00 UTC", "--from", "10.0.0.0/24", "--uses", "1"]
      .concat("--lifetime", "1h", "--needs", "alice");
    const files = ["--out", out, "--qr-out", qr];
    const added = await server("add", "carol", "--expires", "90d", ...rules, ...files);
    assert.deepEqual(
      [added["client"], added["file"], added["qr_file"], added["changed"], added["link"]],
      ["carol", out, qr, true, undefined],
    );
    await server("add", "dora", "--ports", "8080/tcp", "--link");
    await server("add", "erin", "--pubkey", ALICE_PUBLIC);
    const again = await server("add", "erin", "--pubkey", ALICE_PUBLIC);
    assert.equal(again["changed"], false);
    await server("rotate", "dora", "--grace", "1h", "--link");
    await server("list");
    await server("rename", "dora", "dana");
    await server("revoke", "dana");
    const doors = `${site.dir}/knockd.conf`;
    await Deno.writeTextFile(doors, KNOCKD);
    await server("import", "knockd", doors, "--out-dir", `${site.dir}/imported`);
    await server("rotate", "--server");
    await server("rotate", "--server", "--finish");
    await Deno.writeTextFile(`${site.dir}/phrase`, "five random words\n", { mode: 0o600 });
    const phrase = ["--passphrase-file", `${site.dir}/phrase`];
    await server("backup", `${site.dir}/vps.age`, ...phrase);
    // Into another state: its floor would refuse the knocks of the steps below.
    const elsewhere = ["--state-dir", `${site.dir}/elsewhere`];
    await server("restore", `${site.dir}/vps.age`, "--force", ...elsewhere, ...phrase);
  });

  await t.step("a client's own files", async () => {
    const profiles = `${site.dir}/profiles.yaml`;
    await client(["keygen", "--out", `${site.dir}/client.key`]);
    await run("client", ["import", `${site.dir}/carol.yaml`, "--client-config", profiles]);
  });

  await t.step("a running server", async () => {
    await site.configure({});
    await using served = await site.serve();
    await client(["knock", "--wait", "22/tcp"]);
    await client(["knock", "--check"]);
    await client(["status"]);
    await server("sessions");
    await server("doctor", "--server");
    await sendStale(lab, site);
    await waitFor("the refusal", async () => {
      const { history } = await server("history") as { history: { event: string }[] };
      return history.some(({ event }) => event === "refused");
    });
    await server("close", "alice");
    await site.knock("bob");
    await server("revoke", "bob", "--kill");
    await waitFor("the end", async () => {
      const { history } = await server("history") as { history: { ended_at?: string }[] };
      return history.some((each) => each.ended_at !== undefined);
    });
    await served.stop();
  });

  await t.step("a rule of firewall: command that no grant covers", async () => {
    await site.configure({
      firewall: "command",
      dropPorts: false,
      clientLines: {},
      server: [
        `command: {open: ["true"], close: ["true"], list: [echo, openme 192.0.2.9 tcp 22], entry: "openme {address} {protocol} {ports}"}`,
      ],
    });
    await using served = await site.serve();
    await waitFor("the rule", async () => {
      const { without_grant: rules } = await server("sessions") as { without_grant: unknown[] };
      return rules.length === 1;
    });
    await served.kill("SIGTERM");
  });

  await t.step("every command that has --json was looked at", async () => {
    const expected: string[] = [];
    for (const [name, { load }] of Object.entries(COMMANDS)) {
      if ("--json" in ((await load()).parameters ?? {})) expected.push(name);
    }
    // What is of a fleet is looked at in fleet_commands.test.ts.
    assert.deepEqual([...ran].sort(), expected.filter((name) => name !== "fleet").sort());
  });

  await t.step("every name of the table was seen", () => {
    // Only where the firewall refuses a grant, where a profile has several hosts, and where a connection could not be cut.
    const rare = ["failed", "hosts", "source_port"];
    const fleets =
      /^(engine|error|fleet|fleet_revoked|heard_ms_ago|lacks|lag_ms|others|round_trip_ms|up|when_down)$/;
    const missing = [...table.keys()].filter((name) => !seen.has(name) && !fleets.test(name));
    assert.deepEqual(missing, rare);
  });
});

async function sendStale(lab: Lab, site: Site): Promise<void> {
  const agent = await lab.agent("client");
  const timestampNs = BigInt(Date.now()) * 1_000_000n - 300_000_000_000n;
  await agent.send(await site.seal("alice", { timestampNs }), IPV4.server, KNOCK_PORT);
}
