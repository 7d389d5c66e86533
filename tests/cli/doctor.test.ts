/** What doctor makes of what it sees, without a network: clocks, routes, clients, and where it looks at all. */

import assert from "node:assert/strict";
import type { Context } from "../../lib/cli/context.ts";
import {
  examineClock as examineAgainstServer,
  examineRoute,
} from "../../lib/cli/commands/doctor_client.ts";
import {
  examineClock,
  examineSeparation,
  examineServer,
} from "../../lib/cli/commands/doctor_server.ts";
import { SEPARATE_OFF } from "../../lib/control/requests.ts";
import { OpenmeError } from "../../lib/values/errors.ts";
import type { ProgramRun, RunProgram } from "../../lib/system/run_program.ts";
import { ALICE_PUBLIC, profilesYaml, serverYaml } from "../support/server_yaml.ts";
import { Folder } from "../support/folder.ts";
import { bareEnvironment, failure, openme, unprivileged } from "./program.ts";
import { address } from "../support/knocks.ts";

Deno.test("doctor compares this machine's clock with the server's, whose date has whole seconds", () => {
  const dateMs = Date.UTC(2026, 10, 23, 8);
  const rows: [sentMs: number, receivedMs: number, found: string][] = [
    [0, 0, "as the server's"],
    [999, 1500, "as the server's"],
    [3000, 3000, "as the server's"],
    [-2000, -2000, "as the server's"],
    [3001, 3001, "2 s ahead of the server's"],
    [124_000, 124_100, "123 s ahead of the server's"],
    [-2001, -2001, "2 s behind the server's"],
    [-123_500, -123_000, "123 s behind the server's"],
    // An answer that took long says less.
    [-5000, 5000, "as the server's"],
  ];
  for (const [sentMs, receivedMs, expected] of rows) {
    const moment = { sentMs: dateMs + sentMs, receivedMs: dateMs + receivedMs };
    const { level, found, hint } = examineAgainstServer(dateMs, moment);
    assert.equal(found, expected);
    assert.equal(level, expected.startsWith("as ") ? "ok" : "warn");
    assert.equal(hint === undefined, level === "ok");
  }
  const undated = examineAgainstServer(undefined, { sentMs: 0, receivedMs: 0 });
  assert.deepEqual([undated.level, undated.found], ["warn", "the server's answer has no date"]);
});

Deno.test("doctor asks timedatectl for the server's clock", async () => {
  const asked: ProgramRun[] = [];
  const answering = (answer: string): RunProgram => (run) => {
    asked.push(run);
    return Promise.resolve(answer);
  };
  assert.equal((await examineClock(answering("yes\n"))).level, "ok");
  const off = await examineClock(answering("no\n"));
  assert.deepEqual([off.level, off.found], ["warn", "not synchronised"]);
  assert.match(off.hint!, /timedatectl set-ntp true/);
  const silent = await examineClock(() => Promise.reject(new OpenmeError("COMMAND", "no")));
  assert.equal(silent.level, "warn");
  assert.match(silent.found, /^cannot tell whether it is synchronised/);
  assert.equal(asked[0]!.program, "timedatectl");
});

Deno.test({
  name: "doctor tells the route to the server, and that there is none",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const routes = '[{"dst":"192.0.2.1","gateway":"10.0.0.254","dev":"eth0","prefsrc":"10.0.0.2"}]';
    const found = await examineRoute(address("192.0.2.1"), { run: () => Promise.resolve(routes) });
    assert.deepEqual(found, {
      level: "ok",
      what: "route",
      found: "to 192.0.2.1 from 10.0.0.2 on eth0 via 10.0.0.254",
    });
    const failing = (why: string) =>
      examineRoute(address("2001:db8::1"), {
        run: () => Promise.reject(new OpenmeError("COMMAND", why)),
      });
    const none = await failing(
      "ip failed with exit code 2: RTNETLINK answers: Network is unreachable",
    );
    assert.deepEqual([none.level, none.found], ["warn", "no route to 2001:db8::1"]);
    assert.match(none.hint!, /cannot use IPv6 to the server/);
    const missing = await failing("cannot run ip: there is no such program");
    assert.deepEqual([missing.level, missing.found], [
      "warn",
      "to 2001:db8::1: cannot run ip: there is no such program",
    ]);
  },
});

Deno.test("doctor tells whether a process without rights reads the datagrams, and why not", () => {
  const [two, chosen, forced] = [
    examineSeparation({ separated: true, why: null }),
    examineSeparation({ separated: false, why: SEPARATE_OFF }),
    examineSeparation({ separated: false, why: "setpriv is missing" }),
  ];
  assert.equal(two.level, "ok");
  assert.match(two.found, /^serve is two processes: /);
  assert.equal(chosen.level, "ok");
  assert.match(chosen.found, /^serve is one process, which .*: server\.separate is off$/);
  assert.equal(forced.level, "warn");
  assert.match(forced.found, /^serve is one process, which .*: setpriv is missing$/);
  assert.match(forced.hint!, /as root.*util-linux.*server\.separate: off/);
});

Deno.test("doctor tells whose keys have ended, and that there are no clients", async () => {
  await using folder = await Folder.create();
  const state = folder.file("state");
  await Deno.mkdir(state, { mode: 0o700 });
  const clientsOf = async (rest: string) => {
    const server = [`state_dir: ${state}`, "firewall: none"];
    const config = await folder.write("server.yaml", serverYaml({ server, rest }));
    const args = { values: { config }, positionals: [] };
    const context = { run: () => Promise.resolve("yes") } as Partial<Context> as Context;
    const findings = await examineServer(args, context);
    return findings.filter(({ what }) => what === "clients").map(({ level, found }) =>
      `${level} ${found}`
    );
  };
  assert.deepEqual(await clientsOf("clients: {}"), ["warn there are none: no knock is accepted"]);
  const alice = `clients: {alice: {ed25519_pubkey: ${ALICE_PUBLIC}, allowed_ports: [22/tcp]`;
  assert.deepEqual(await clientsOf(`${alice}}}`), []);
  assert.deepEqual(await clientsOf(`${alice}, expires: "2020-01-01"}}`), [
    "warn the key of alice has expired",
  ]);
  assert.deepEqual(await clientsOf(`${alice}, expires: "2999-01-01"}}`), []);
});

Deno.test("doctor says that it may not look at a server's configuration, not that there is none", async () => {
  await using folder = await Folder.create();
  await Deno.mkdir(folder.file("etc"));
  await folder.write("etc/config.yaml", serverYaml());
  await Deno.chmod(folder.file("etc"), 0o000);
  const config = folder.file("etc/config.yaml");
  const doctor = async (env: Record<string, string>) => {
    const result = await openme(["doctor", "--json", "--config", config], {
      env: await bareEnvironment(env),
      through: unprivileged(),
    });
    return { stderr: result.stderr, findings: JSON.parse(result.stdout).findings };
  };
  assert.deepEqual(await doctor({}), {
    stderr: "",
    findings: [{
      level: "fail",
      what: "config",
      found: `cannot load "${config}": permission denied`,
      hint: "run it as the file's owner, or with sudo",
    }],
  });
  // Where it is a client it may be that alone.
  const profile = profilesYaml({ ci: { host: "host.invalid" } });
  const { findings } = await doctor({ OPENME_PROFILE: profile });
  assert.deepEqual([findings[0].what, findings.at(-1)], ["profile", {
    level: "warn",
    what: "config",
    found: `${config}: permission denied: not looked at as a server`,
    hint: "if it is one: sudo openme doctor --server",
  }]);
  await Deno.chmod(folder.file("etc"), 0o700);
});

Deno.test("doctor finds a profile in OPENME_PROFILE, and needs no HOME on a server", async () => {
  await using folder = await Folder.create();
  const profile = profilesYaml({ ci: { host: "host.invalid" } });
  const levels = async (args: string[], env: Record<string, string>) => {
    const result = await openme(["doctor", "--json", ...args], { env: await bareEnvironment(env) });
    assert.equal(result.stderr, "");
    return (JSON.parse(result.stdout).findings as { level: string; what: string; found: string }[])
      .map(({ level, what, found }) => `${level} ${what}: ${found}`);
  };
  for (const args of [[], ["--client"], ["ci"]]) {
    const missing = ["--config", folder.file("missing.yaml")];
    const told = await levels([...args, ...missing], { OPENME_PROFILE: profile });
    assert.equal(told[0], 'ok profile: "ci", server host.invalid', args.join(" "));
    assert.match(told[1]!, /^fail name: /);
  }
  const config = await folder.write(
    "server.yaml",
    serverYaml({ server: [`state_dir: ${folder.file("state")}`, "firewall: none"] }),
  );
  const told = await levels(["--config", config], {});
  assert.equal(told[0], `ok config: ${config}: 1 client`);
  assert.ok(told.some((line) => line.startsWith("fail serve: cannot reach openme serve")));
  assert.ok(!told.some((line) => line.includes("profile")));
  const env = await bareEnvironment();
  assert.deepEqual(
    await openme(["doctor", "--config", folder.file("missing.yaml")], { env }),
    failure(
      1,
      "there is neither a server's configuration nor a profile here",
      "on a server: openme init --server HOST; on a client: a profile from openme add NAME",
    ),
  );
});
