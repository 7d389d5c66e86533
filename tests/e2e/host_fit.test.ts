/** What check, init and doctor say of a host that does not go with the configuration. */

import assert from "node:assert/strict";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { openme } from "./openme.ts";
import { Site } from "./site.ts";

e2e("an interface that is not there, a health port that is taken", async (lab, t) => {
  const server = await lab.agent("server");
  await using site = await Site.create(lab, { clients: { alice: ["22/tcp"] } });
  const run = async (command: string, ...args: string[]) => {
    const { stderr, stdout } = await openme(lab, "server", [command, ...args]);
    return stderr + stdout;
  };
  const check = () => run("check", "--config", site.config);
  const noInterface =
    "server.interface: there is no interface eht0 on this host, and nothing is guarded until there is one of that name";
  const taken = `server.health_port: another program listens on ${KNOCK_PORT}/tcp, ` +
    "so openme status and knock --check will get no answer";

  await t.step("init says both, and makes the file all the same", async () => {
    const told = await run("init", "--server", "x", "--config", `${site.dir}/a.yaml`, ...[
      "--interface",
      "eht0",
    ]);
    assert.ok(
      told.includes(`openme: warning: ${noInterface}\nopenme: hint: did you mean eth0?\n`),
      told,
    );
    assert.ok(!told.includes(taken), told);
    const good = await run("init", "--server", "x", "--config", `${site.dir}/b.yaml`, ...[
      "--interface",
      "eth0",
    ]);
    assert.ok(!good.includes("warning"), good);
  });

  await t.step("nothing is said where a server runs and holds its own health port", async () => {
    await site.configure({ server: ["interface: eth0"], knockTimeout: "30s" });
    await using served = await site.serve();
    await site.knock("alice", ["--check"]);
    assert.ok(!(await check()).includes("warning"), await check());
    await served.stop();
    assert.ok(!(await check()).includes("warning"), await check());
  });

  await t.step("check and doctor tell of them", async () => {
    await server.listen({ tcp: [KNOCK_PORT] });
    await site.configure({ server: ["interface: eht0"] });
    const told = await check();
    assert.ok(told.includes(`openme: warning: ${noInterface}: did you mean eth0?\n`), told);
    assert.ok(told.includes(`openme: warning: ${taken}: see which: ss -ltnp`), told);
    const found = await run("doctor", "--server", "--config", site.config);
    assert.ok(found.includes(`host    ${noInterface}\n`), found);
    assert.ok(found.includes(`host    ${taken}\n`), found);
    await site.configure({ server: ["interface: eth0", "health_port: 8765"] });
    assert.ok(!(await check()).includes("warning"), await check());
  });
});
