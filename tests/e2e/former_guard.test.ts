/**
 * What `serve --confirm` puts back is read from the state database. Where that says nothing that can be put in place, the
 * unconfirmed guard goes all the same, and only then is it told. And what openme leaves in its folder is openme's.
 */

import assert from "node:assert/strict";
import { parsePlan } from "../../lib/firewall/stored_plan.ts";
import { recordGuard } from "../../lib/state/guard_record.ts";
import { isOwnName } from "../../lib/state/names.ts";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { IPV4, type Lab } from "./lab.ts";
import { OPENME } from "../support/openme_command.ts";
import { openme, Served } from "./openme.ts";
import { Site } from "./site.ts";
import { within } from "../support/wait.ts";

/** A host whose `nft` refuses whatever guards port 80. */
const PICKY_NFT = `#!/bin/bash
real=$(PATH=/usr/sbin:/sbin:/usr/bin:/bin command -v nft)
if [ "$*" = "-f -" ]; then
  text=$(cat)
  case $text in *"tcp . 80"*) echo "no such thing" >&2; exit 1 ;; esac
  exec "$real" -f - <<<"$text"
fi
exec "$real" "$@"
`;

async function guard(lab: Lab, site: Site): Promise<void> {
  const { code, stderr } = await openme(lab, "server", ["guard", "--config", site.config]);
  assert.equal(code, 0, stderr);
  assert.doesNotMatch(stderr, /warning/);
}

e2e("a guard that stood before serve --confirm", async (lab, t) => {
  const { server, client } = await lab.agents("server", "client");
  await server.listen({ tcp: [22, 80] });
  const reachable = () => Promise.all([22, 80].map((port) => client.reaches(IPV4.server, port)));
  const lacking = (site: Site, key: string) => {
    const plan = {
      knockPort: KNOCK_PORT,
      guardedPorts: [{ protocol: "tcp", first: 80, last: 80 }],
      forwardedPorts: [],
      dropPorts: true,
      closedAs: "drop",
      openKnockPort: true,
      onlyStampedKnocks: false,
      mark: 0x40000000,
      prefixes: [],
      lifetimeMs: 30_000,
    };
    assert.ok(parsePlan(JSON.stringify(plan)));
    const { [key as keyof typeof plan]: _, ...rest } = plan;
    recordGuard(site.stateDir, JSON.stringify(rest));
  };
  const ROWS: {
    title: string;
    spoil?: (site: Site) => unknown;
    path?: (site: Site) => Promise<string>;
    told: RegExp | undefined;
    after: boolean[];
  }[] = [
    { title: "is put back as it was", told: undefined, after: [true, false] },
    ...["prefixes", "guardedPorts", "closedAs"].map((key) => ({
      title: `whose record lacks ${key} is not, and everything is open`,
      spoil: (site: Site) => lacking(site, key),
      told: /level=error event=former_guard_unreadable .* did="removed the guard instead"/,
      after: [true, true],
    })),
    {
      title: "whose record has a rule in it is not, and everything is open",
      spoil: (site) => recordGuard(site.stateDir, `{"interface":"x\\"; accept; #"}`),
      told: /level=error event=former_guard_unreadable/,
      after: [true, true],
    },
    {
      title: "whose database is damaged is not, and everything is open",
      spoil: (site) => Deno.writeTextFile(`${site.stateDir}/state.db`, "no database ".repeat(999)),
      told: /level=warn event=state_unreadable/,
      after: [true, true],
    },
    {
      title: "that the firewall refuses is not, and everything is open",
      path: async ({ dir }) => {
        await Deno.mkdir(`${dir}/bin`);
        await Deno.writeTextFile(`${dir}/bin/nft`, PICKY_NFT, { mode: 0o755 });
        await Deno.chmod(`${dir}/bin/nft`, 0o755);
        return `${dir}/bin:${Deno.env.get("PATH")}`;
      },
      told:
        /level=error event=former_guard_failed error=".*no such thing" .*did="removed the guard/,
      after: [true, true],
    },
  ];
  for (const { title, spoil, path, told, after } of ROWS) {
    await t.step(title, async () => {
      await using site = await Site.create(lab, { clients: { alice: ["80/tcp"] } });
      await guard(lab, site);
      assert.deepEqual(await reachable(), [true, false]);
      await spoil?.(site);
      const text = await Deno.readTextFile(site.config);
      await Deno.writeTextFile(site.config, text.replace("[80/tcp]", "[22/tcp]"));
      const env = path ? ["env", `PATH=${await path(site)}`] : [];
      await using served = new Served(
        lab.start("server", [
          ...[...env, ...OPENME, "serve"],
          ...["--config", site.config, "--confirm", "1s"],
        ]),
      );
      const { code } = (await within(served.status, 20_000, undefined)) ?? { code: -1 };
      assert.equal(code, 1, served.lines.join("\n"));
      assert.deepEqual(await reachable(), after, served.lines.join("\n"));
      if (told) await served.waitForLine(told);
      else assert.ok(!served.lines.some((line) => line.includes("former_guard")));
    });
  }
}, { silentServer: false });

e2e("the state directory", async (lab, t) => {
  await t.step("has only names of openme's in it, and is narrowed whatever was left", async () => {
    await using site = await Site.create(lab, { clients: { alice: ["22/tcp"] } });
    const modeOf = async () => (await Deno.stat(site.stateDir)).mode! & 0o777;
    const widen = () => Deno.chmod(site.stateDir, 0o755);
    const names = () => [...Deno.readDirSync(site.stateDir)].map(({ name }) => name).sort();
    await guard(lab, site);
    assert.deepEqual(names().filter((name) => !isOwnName(name)), []);
    await widen();
    {
      await using served = await site.serve(["--dry-run"]);
      assert.equal(await modeOf(), 0o700, "guard left what serve does not know");
      await served.kill("SIGKILL");
    }
    assert.ok(names().some((name) => name.startsWith("dry-run-")));
    await widen();
    {
      await using served = await site.serve(["--confirm", "60s"]);
      assert.equal(await modeOf(), 0o700, "a dry run left what serve does not know");
      assert.deepEqual(names().filter((name) => !isOwnName(name)), []);
      await served.kill("SIGKILL");
    }
    await widen();
    await guard(lab, site);
    assert.equal(await modeOf(), 0o700, "serve left what guard does not know");
    // Somebody else's file says that the folder is not openme's alone.
    await widen();
    await Deno.writeTextFile(`${site.stateDir}/mine`, "");
    await guard(lab, site);
    assert.equal(await modeOf(), 0o755);
  });
}, { silentServer: false });
