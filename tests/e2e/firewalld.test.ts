/** The backend for firewalld with Debian's own: what stands in its zones, and what becomes of it when firewalld changes. */

import assert from "node:assert/strict";
import { createFirewalldBackend } from "../../lib/firewall/firewalld/backend.ts";
import { runProgram } from "../../lib/system/run_program.ts";
import { openings, planOf, ranges } from "../firewall/support.ts";
import { blocksUnder } from "../documents/blocks.ts";
import { linesOf } from "../documents/session.ts";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { FirewalldHost, firewalldMissing } from "./firewalld_host.ts";
import { IPV4, type Lab } from "./lab.ts";
import { OPENME } from "../support/openme_command.ts";
import { Site } from "./site.ts";
import { waitFor } from "../support/wait.ts";

const PLAN = planOf({ dropPorts: false, guardedPorts: ranges("22/tcp", "8080-8090/tcp") });
const KNOCKS = 'rule priority="31001" port port="54154" protocol="udp" accept';
const SSH = sourceRule("192.0.2.7");
const SSH_RENEWED = SSH.replace("31001", "31002");

function sourceRule(source: string, family = "ipv4"): string {
  return `rule priority="31001" family="${family}" source address="${source}" port port="22" protocol="tcp" accept`;
}

const needs = firewalldMissing();

e2e("firewalld's zones", rules, { silentServer: false, needs });
e2e("firewall: firewalld", serves, { needs });

async function rules(lab: Lab, t: Deno.TestContext): Promise<void> {
  await using host = await FirewalldHost.create(lab);
  // The bus is a socket: it is the same in every namespace.
  const make = (plan = PLAN) =>
    createFirewalldBackend({ plan, run: (call) => runProgram({ ...call, program: host.program }) });

  await t.step("an opening is a rule with a time, and a renewal is a new one", async () => {
    const backend = make();
    assert.equal(await backend.list(), undefined);
    await backend.install([]);
    await backend.apply([openings("192.0.2.7", { "22/tcp": 60_999 })]);
    assert.deepEqual(await host.rules(), [SSH, KNOCKS].sort());
    await backend.apply([openings("192.0.2.7", { "22/tcp": 90_000 })]);
    assert.deepEqual(await host.rules(), [SSH_RENEWED, KNOCKS].sort());
    assert.ok(await backend.isIntact());
    await backend.apply([openings("192.0.2.7", {})]);
    assert.deepEqual(await host.rules(), [KNOCKS]);
  });

  await t.step("a network is a source as well, and is read back", async () => {
    const backend = make();
    await backend.install([openings("2001:db8::/64", { "22/tcp": 60_000 })]);
    await backend.apply([openings("198.51.100.0/24", { "22/tcp": 60_000 })]);
    assert.deepEqual(
      await host.rules(),
      [sourceRule("198.51.100.0/24"), sourceRule("2001:db8::/64", "ipv6"), KNOCKS].sort(),
    );
    assert.deepEqual((await backend.list())?.map(({ address }) => address).sort(), [
      "198.51.100.0/24",
      "2001:db8::/64",
    ]);
    assert.ok(await backend.isIntact());
    await backend.install([]);
    assert.deepEqual(await host.rules(), [KNOCKS]);
  });

  await t.step("a zone that does not let knocks in is told of", async () => {
    assert.deepEqual((await make().examine())?.wrong, []);
    await host.cmd("--zone=public", `--remove-rich-rule=${KNOCKS}`);
    assert.deepEqual((await make().examine())?.wrong, [
      "the zone public lacks the rule for knocks",
    ]);
  });

  await t.step("a renewal lasts", async () => {
    const backend = make();
    await backend.install([]);
    await backend.apply([openings("192.0.2.7", { "22/tcp": 3000 })]);
    await backend.apply([openings("192.0.2.7", { "22/tcp": 60_000 })]);
    await new Promise((resolve) => setTimeout(resolve, 3500)); // the first one's end is what this is about
    assert.deepEqual(await host.rules(), [SSH_RENEWED, KNOCKS].sort());
  });

  await t.step("what a dead process left goes, what is wanted of it is renewed", async () => {
    await make().install([
      openings("192.0.2.7", { "22/tcp": 5000 }),
      openings("192.0.2.8", { "22/tcp": 60_000 }),
    ]);
    const foreign = SSH.replace('priority="31001" ', "");
    await host.cmd("--zone=public", `--add-rich-rule=${foreign}`);
    const backend = make();
    await backend.install([openings("192.0.2.7", { "22/tcp": 90_000 })]);
    const left = [foreign, KNOCKS];
    assert.equal((await host.rules()).length, 3);
    // The time of the dead one's rule is over.
    await new Promise((resolve) => setTimeout(resolve, 5000));
    assert.equal((await host.rules()).length, 3);
    await backend.apply([openings("192.0.2.7", {})]);
    assert.deepEqual(await host.rules(), left.sort());
    await backend.remove();
    assert.deepEqual(await host.rules(), [foreign]);
    await host.cmd("--zone=public", `--remove-rich-rule=${foreign}`);
  });

  await t.step("an interface's zone, and no rule for knocks where none is wanted", async () => {
    await host.cmd("--zone=internal", "--change-interface=eth0");
    await host.cmd("--zone=internal", "--remove-service=ssh");
    const one = make({ ...PLAN, interface: "eth0" });
    await one.install([]);
    assert.deepEqual([await host.rules("public"), await host.rules("internal")], [[], [KNOCKS]]);
    assert.ok(await one.isIntact());
    await one.remove();
    const all = make();
    await all.install([]);
    assert.deepEqual([await host.rules("public"), await host.rules("internal")], [[KNOCKS], [
      KNOCKS,
    ]]);
    await all.remove();
    const none = make({ ...PLAN, openKnockPort: false });
    await none.install([]);
    assert.deepEqual(await host.rules("internal"), []);
    assert.ok(await none.isIntact());
    await host.cmd("--zone=internal", "--remove-interface=eth0");
  });

  await t.step("what a zone lets everyone in to is told", async () => {
    const backend = make();
    await backend.install([]);
    assert.equal(await backend.openToEveryone(), undefined);
    await host.cmd("--zone=public", "--add-service=ssh");
    await host.cmd("--zone=public", "--add-port=8085/tcp", "--add-port=443/tcp");
    const open = await backend.openToEveryone();
    assert.deepEqual(open?.ports, ranges("22/tcp", "8085/tcp"));
    assert.match(open?.hint ?? "", /firewall-cmd --permanent/);
    const [block] = await blocksUnder({
      document: "docs/firewalls.md",
      heading: "firewalld",
      test: import.meta.url,
    });
    for (const command of linesOf(block!.text)[0]!.command.split(" && ")) {
      await host.cmd(...command.replace(/^sudo firewall-cmd /, "").split(" "));
    }
    assert.doesNotMatch(await host.cmd("--zone=public", "--list-services"), /\bssh\b/);
    assert.equal(await backend.isIntact(), false);
  });

  await t.step("a firewalld that does not run is an error that says what to do", async () => {
    await host.stop();
    await assert.rejects(make().install([]), {
      code: "FIREWALL",
      message: "firewalld is not running",
      hint: /systemctl enable --now firewalld/,
    });
  });
}

async function serves(lab: Lab, t: Deno.TestContext): Promise<void> {
  const { server, client } = await lab.agents("server", "client");
  await server.listen({ tcp: [22] });
  await using host = await FirewalldHost.create(lab);
  await using site = await Site.create(lab, {
    clients: { alice: ["22/tcp"] },
    clientLines: { alice: ["disable_health_port: true"] },
    dropPorts: false,
    firewall: "firewalld",
    knockTimeout: "5s",
    env: host.env,
  });
  const isOpen = () => client.reaches(IPV4.server, 22);
  const isClosed = async () => !await isOpen();
  const knock = async () => await client.send(await site.seal("alice"), IPV4.server, KNOCK_PORT);
  // Each firewall-cmd is a Python program, and some are run one after the other: what is waited for is the state.
  const slow = { timeoutMs: 60_000 };

  await t.step("a knock opens, its end closes, and a stop leaves nothing", async () => {
    await using served = await site.serve();
    assert.ok(await isClosed());
    await knock();
    await waitFor("the port to open", isOpen, slow);
    const session = await client.hold(IPV4.server, 22);
    await waitFor("the port to close", isClosed, slow);
    assert.ok(await session.echoes(), "what is established goes on");
    await session.close();
    assert.deepEqual(await host.rules(), [KNOCKS]);
    await served.stop();
    assert.deepEqual(await host.rules(), []);
  });

  await t.step("firewalld ends what a killed serve had opened", async () => {
    await using served = await site.serve();
    await knock();
    await waitFor("the port to open", isOpen, slow);
    await served.kill("SIGKILL");
    assert.ok(await isOpen());
    await waitFor("the port to close", isClosed, slow);
    const done = await lab.output("server", [
      ...["env", `PATH=${host.env["PATH"]}`, ...OPENME],
      ...["uninstall", "--config", site.config],
    ]);
    assert.equal(done.code, 0, done.stderr);
    assert.deepEqual(await host.rules(), []);
  });

  await t.step("a reload, a complete one and a restart are made up for", async () => {
    await site.configure({ knockTimeout: "5m" });
    await using served = await site.serve();
    await knock();
    await waitFor("the port to open", isOpen, slow);
    const restart = async () => {
      await host.stop();
      await host.start();
    };
    for (
      const [what, act] of [
        ["reload", () => host.cmd("--reload")],
        ["complete reload", () => host.cmd("--complete-reload")],
        ["restart", restart],
      ] as const
    ) {
      await act();
      await waitFor(
        `the rules to be back after a ${what}`,
        async () => (await host.rules()).length === 2 && await isOpen(),
        slow,
      );
    }
    const refused = served.lines.filter((line) => /event=refused/.test(line));
    assert.deepEqual(refused, []);
    await served.stop();
    assert.deepEqual(await host.rules(), []);
    assert.ok(await isClosed());
  });

  await t.step("a firewalld that is killed and started again ends it in time", async () => {
    await site.configure({ knockTimeout: "20s" });
    await using served = await site.serve();
    await knock();
    await waitFor("the port to open", isOpen, slow);
    await host.stop("SIGKILL");
    assert.ok(await isOpen(), "its table stays");
    await host.start();
    await waitFor(
      "openme's rules to be back",
      async () => (await host.rules()).includes(KNOCKS),
      slow,
    );
    await waitFor("the port to close", isClosed, slow);
    await served.stop();
    assert.deepEqual(await host.rules(), []);
  });

  await t.step("a knock beside a firewalld that hangs opens once it goes on", async () => {
    await using served = await site.serve();
    host.signal("SIGSTOP");
    await knock();
    await served.waitForLine(/event=(change|firewall)_failed .*did not finish within 10 s/, 60_000);
    host.signal("SIGCONT");
    await waitFor("the port to open", isOpen, slow);
    await served.stop();
    assert.ok(await isClosed());
  });

  await t.step("serve says at its start that firewalld does not run", async () => {
    await host.stop();
    const served = site.startServe();
    const { code } = await served.status;
    assert.equal(code, 1);
    await served.waitForLine(/error: firewalld is not running/);
  });
}
