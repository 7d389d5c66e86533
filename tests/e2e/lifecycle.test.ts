/**
 * Nobody is locked out, and nothing is left behind: plan, dry run, confirmation with roll-back, guard, the ways to stop,
 * uninstall.
 */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { FAILURES } from "./failing_server.ts";
import { IPV4 } from "./lab.ts";
import { startParties } from "./parties.ts";
import { OPENME } from "../support/openme_command.ts";
import { openme, Served } from "./openme.ts";
import { HOST_RULES } from "./rules.ts";
import { Site } from "./site.ts";
import { pause, waitFor, within } from "../support/wait.ts";

const CLIENTS = { clients: { alice: ["22/tcp"] } };

async function append({ config }: Site, after: string, line: string): Promise<void> {
  const text = await Deno.readTextFile(config);
  await Deno.writeTextFile(config, text.replace(after, `${line}\n${after}`));
}

e2e("an administrator", async (lab, t) => {
  const { client, isOpen, knock } = await startParties(lab, { tcp: [22, 80] });

  await t.step("sees with plan what would be run and what becomes of the ports", async () => {
    await using site = await Site.create(lab, CLIENTS);
    const plan = async (...flags: string[]) => {
      const { code, stdout, stderr } = await openme(lab, "server", [
        "plan",
        ...flags,
        "--config",
        site.config,
      ]);
      assert.equal(code, 0, stderr);
      return stdout;
    };
    const first = await plan();
    assert.match(first, /^nft -f - <<'END'$[^]*^table inet openme \{$[^]*^END$/m);
    assert.match(first, /^22\/tcp 54154\/tcp\n {2}become closed/m);
    assert.match(first, /^80\/tcp.*\n {2}are not guarded, and stay open to everyone/m);
    assert.match(first, /^54154\/udp\n {2}takes knocks/m);
    const { rules, ...shown } = JSON.parse(await plan("--json"));
    assert.match(rules, /^nft -f - <<'END'$[^]*^table inet openme \{$/m);
    assert.deepEqual(shown, {
      firewall: "nft",
      interface: null,
      unstamped_knocks: "limited",
      ports_become_closed: ["22/tcp", "54154/tcp"],
      ports_closed: [],
      ports_open_in_spite: [],
      ports_open_unguarded: shown.ports_open_unguarded,
      ports_knock: ["54154/udp"],
    });
    assert.ok(shown.ports_open_unguarded.includes("80/tcp"));
    assert.equal(await lab.ruleset(), "", "nothing has changed");

    await lab.nft(HOST_RULES);
    assert.match(await plan(), /^22\/tcp 54154\/tcp\n {2}are closed already/m);
    await lab.nft("flush ruleset");

    await site.configure({ dropPorts: false });
    assert.match(
      await plan(),
      /^22\/tcp 54154\/tcp\n {2}stay open to everyone in spite of openme/m,
    );

    await site.configure({ dropPorts: true });
    await using served = await site.serve();
    const ruleset = await lab.ruleset();
    assert.match(await plan(), /^22\/tcp 54154\/tcp\n {2}are closed already/m);
    assert.equal(await lab.ruleset(), ruleset);
    await served.stop();
  });

  await t.step(
    "tries it with --dry-run, which touches no firewall and shows what it would run",
    async () => {
      await using site = await Site.create(lab, CLIENTS);
      await using served = await site.serve(["--dry-run"]);
      await knock(site);
      await served.waitForLine(/granted client=alice/);
      const shown = served.output.join("\n");
      assert.match(shown, /^table inet openme \{$/m);
      assert.match(shown, / set granted4 \{.* elements = \{ 10\.0\.0\.2 \. tcp \. 22 timeout/m);
      assert.equal(await lab.ruleset(), "");
      assert.ok(await isOpen());
      await served.stop();
    },
  );

  await t.step("tries it with --dry-run, which spends no knock and leaves no grant", async () => {
    await using site = await Site.create(lab, { ...CLIENTS, knockTimeout: "1m" });
    await (await site.serve()).stop();
    let knock: Uint8Array;
    {
      await using served = await site.serve(["--dry-run"]);
      knock = await site.seal("alice");
      await client.send(knock, IPV4.server, KNOCK_PORT);
      await served.waitForLine(/granted client=alice/);
      await served.kill("SIGKILL");
    }
    {
      await using served = await site.serve();
      assert.match(await served.waitForLine(/listening/), /grants=0/);
      assert.equal(await isOpen(), false);
      await client.send(knock, IPV4.server, KNOCK_PORT);
      await waitFor("the port to open", isOpen);
      await served.stop();
    }
    await using served = await site.serve(["--dry-run"]);
    await served.stop();
    const left = [...Deno.readDirSync(site.stateDir)].filter(({ name }) => /dry/.test(name));
    assert.deepEqual(left, []);
  });

  await t.step("is told at once that a program of firewall: command is not there", async () => {
    await using site = await Site.create(lab, { ...CLIENTS, dropPorts: false });
    const text = await Deno.readTextFile(site.config);
    const command = "firewall: command\n  command: {open: [openme-has-none], close: [sh]}";
    await Deno.writeTextFile(site.config, text.replace("firewall: nft", command));
    const expected = /error: server\.command\.open: there is no program "openme-has-none"/;
    const check = await openme(lab, "server", ["check", "--config", site.config]);
    assert.equal(check.code, 1);
    assert.match(check.stderr, expected);
    await using served = site.startServe();
    assert.equal((await within(served.status, 15_000, undefined))?.code, 1);
    await served.waitForLine(expected);
  });

  await t.step("gets everything back unless the guard is confirmed in time", async () => {
    for (const server of [[], ["on_stop: closed"]]) {
      await using site = await Site.create(lab, { ...CLIENTS, server });
      await lab.nft(HOST_RULES);
      const before = await lab.ruleset();
      await using served = await site.serve(["--confirm", "1s"]);
      const { code } = (await within(served.status, 10_000, undefined)) ?? { code: -1 };
      assert.equal(code, 1, served.lines.join("\n"));
      await served.waitForLine(/level=error event=not_confirmed/);
      assert.equal(await lab.ruleset(), before);
      const late = await openme(lab, "server", ["confirm", "--config", site.config]);
      assert.equal(late.code, 1);
      assert.match(late.stderr, /no openme serve waits/);
    }
  });

  await t.step("gets the guard back that stood before, as it was", async () => {
    for (const firewall of ["nft", "iptables-nft"]) {
      await using site = await Site.create(lab, { clients: { alice: ["80/tcp"] } });
      const edit = async (from: string, to: string) => {
        const text = await Deno.readTextFile(site.config);
        await Deno.writeTextFile(site.config, text.replace(from, to));
      };
      const reachable = () =>
        Promise.all([22, 80].map((port) => client.reaches(IPV4.server, port)));
      await edit("firewall: nft", `firewall: ${firewall}`);
      const guard = await openme(lab, "server", ["guard", "--config", site.config]);
      assert.equal(guard.code, 0, guard.stderr);
      assert.doesNotMatch(guard.stderr, /warning/);
      assert.deepEqual(await reachable(), [true, false]);
      await edit("allowed_ports: [80/tcp]", "allowed_ports: [22/tcp]");
      await using served = await site.serve(["--confirm", "1s"]);
      assert.deepEqual(await reachable(), [false, true]);
      assert.equal((await within(served.status, 10_000, undefined))?.code, 1);
      assert.deepEqual(await reachable(), [true, false], served.lines.join("\n"));
      const { code } = await openme(lab, "server", ["uninstall", "--config", site.config]);
      assert.equal(code, 0);
      // With no guard before, everything is open again.
      await using again = await site.serve(["--confirm", "1s"]);
      assert.equal((await within(again.status, 10_000, undefined))?.code, 1);
      assert.deepEqual(await reachable(), [true, true]);
    }
  });

  await t.step("confirms with openme confirm", async () => {
    await using site = await Site.create(lab, CLIENTS);
    await using served = await site.serve(["--confirm", "3s"]);
    const { code, stderr } = await openme(lab, "server", ["confirm", "--config", site.config]);
    assert.equal(code, 0, stderr);
    await served.waitForLine(/event=confirmed$/);
    await pause(3200); // what is tested is that nothing happens
    assert.equal(await isOpen(), false);
    await served.stop();
  });

  await t.step(
    "gets everything back also where serve runs in the background of a terminal",
    async () => {
      await using site = await Site.create(lab, CLIENTS);
      const command = [...OPENME, "serve", "--config", site.config, "--confirm", "1s"].join(" ");
      const background = `bash -c 'set -m; ${command} & wait'`;
      await using terminal = lab.start("server", ["script", "-qec", background, "/dev/null"]);
      // A process that touched the terminal would be stopped, and its timers with it.
      await terminal.stdout.waitFor(/event=stopped/, 15_000);
      assert.ok(await isOpen());
    },
  );

  await t.step("is told of open sessions to guarded ports, and keeps them", async () => {
    await using site = await Site.create(lab, CLIENTS);
    const session = await client.hold(IPV4.server, 22);
    await using served = await site.serve();
    await served.waitForLine(/event=sessions_guarded ports=22\/tcp sessions=1/);
    assert.ok(await session.echoes());
    await session.close();
    await served.stop();
  });

  await t.step(
    "is told of the own session, also where sudo has cleared the environment",
    async () => {
      await using site = await Site.create(lab, CLIENTS);
      const session = await client.hold(IPV4.server, 22);
      const sockets = await lab.run("server", ["ss", "-Htn", "state", "established"]);
      const port = new RegExp(`${IPV4.client}\\]?:(\\d+)`).exec(sockets)?.[1];
      const variable = `SSH_CONNECTION=${IPV4.client} ${port} ${IPV4.server} 22`;
      const serve = [...OPENME, "serve", "--config", site.config].join(" ");
      // A shell that has the variable, as sudo has it, stays between.
      const cleared = `env -u SSH_CONNECTION ${serve} & trap "kill $!" TERM; wait; wait`;
      for (const command of [`exec ${serve}`, cleared]) {
        await using served = new Served(
          lab.start("server", ["env", variable, "sh", "-c", command]),
        );
        await served.waitForLine(
          /event=own_session_guarded ports=22\/tcp from=10\.0\.0\.2/,
          15_000,
        );
        await served.waitForLine(/listening/, 15_000);
        assert.ok(await session.echoes());
        await served.kill("SIGTERM");
        await served.waitForLine(/event=stopped/);
      }
      await session.close();
    },
  );

  await t.step(
    "closes early with guard; serve takes over",
    async () => {
      await using site = await Site.create(lab, CLIENTS);
      const { code, stderr } = await openme(lab, "server", ["guard", "--config", site.config]);
      assert.equal(code, 0, stderr);
      assert.match(stderr, /closed by nft: 22\/tcp/);
      assert.equal(await isOpen(), false);
      await using served = await site.serve();
      assert.equal(await isOpen(), false);
      await knock(site);
      await waitFor("the port to open", isOpen);
      const again = await openme(lab, "server", ["guard", "--config", site.config]);
      assert.equal(again.code, 1);
      assert.match(again.stderr, /another openme serve, process \d+, guards this host/);
      await served.stop();
      assert.equal(await lab.ruleset(), "");
    },
  );

  await t.step("leaves the ports closed with on_stop: closed, grants running out", async () => {
    for (const firewall of ["nft", "iptables-nft"]) {
      await using site = await Site.create(lab, {
        ...CLIENTS,
        server: ["on_stop: closed"],
        knockTimeout: "12s", // outlives a stop and two programs on a busy machine
      });
      await append(site, "  knock_timeout:", "  closed_as: drop");
      const text = await Deno.readTextFile(site.config);
      await Deno.writeTextFile(site.config, text.replace("firewall: nft", `firewall: ${firewall}`));
      await using served = await site.serve();
      await knock(site);
      await waitFor("the port to open", isOpen);
      const endsMs = performance.now() + 12_000;
      await served.stop();
      const { grants: sessions } = await site.sessions() as { grants: { client: string }[] };
      assert.deepEqual(sessions.map((each) => each.client), ["alice"], "what the kernel lets in");
      assert.ok(await isOpen(), "the grant goes on");
      await waitFor("the grant to end without openme", async () => !await isOpen(), {
        timeoutMs: 20_000,
      });
      // iptables ends it at a whole second: up to one before its time, in which it would go on.
      await pause(endsMs - performance.now());
      await using next = await site.serve();
      assert.equal(await isOpen(), false);
      await next.stop();
      assert.equal(await isOpen(), false);
      const { code, stderr } = await openme(lab, "server", ["uninstall", "--config", site.config]);
      assert.equal(code, 0, stderr);
      assert.ok(await isOpen());
    }
  });

  for (const failure of FAILURES) {
    await t.step(`leaves the ports closed when it fails by itself: ${failure}`, async () => {
      await using site = await Site.create(lab, CLIENTS);
      const script = fileURLToPath(new URL("./failing_server.ts", import.meta.url));
      const command = [Deno.execPath(), "run", "--quiet", "--unstable-net", "-A", script];
      await using program = lab.start("server", [...command, site.config, failure]);
      await program.stderr.waitFor(/event=listening/, 15_000);
      await program.writeLine("now");
      const { code } = (await within(program.status, 10_000, undefined)) ?? { code: -1 };
      assert.equal(code, 1, program.stderr.all.join("\n"));
      if (failure.startsWith("listen")) {
        await program.stderr.waitFor(/level=error event=failed backend=nft error=/);
      }
      assert.match(await lab.ruleset(), /table inet openme/);
      assert.equal(await isOpen(), false);
      await using next = await site.serve(); // as a service manager does
      assert.equal(await isOpen(), false);
      await next.stop();
      assert.ok(await isOpen());
    });
  }

  await t.step("takes a changed on_stop without a restart", async () => {
    await using site = await Site.create(lab, CLIENTS);
    await using served = await site.serve();
    await site.configure({ server: ["on_stop: closed"] });
    await served.waitForLine(/event=reloaded/);
    await served.stop();
    assert.equal(await isOpen(), false);
  });

  await t.step(
    "removes with uninstall what a crash left, but not under a running serve",
    async () => {
      for (const firewall of ["nft", "iptables-nft", "iptables-legacy"]) {
        await using site = await Site.create(lab, CLIENTS);
        const text = await Deno.readTextFile(site.config);
        await Deno.writeTextFile(
          site.config,
          text.replace("firewall: nft", `firewall: ${firewall}`),
        );
        await lab.nft(HOST_RULES);
        const before = await lab.ruleset();
        await using served = await site.serve();
        const refused = await openme(lab, "server", ["uninstall", "--config", site.config]);
        assert.equal(refused.code, 1);
        assert.match(refused.stderr, /openme serve is running/);
        // A file that is wrong for the moment does not say where that serve keeps its state.
        const wrong = `${site.dir}/wrong.yaml`;
        await Deno.writeTextFile(wrong, "x: y\n", { mode: 0o600 });
        const unread = await openme(lab, "server", ["uninstall", "--config", wrong]);
        assert.equal(unread.code, 1);
        assert.match(unread.stderr, /x: unknown key\nopenme: hint: .*--state-dir DIR/);
        await served.kill("SIGKILL");
        assert.notEqual(await lab.ruleset(), before);
        const { code, stderr } = await openme(lab, "server", [
          "uninstall",
          "--config",
          site.config,
        ]);
        assert.equal(code, 0, stderr);
        assert.equal(await lab.ruleset(), before);
        const legacy = await lab.run("server", ["iptables-legacy-save"]);
        assert.doesNotMatch(legacy, /OPENME|openme/);
        await lab.nft("flush ruleset");
      }
    },
  );

  await t.step("chooses what strangers see: closed_as: reject", async () => {
    await using site = await Site.create(lab, { ...CLIENTS, server: ["closed_as: reject"] });
    await using served = await site.serve();
    assert.equal(await client.connect(IPV4.server, 22), "refused");
    await knock(site);
    await waitFor("the port to open", isOpen);
    await served.stop();
  });

  await t.step(
    "may hold back everything but the two capabilities of the systemd unit",
    async () => {
      for (const firewall of ["nft", "iptables-nft", "iptables-legacy"]) {
        await using site = await Site.create(lab, { ...CLIENTS, knockTimeout: "1m" });
        const text = await Deno.readTextFile(site.config);
        await Deno.writeTextFile(
          site.config,
          text.replace("firewall: nft", `firewall: ${firewall}`),
        );
        const confined = ["setpriv", "--bounding-set=-all,+net_admin,+net_raw", "--no-new-privs"];
        await using served = new Served(
          lab.start("server", [...confined, ...OPENME, "serve", "--config", site.config]),
        );
        await served.waitForLine(/event=listening/, 15_000);
        assert.equal(await isOpen(), false);
        await knock(site);
        await waitFor("the port to open", isOpen);
        await served.stop();
      }
    },
  );

  await t.step("reads with check what is wrong with a configuration", async () => {
    await using site = await Site.create(lab, CLIENTS);
    const good = await openme(lab, "server", ["check", "--config", site.config]);
    assert.equal(good.code, 0, good.stderr);
    assert.match(good.stderr, /is good: 1 client, firewall nft/);
    const shown = await openme(lab, "server", ["check", "--json", "--config", site.config]);
    assert.deepEqual(JSON.parse(shown.stdout), {
      file: site.config,
      client_count: Object.keys(CLIENTS).length,
      firewall: "nft",
      warnings: [],
    });
    await append(site, "  knock_timeout:", "  closed_as: rejct");
    const bad = await openme(lab, "server", ["check", "--config", site.config]);
    assert.equal(bad.code, 1);
    assert.match(bad.stderr, /server\.closed_as: expected "drop" or "reject", got "rejct"/);
  });
});

e2e("the backend command after a crash", async (lab, t) => {
  const { server, client } = await lab.agents("server", "client");
  await server.listen({ tcp: [22] });
  await t.step("closes at the next start what a dead process left open", async () => {
    await using site = await Site.create(lab, { ...CLIENTS, dropPorts: false, knockTimeout: "1m" });
    await lab.nft(
      HOST_RULES.replace(
        "iif lo accept",
        `iif lo accept\n    udp dport ${KNOCK_PORT} accept\n    ip saddr . tcp dport @allowed accept`,
      ).replace("chain input {", "set allowed { type ipv4_addr . inet_service; }\n  chain input {"),
    );
    const element = ["inet", "filter", "allowed", '"{ {address} . {port} }"'];
    const line = (verb: string) => `[nft, ${verb}, element, ${element.join(", ")}]`;
    const text = await Deno.readTextFile(site.config);
    await Deno.writeTextFile(
      site.config,
      text.replace(
        "  firewall: nft",
        `  firewall: command\n  command:\n    open: ${line("add")}\n    close: ${line("delete")}`,
      ).replace(
        "allowed_ports: [22/tcp]",
        "allowed_ports: [22/tcp]\n    disable_health_port: true",
      ),
    );
    const isOpen = () => client.reaches(IPV4.server, 22);
    {
      await using served: Served = await site.serve();
      assert.equal(await isOpen(), false);
      await client.send(await site.seal("alice"), IPV4.server, KNOCK_PORT);
      await waitFor("the port to open", isOpen);
      await served.kill("SIGKILL");
      assert.ok(await isOpen(), "nobody else ends it");
    }
    await site.configure({ clients: {}, dropPorts: false });
    const changed = await Deno.readTextFile(site.config);
    await Deno.writeTextFile(
      site.config,
      changed.replace(
        "  firewall: nft",
        `  firewall: command\n  command:\n    open: ${line("add")}\n    close: ${line("delete")}`,
      ),
    );
    await using served = await site.serve();
    await waitFor("the port to close", async () => !await isOpen());
    await served.stop();
  });
});
