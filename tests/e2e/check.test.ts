/**
 * `--check`, `status --knock`, `doctor` and `--wait` tell their own knock from others: beside a firewall that takes its
 * time, and where a knock is refused while the port is open for somebody else at the same address.
 */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { e2e } from "./e2e.ts";
import { IPV4, type Lab, type Output } from "./lab.ts";
import { OPENME } from "../support/openme_command.ts";
import { openme } from "./openme.ts";
import { Site } from "./site.ts";
import { serveWithPath, wrapNft } from "./wrapped_nft.ts";

const SHIM = fileURLToPath(new URL("./clock_shim.ts", import.meta.url));
const MAIN = fileURLToPath(new URL("../../main.ts", import.meta.url));

/** Every run of nft, and every line that a running one reads, takes 0.3 s longer. */
const SLOW = `for each; do
  [ "$each" = -i ] || continue
  while IFS= read -r line; do sleep 0.3; printf '%s\\n' "$line"; done | $real "$@"
  exit
done
sleep 0.3`;

/** A command of the client's whose clock is an hour ahead. */
async function withWrongClock(lab: Lab, site: Site, args: readonly string[]): Promise<Output> {
  await Deno.writeTextFile(`${site.dir}/clock`, "3600000");
  const command = [Deno.execPath(), "run", "--quiet", "--preload", SHIM, "-A", MAIN, ...args];
  return await lab.output("client", ["env", `OPENME_TEST_CLOCK=${site.dir}/clock`, ...command]);
}

e2e("a firewall that takes its time", async (lab, t) => {
  const server = await lab.agent("server");
  await server.listen({ tcp: [22] });
  await using site = await Site.create(lab, {
    clients: { alice: ["22/tcp"] },
    knockTimeout: "30s",
  });
  await using served = serveWithPath(lab, site, await wrapNft(lab, site, SLOW));
  await served.waitForLine(/listening/, 30_000);
  const profile = ["--client-config", `${site.dir}/alice.yaml`];
  const accepted = () =>
    served.lines.filter((line) => /event=(granted|renewed) /.test(line)).length;

  await t.step("lets a knock in, and --check says so, time after time", async () => {
    for (let round = 0; round < 3; round++) {
      const { code, stdout, stderr } = await openme(lab, "client", [
        "knock",
        "--check",
        ...profile,
      ]);
      assert.equal(code, 0, stderr);
      assert.match(stdout, /^default: alice is let in from 10\.0\.0\.2 to 22\/tcp, /);
    }
  });

  await t.step("one knock is enough where the port is open", async () => {
    const before = accepted();
    const { code, stderr } = await openme(lab, "client", ["status", "--knock", ...profile]);
    assert.equal(code, 0, stderr);
    // Whatever was sent is logged by the time that the next one is.
    await site.knock("alice", ["--check"]);
    assert.equal(accepted() - before, 2);
  });

  await t.step("--wait, --wait with --check, and doctor are content, too", async () => {
    for (const flags of [["--wait", "22/tcp"], ["--wait", "22/tcp", "--check"]]) {
      await site.knock("alice", flags);
    }
    const { code, stdout, stderr } = await openme(lab, "client", ["doctor", "default", ...profile]);
    assert.match(stdout, /alice is let in from 10\.0\.0\.2 to 22\/tcp/, stderr);
    assert.equal(code, 0, stdout);
  });
});

e2e("a port that is open for others", async (lab, t) => {
  const server = await lab.agent("server");
  await server.listen({ tcp: [22] });
  await using site = await Site.create(lab, {
    clients: { alice: ["22/tcp"], bob: ["22/tcp"] },
    knockTimeout: "30s",
  });
  await using _served = await site.serve();
  const profile = ["--client-config", `${site.dir}/alice.yaml`];
  const forOther = async () => {
    const args = ["knock", "--check", "--timeout", "1s", "--ip", IPV4.other, ...profile];
    const { code, stderr } = await openme(lab, "client", args);
    assert.equal(code, 3, stderr);
    assert.match(stderr, /^openme: hint: --check tells only of this machine's own address; /m);
    return stderr;
  };

  await t.step("--check of another machine's address says that it cannot tell", async () => {
    assert.match(await forOther(), /^openme: error: the health port .* did not open within 1s /);
    await site.knock("bob", ["--check"]);
    assert.match(
      await forOther(),
      /^openme: error: whether 10\.0\.0\.3 was let in cannot be told: .* only of 10\.0\.0\.2, which asks it\n/,
    );
  });

  await t.step("does not pass for a knock that was refused for its clock", async () => {
    await site.knock("bob", ["--check"]);
    const { code, stderr } = await withWrongClock(lab, site, ["knock", "--check", ...profile]);
    assert.equal(code, 3, stderr);
    assert.match(
      stderr,
      /^openme: error: 10\.0\.0\.1 did not take this knock; what is open for 10\.0\.0\.2 was opened by another\n/,
    );
  });

  await t.step("nor where another machine knocks with the same key all the time", async () => {
    const knocking = lab.start("client", [
      ...OPENME,
      ...["knock", "--continuous", "--interval", "1s", ...profile],
    ]);
    await site.knock("alice", ["--check"]);
    const { code, stderr } = await withWrongClock(lab, site, ["knock", "--check", ...profile]);
    assert.equal(code, 3, stderr);
    assert.match(stderr, /did not take this knock/);
    await knocking.kill("SIGTERM");
    assert.equal(await (await lab.agent("client")).connect(IPV4.server, 22), "open");
  });
});
