/** An `nft` that is missing, fails or hangs: an error with a hint at the start, and no one else's loss later. */

import assert from "node:assert/strict";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { IPV4, type Lab } from "./lab.ts";
import { OPENME } from "../support/openme_command.ts";
import { Served } from "./openme.ts";
import { OWN_TABLE } from "./rules.ts";
import { Site } from "./site.ts";
import { opens } from "./timing.ts";
import { waitFor, within } from "../support/wait.ts";
import { serveWithPath, wrapNft } from "./wrapped_nft.ts";

/** Starts `serve` where there is no `nft`: in a mount namespace in which its folder is empty. */
function serveWithoutNft(lab: Lab, { config }: Site): Served {
  const script = 'mount -t tmpfs tmpfs "$(dirname "$(command -v nft)")" && exec "$@"';
  const command = ["sh", "-c", script, "sh", ...OPENME, "serve", "--config", config];
  return new Served(lab.start("server", command));
}

e2e("a broken nft", async (lab, t) => {
  const { server, client } = await lab.agents("server", "client");
  await server.listen({ tcp: [22, 80, 8080] });

  const rows = [
    { why: "is missing", lines: undefined, error: /^openme: error: .*nft/ },
    {
      why: "fails",
      lines: "echo 'not permitted' >&2; exit 1",
      error: /^openme: error: .*not permitted/,
    },
    { why: "hangs", lines: "exec sleep 60", error: /^openme: error: .*nft/ },
  ];
  for (const { why, lines, error } of rows) {
    await t.step(`is an error with a hint at the start where it ${why}`, async () => {
      await using site = await Site.create(lab, { clients: { alice: ["22/tcp"] } });
      await using served = lines === undefined
        ? serveWithoutNft(lab, site)
        : serveWithPath(lab, site, await wrapNft(lab, site, lines));
      const status = await within(served.status, 15_000, undefined);
      assert.equal(status?.code, 1, served.lines.join("\n"));
      await served.waitForLine(error);
      await served.waitForLine(/^openme: hint: ./);
      assert.equal(await lab.ruleset(), "");
    });
  }

  await t.step("is logged later on, loses nobody's grant and is made up for", async () => {
    await using site = await Site.create(lab, {
      clients: { alice: ["22/tcp"], bob: ["80/tcp"], carol: ["8080/tcp"] },
      knockTimeout: "1m",
    });
    await lab.nft(OWN_TABLE.hostRules);
    const path = await wrapNft(lab, site, `[ -e ${site.dir}/broken ] && exit 1`);
    await using served = serveWithPath(lab, site, path);
    await served.waitForLine(/listening/, 15_000);
    const knock = async (name: string) =>
      await client.send(await site.seal(name), IPV4.server, KNOCK_PORT);
    await knock("alice");
    await opens(client, IPV4.server, 22);
    await Deno.writeTextFile(`${site.dir}/broken`, "");
    await knock("bob"); // a grant takes no nft
    await opens(client, IPV4.server, 80);
    await lab.nft("flush chain inet openme knock"); // to put that back does
    await served.waitForLine(/level=error .*event=firewall_failed/, 15_000);
    const from = served.lines.length;
    await knock("carol");
    await served.waitForLine(/level=error .*event=firewall_failed/, 15_000, from);
    assert.deepEqual(
      await Promise.all([22, 80, 8080].map((port) => client.reaches(IPV4.server, port))),
      [true, true, false],
    );
    await Deno.remove(`${site.dir}/broken`);
    await waitFor("carol's port to open", () => client.reaches(IPV4.server, 8080), {
      timeoutMs: 10_000,
    });
    for (const port of [22, 80]) assert.ok(await client.reaches(IPV4.server, port));
    await served.stop();
  });
});
