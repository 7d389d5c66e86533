/** A firewall that takes its time: what openme's client says of its knock is true, and it sends one where one will do. */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { e2e } from "./e2e.ts";
import { IPV4, type Lab } from "./lab.ts";
import { OPENME } from "../support/openme_command.ts";
import { openme, Served } from "./openme.ts";
import { Site } from "./site.ts";

/** How long each change takes. */
const SLOW_MS = 700;
const SHIM = fileURLToPath(new URL("./clock_shim.ts", import.meta.url));
const MAIN = fileURLToPath(new URL("../../main.ts", import.meta.url));

/** `openme serve` with an iptables that needs SLOW_MS for each change. */
async function serveSlowly(lab: Lab, { config, dir }: Site): Promise<Served> {
  await Deno.mkdir(`${dir}/bin`);
  for (const program of ["iptables-nft-restore", "ip6tables-nft-restore"]) {
    const real = (await lab.run("server", ["sh", "-c", `command -v ${program}`])).trim();
    const script = `#!/bin/sh\nsleep ${SLOW_MS / 1000}\nexec ${real} "$@"\n`;
    await Deno.writeTextFile(`${dir}/bin/${program}`, script, { mode: 0o755 });
  }
  const path = `${dir}/bin:${Deno.env.get("PATH")}`;
  const command = ["env", `PATH=${path}`, ...OPENME, "serve", "--config", config];
  const served = new Served(lab.start("server", command));
  await served.waitForLine(/listening/, 30_000);
  return served;
}

e2e("a slow firewall", async (lab, t) => {
  const server = await lab.agent("server");
  await server.listen({ tcp: [22] });
  await using site = await Site.create(lab, {
    clients: { alice: ["22/tcp"], bob: ["22/tcp"] },
    knockTimeout: "20s",
    firewall: "iptables-nft",
  });
  await using served = await serveSlowly(lab, site);
  const letIn = /^default: alice is let in from 10\.0\.0\.2 to 22\/tcp, \d+s left$/m;
  const as = (command: string, ...args: string[]) =>
    openme(lab, "client", [command, ...args, "--client-config", `${site.dir}/alice.yaml`]);
  /** How many knocks of alice's the firewall has carried out since. */
  const knocksSince = (from: number) =>
    served.lines.slice(from).filter((line) => /event=(granted|renewed) client=alice/.test(line))
      .length;

  await t.step(
    "another client holds the port open, and alice's own knock is under way",
    async () => {
      await site.knock("bob", ["--check"]);
      const from = served.lines.length;
      const { code, stdout, stderr } = await as("knock", "--check");
      assert.equal(code, 0, stderr);
      assert.match(stdout, letIn);
      assert.equal(knocksSince(from), 1);
    },
  );

  await t.step("a renewal is waited for, and not sent again", async () => {
    for (const args of [["--check"], ["--wait", "22/tcp", "--check"]]) {
      const from = served.lines.length;
      const { code, stdout, stderr } = await as("knock", ...args);
      assert.equal(code, 0, stderr);
      assert.match(stdout, letIn);
      assert.equal(knocksSince(from), 1, args.join(" "));
    }
  });

  await t.step("status --knock, doctor, connect and --wait as well", async () => {
    const asked = await as("status", "--knock");
    assert.equal(asked.code, 0, asked.stderr);
    assert.match(asked.stdout, letIn);
    const looked = await as("doctor");
    assert.match(looked.stdout, /^ok +knock +.*alice is let in from 10\.0\.0\.2/m, looked.stdout);
    const waited = await as("knock", "--wait", "22/tcp");
    assert.equal(waited.code, 0, waited.stderr);
    const connected = await as("connect", IPV4.server, "22", "--timeout", "5s");
    assert.equal(connected.code, 0, connected.stderr);
  });

  await t.step(
    "a knock that was refused for its clock is not taken for the one before",
    async () => {
      await Deno.writeTextFile(`${site.dir}/clock`, String(-3_600_000));
      await site.knock("alice");
      const command = [Deno.execPath(), "run", "--preload", SHIM, "-A", MAIN, "knock", "--check"];
      const late = lab.start(
        "client",
        [...command, "--client-config", `${site.dir}/alice.yaml`],
        { env: { OPENME_TEST_CLOCK: `${site.dir}/clock` } },
      );
      const { code } = await late.status;
      await late.stderr.ended;
      assert.equal(code, 3, String(late.stderr));
      assert.match(String(late.stderr), /did not take this knock/);
    },
  );
  await served.stop();
});
