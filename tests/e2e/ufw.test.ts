/** The example of docs/firewalls.md, as it is printed, with Debian's own ufw. */

import assert from "node:assert/strict";
import { blocksUnder } from "../documents/blocks.ts";
import { linesOf } from "../documents/session.ts";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { IPV4, IPV6, type Lab } from "./lab.ts";
import { OPENME } from "../support/openme_command.ts";
import { init } from "./openme.ts";
import { Site } from "./site.ts";
import { UfwHost, ufwMissing } from "./ufw_host.ts";
import { pause, waitFor } from "../support/wait.ts";

const [EXAMPLE, CONSOLE] = await blocksUnder({
  document: "docs/firewalls.md",
  heading: "command",
  test: import.meta.url,
});

/** What the document has below `firewall: command`, for the section `server`. */
function exampleLines(): string[] {
  const [first, ...rest] = EXAMPLE!.text.trimEnd().split("\n");
  assert.equal(first, "server:");
  const lines = rest.map((line) => line.slice(2));
  const from = lines.indexOf("command:");
  assert.deepEqual(lines.slice(0, from), ["drop_ports: false", "firewall: command"]);
  return lines.slice(from);
}

e2e("firewall: command with Debian's ufw", withUfw, { needs: ufwMissing() });

async function withUfw(lab: Lab, t: Deno.TestContext): Promise<void> {
  const { server, client } = await lab.agents("server", "client");
  await server.listen({ tcp: [22] });
  await using host = await UfwHost.create(lab);
  for (const { command } of linesOf(CONSOLE!.text)) {
    await host.ufw(...command.replace(/^sudo ufw /, "").split(" "));
  }
  // Somebody else's: one for the same port, and one with a comment that is no mark of openme's.
  await host.ufw("allow", "proto", "tcp", "from", "10.0.0.20", "to", "any", "port", "22");
  await host.ufw("deny", "from", "10.0.0.21", "comment", "not openme");
  const before = await host.rules();
  await using site = await Site.create(lab, {
    clients: { alice: ["22/tcp"] },
    dropPorts: false,
    firewall: "command",
    knockTimeout: "5s",
    server: exampleLines(),
    env: host.env,
  });
  const knock = async (target?: string) =>
    await client.send(
      await site.seal("alice", target === undefined ? {} : { target }),
      IPV4.server,
      KNOCK_PORT,
    );
  const isOpen = () => client.reaches(IPV4.server, 22);
  const others = ["10.0.0.20"];
  const nothingIsLeft = async () =>
    (await host.rules()).join("\n") === before.join("\n") &&
    (await host.accepted(22)).join() === others.join();
  const ask = (...command: string[]) =>
    lab.output("server", ["env", `PATH=${host.env["PATH"]}`, ...OPENME, ...command]);

  await t.step("two knocks 0.3 s apart open two ports each, and leave nothing", async () => {
    await using served = await site.serve();
    for (const each of [1, 2, 3]) {
      assert.equal(await isOpen(), false, `before pair ${each}`);
      await knock();
      await pause(300);
      await knock();
      await waitFor("the port to open", isOpen);
      await waitFor("nothing to be left", nothingIsLeft, { timeoutMs: 30_000 });
    }
    await served.stop();
  });

  await t.step("six knocks at once all open, and leave nothing", async () => {
    await site.configure({
      // ufw takes long, one run after another: the first rule shall be there still when the last one is.
      knockTimeout: "20s",
      clientLines: { alice: ["disable_health_port: true"] },
    });
    await using served = await site.serve();
    const addresses = [1, 2, 3, 4, 5].map((each) => `10.0.0.10${each}`);
    await Promise.all([...addresses, IPV6.client].map(knock));
    const all = [...addresses, IPV6.client, ...others].sort();
    const areIn = async () => (await host.accepted(22)).join() === all.join();
    await waitFor("all to be let in", areIn, { timeoutMs: 18_000 });
    const added = await host.rules();
    assert.equal(added.length, before.length + 6, added.join("\n"));
    // Each is told once the listing has it.
    await waitFor(
      "all to be told",
      () => served.lines.filter((line) => /event=granted/.test(line)).length === 6,
    );
    const doctor = await ask("doctor", "--config", site.config);
    assert.match(doctor.stdout, /rules .*every grant has its rule, and every rule its grant/);
    await waitFor("nothing to be left", nothingIsLeft, { timeoutMs: 60_000 });
    await served.stop();
  });

  await t.step("a rule that somebody deletes or leaves is put right", async () => {
    await site.configure({ knockTimeout: "1m" });
    await using served = await site.serve();
    await knock();
    await waitFor("the port to open", isOpen);
    const rule = ["allow", "proto", "tcp", "from", IPV4.client, "to", "any", "port", "22"];
    await host.ufw("delete", ...rule);
    assert.equal(await isOpen(), false);
    await waitFor("the rule to be back", isOpen, { timeoutMs: 10_000 });
    await served.waitForLine(/event=rule_missing entry="10\.0\.0\.2 22\/tcp"/);
    const stray = rule.with(4, "10.0.0.30");
    await host.ufw(...stray, "comment", "openme");
    await waitFor(
      "the stray rule to be gone",
      async () => !(await host.accepted(22)).includes("10.0.0.30"),
      { timeoutMs: 10_000 },
    );
    await served.waitForLine(/event=rule_without_grant entry="10\.0\.0\.30 22\/tcp"/);
    assert.ok(await isOpen());
    const closed = await ask("close", "alice", "--config", site.config);
    assert.equal(closed.code, 0, closed.stderr);
    assert.ok(await nothingIsLeft(), "closed when the command returns");
    await served.stop();
  });

  await t.step("what a killed serve left is told, and closed by the next", async () => {
    for (const journal of ["as it was", "lost"]) {
      await site.configure({ knockTimeout: "4s" });
      {
        await using served = await site.serve();
        await knock();
        await waitFor("the port to open", isOpen);
        await served.kill("SIGKILL");
      }
      await pause(4000);
      assert.ok(await isOpen(), "nobody else ends it");
      const told = await ask("sessions", "--config", site.config);
      assert.match(told.stderr, /nobody is let in/);
      assert.match(told.stderr, /no grant covers 10\.0\.0\.2 22\/tcp, which a dead openme serve/);
      const doctor = await ask("doctor", "--config", site.config);
      assert.equal(doctor.code, 1);
      assert.match(doctor.stdout, /rules that no grant covers: 10\.0\.0\.2 22\/tcp/);
      if (journal === "lost") await Deno.remove(`${site.stateDir}/opened.json`);
      await using served = await site.serve();
      assert.ok(await nothingIsLeft(), journal);
      await served.stop();
    }
  });

  await t.step("uninstall takes out what a killed serve left", async () => {
    await site.configure({ knockTimeout: "1m" });
    {
      await using served = await site.serve();
      await knock();
      await waitFor("the port to open", isOpen);
      await served.kill("SIGKILL");
    }
    const done = await ask("uninstall", "--config", site.config);
    assert.equal(done.code, 0, done.stderr);
    assert.ok(await nothingIsLeft());
  });

  await t.step("init writes the same example", async () => {
    const dir = await Deno.makeTempDir({ prefix: "openme-e2e-" });
    try {
      const path = await init(lab, dir, ["--server", IPV4.server, "--firewall", "command"]);
      const squeeze = (text: string) => text.replaceAll(/\s+|,(?=\s*\])|#.*$/gm, "");
      const written = squeeze(await Deno.readTextFile(path));
      assert.ok(written.includes(squeeze(exampleLines().join("\n"))), written);
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  });
}
