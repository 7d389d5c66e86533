/** What the backend for firewalld writes into the zones of Debian's own, and reads there: by itself, without a server. */

import assert from "node:assert/strict";
import { createFirewalldBackend } from "../../lib/firewall/firewalld/backend.ts";
import { runProgram } from "../../lib/system/run_program.ts";
import { openings, planOf, ranges } from "../firewall/support.ts";
import { blocksUnder } from "../documents/blocks.ts";
import { linesOf } from "../documents/session.ts";
import { e2e } from "./e2e.ts";
import { FirewalldHost, firewalldMissing } from "./firewalld_host.ts";

const PLAN = planOf({ dropPorts: false, guardedPorts: ranges("22/tcp", "8080-8090/tcp") });
const KNOCKS = 'rule priority="31001" port port="54154" protocol="udp" accept';
const SSH = sourceRule("192.0.2.7");
const SSH_RENEWED = SSH.replace("31001", "31002");

function sourceRule(source: string, family = "ipv4"): string {
  return `rule priority="31001" family="${family}" source address="${source}" port port="22" protocol="tcp" accept`;
}

e2e("firewalld's zones", async (lab, t) => {
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
}, { silentServer: false, needs: firewalldMissing() });
