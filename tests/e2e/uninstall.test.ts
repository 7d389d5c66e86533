/** `openme uninstall` beside a server that it is told nothing of, and what it says of what it did. */

import assert from "node:assert/strict";
import { e2e } from "./e2e.ts";
import { flushLegacy, rulesOf, setFirewall } from "./host_rules.ts";
import type { Output } from "./lab.ts";
import { OPENME } from "../support/openme_command.ts";
import { openme } from "./openme.ts";
import { HOST_RULES } from "./rules.ts";
import { Site } from "./site.ts";

const ALICE = { clients: { alice: ["22/tcp"] } };

e2e("uninstall", async (lab, t) => {
  const uninstall = (config: string, ...flags: string[]): Promise<Output> =>
    openme(lab, "server", ["uninstall", ...flags, "--config", config]);

  for (const firewall of ["nft", "iptables-nft", "iptables-legacy"]) {
    await t.step(
      `takes no rule from under a serve that it is told nothing of: ${firewall}`,
      async () => {
        await using site = await Site.create(lab, ALICE);
        await setFirewall(site, firewall);
        await lab.nft(HOST_RULES);
        const before = await rulesOf(lab);
        await using served = await site.serve();
        const guarded = await rulesOf(lab);
        const { code, stderr } = await uninstall(`${site.dir}/none.yaml`, "--state-dir", site.dir);
        assert.equal(code, 1, stderr);
        assert.match(stderr, /openme serve is running, process \d+, and would put its rules back/);
        assert.equal(await rulesOf(lab), guarded);

        await served.kill("SIGKILL");
        const after = await uninstall(`${site.dir}/none.yaml`, "--state-dir", site.dir);
        assert.equal(after.code, 0, after.stderr);
        assert.equal(await rulesOf(lab), before);
        await flushLegacy(lab);
      },
    );
  }

  await t.step("goes on past a family that fails, and says so", async () => {
    await using site = await Site.create(lab, ALICE);
    await setFirewall(site, "iptables-nft");
    await using served = await site.serve();
    await served.kill("SIGKILL");
    await Deno.mkdir(`${site.dir}/bin`);
    const broken = "#!/bin/sh\necho broken >&2\nexit 1\n";
    for (const name of ["iptables-nft-restore", "iptables-restore"]) {
      await Deno.writeTextFile(`${site.dir}/bin/${name}`, broken, { mode: 0o755 });
    }
    const path = `PATH=${site.dir}/bin:${Deno.env.get("PATH")}`;
    const command = ["env", path, ...OPENME, "uninstall", "--config", site.config];
    const { code, stderr } = await lab.output("server", command);
    assert.equal(code, 1, stderr);
    assert.match(stderr, /^openme: error: iptables.*: broken/m);
    const chains = (program: string) => lab.run("server", [program, "-t", "mangle", "-S"]);
    assert.match(await chains("iptables-nft"), /OPENME/);
    assert.doesNotMatch(await chains("ip6tables-nft"), /OPENME/);
    assert.equal((await uninstall(site.config)).code, 0);
    assert.doesNotMatch(await chains("iptables-nft"), /OPENME/);
  });

  await t.step("claims to have removed nothing where there is nothing", async () => {
    await using site = await Site.create(lab, ALICE);
    const { code, stderr } = await uninstall(site.config);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /^openme: nothing of openme's is left in nft, iptables, [a-z, -]+\n$/);
  });
}, { silentServer: false });
