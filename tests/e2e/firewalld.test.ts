/** A server with `firewall: firewalld`, with Debian's own: what becomes of grants when firewalld changes. */

import assert from "node:assert/strict";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { FirewalldHost, firewalldMissing } from "./firewalld_host.ts";
import { IPV4 } from "./lab.ts";
import { OPENME } from "../support/openme_command.ts";
import { Site } from "./site.ts";
import { waitFor } from "../support/wait.ts";

const KNOCKS = 'rule priority="31001" port port="54154" protocol="udp" accept';

e2e("firewall: firewalld", async (lab, t) => {
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
}, { needs: firewalldMissing() });
