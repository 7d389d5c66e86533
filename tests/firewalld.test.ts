/** The firewalld backend against a stand-in: what it says to firewall-cmd, and what it refuses. */

import assert from "node:assert/strict";
import { chooseBackend, probe } from "../lib/firewall/choose.ts";
import { createFirewalldBackend } from "../lib/firewall/firewalld.ts";
import { OpenmeError } from "../lib/errors.ts";
import { createLog } from "../lib/log.ts";
import { type RunProgram, runProgram } from "../lib/run_program.ts";
import { createFirewalldStandIn, type FirewalldStandIn } from "./e2e/firewalld_stand_in.ts";
import { openings, planOf, ranges } from "./firewall/support.ts";

const PLAN = planOf({ dropPorts: false, guardedPorts: ranges("22/tcp", "8080-8090/tcp") });
const KNOCKS = 'rule priority="31001" port port="54154" protocol="udp" accept';
const SSH =
  'rule priority="31001" family="ipv4" source address="192.0.2.7" port port="22" protocol="tcp" accept';
const SSH_RENEWED = SSH.replace("31001", "31002");

async function withFirewalld(
  body: (host: FirewalldStandIn, run: RunProgram) => Promise<void>,
): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "openme-firewalld-" });
  const host = createFirewalldStandIn(dir);
  try {
    await body(host, (call) => runProgram({ ...call, program: host.path }));
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const test = (name: string, body: Parameters<typeof withFirewalld>[0]) => {
  Deno.test({ name, ignore: Deno.build.os === "windows", fn: () => withFirewalld(body) });
};

test(
  "firewalld: an opening is a rich rule with a time, and a renewal is a new one",
  async (host, run) => {
    const backend = createFirewalldBackend(PLAN, run);
    await backend.install([]);
    await backend.apply([openings("192.0.2.7", { "22/tcp": 60_999 })]);
    const before = host.calls().length;
    await backend.apply([openings("192.0.2.7", { "22/tcp": 90_000 })]);
    assert.deepEqual(host.calls().slice(before), [
      `--zone=public --add-rich-rule=${SSH_RENEWED} --timeout=90`,
      `--zone=public --remove-rich-rule=${SSH}`,
    ]);
    assert.ok(host.calls().includes(`--zone=public --add-rich-rule=${SSH} --timeout=60`));
    assert.deepEqual(host.rules(), [SSH_RENEWED, KNOCKS].sort());
    assert.ok(await backend.isIntact());
  },
);

test("firewalld: a network is a source as well, and is read back", async (host, run) => {
  const backend = createFirewalldBackend(PLAN, run);
  await backend.install([openings("2001:db8::/64", { "22/tcp": 60_000 })]);
  await backend.apply([openings("198.51.100.0/24", { "22/tcp": 60_000 })]);
  const rule = (family: string, source: string) =>
    `rule priority="31001" family="${family}" source address="${source}" port port="22" protocol="tcp" accept`;
  assert.deepEqual(
    host.rules(),
    [rule("ipv4", "198.51.100.0/24"), rule("ipv6", "2001:db8::/64"), KNOCKS].sort(),
  );
  assert.ok(host.passes({ protocol: "tcp", from: "198.51.100.9", port: 22 }));
  assert.ok(!host.passes({ protocol: "tcp", from: "198.51.101.9", port: 22 }));
  assert.deepEqual((await backend.list())?.map(({ address }) => address).sort(), [
    "198.51.100.0/24",
    "2001:db8::/64",
  ]);
  assert.ok(await backend.isIntact());
  await backend.apply([openings("198.51.100.0/24", {})]);
  assert.ok(!host.passes({ protocol: "tcp", from: "198.51.100.9", port: 22 }));
});

test("firewalld: a zone that does not let knocks in is told of", async (_host, run) => {
  const backend = createFirewalldBackend(PLAN, run);
  await backend.install([]);
  assert.deepEqual((await backend.examine())?.wrong, []);
  await run({
    program: "firewall-cmd",
    args: ["--zone=public", `--remove-rich-rule=${KNOCKS}`],
    timeoutMs: 5000,
  });
  assert.deepEqual((await createFirewalldBackend(PLAN, run).examine())?.wrong, [
    "the zone public lacks the rule for knocks",
  ]);
});

test("firewalld: a renewal lasts", async (host, run) => {
  const backend = createFirewalldBackend(PLAN, run);
  await backend.install([]);
  await backend.apply([openings("192.0.2.7", { "22/tcp": 1000 })]);
  await backend.apply([openings("192.0.2.7", { "22/tcp": 60_000 })]);
  await new Promise((resolve) => setTimeout(resolve, 1100)); // the first one's end is what this is about
  assert.ok(host.passes({ protocol: "tcp", from: "192.0.2.7", port: 22 }));
});

test(
  "firewalld: what a dead process left goes, and what is wanted of it gets a new time",
  async (host, run) => {
    const dead = createFirewalldBackend(PLAN, run);
    await dead.install([openings("192.0.2.7", { "22/tcp": 60_000 })]);
    await dead.apply([openings("192.0.2.8", { "22/tcp": 60_000 })]);
    const foreign = SSH.replace('priority="31001" ', "");
    await run({ program: "firewall-cmd", args: [`--add-rich-rule=${foreign}`], timeoutMs: 5000 });
    const backend = createFirewalldBackend(PLAN, run);
    await backend.install([openings("192.0.2.7", { "22/tcp": 90_000 })]);
    assert.deepEqual(host.rules(), [SSH_RENEWED, foreign, KNOCKS].sort());
    assert.ok(host.calls().includes(`--zone=public --add-rich-rule=${SSH_RENEWED} --timeout=90`));
    await backend.remove();
    assert.deepEqual(host.rules(), [foreign]);
  },
);

test("firewalld: a reload is seen, and made up for", async (_host, run) => {
  const backend = createFirewalldBackend(PLAN, run);
  await backend.install([]);
  await backend.apply([openings("192.0.2.7", { "22/tcp": 60_000 })]);
  assert.ok(await backend.isIntact());
  await run({ program: "firewall-cmd", args: ["--reload"], timeoutMs: 5000 });
  assert.equal(await backend.isIntact(), false);
});

test(
  "firewalld: an interface's zone, and no rule for knocks where that is not wanted",
  async (host, run) => {
    const backend = createFirewalldBackend(
      { ...PLAN, interface: "eth7", openKnockPort: false },
      run,
    );
    await backend.install([]);
    assert.ok(host.calls().includes("--get-zone-of-interface=eth7"));
    assert.deepEqual(host.rules(), []);
    assert.ok(await backend.isIntact());
  },
);

test("firewalld: what its zone lets everyone in to is told", async (host, run) => {
  const backend = createFirewalldBackend(PLAN, run);
  await backend.install([]);
  assert.equal(await backend.openToEveryone(), undefined);
  host.setZone("  services: dhcpv6-client ssh\n  ports: 8085/tcp 443/tcp\n  source-ports: ");
  const open = await backend.openToEveryone();
  assert.deepEqual(open?.ports, ranges("22/tcp", "8085/tcp"));
  assert.match(open?.hint ?? "", /firewall-cmd --permanent/);
});

test(
  "firewalld: not running, and drop_ports: true, are errors that say what to do",
  async (host, run) => {
    host.setState("not running");
    await assert.rejects(createFirewalldBackend(PLAN, run).install([]), {
      code: "FIREWALL",
      message: "firewalld is not running",
      hint: /systemctl enable --now firewalld/,
    });
    host.setState("running");
    const owned = (flags: string): RunProgram => (call) => {
      if (call.program === "firewall-cmd") return run(call);
      if (call.program !== "nft") {
        return Promise.reject(
          new OpenmeError("COMMAND", "no such program"),
        );
      }
      return Promise.resolve(`table inet firewalld { # progname firewalld\n\t${flags}\n}\n`);
    };
    assert.equal((await probe(owned("flags owner,persist"))).name, "firewalld");
    assert.equal((await probe(owned("chain x {"))).name, "nft");
    const log = createLog({
      level: "error",
      format: "logfmt",
      now: () => new Date(),
      write: () => {},
    });
    const parts = { run: owned("flags owner"), log, stateDir: "/nowhere", command: undefined };
    await assert.rejects(chooseBackend("auto", { ...parts, plan: { ...PLAN, dropPorts: true } }), {
      code: "FIREWALL",
      hint: /set drop_ports: false/,
    });
  },
);
