/** A server that is restored on a machine with nothing of openme's: no knock from before opens, a new one does. */

import assert from "node:assert/strict";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { IPV4 } from "./lab.ts";
import { openme } from "./openme.ts";
import { startParties } from "./parties.ts";
import { Site } from "./site.ts";
import { opens } from "./timing.ts";
import { waitFor } from "../support/wait.ts";

const WINDOW_MS = 15_000;

e2e("a restored server", async (lab, t) => {
  const { client, isOpen, isClosed } = await startParties(lab);
  await using site = await Site.create(lab, {
    clients: { alice: ["22/tcp"] },
    knockTimeout: "1s",
    server: [`replay_window: ${WINDOW_MS / 1000}s`],
  });
  const file = `${site.dir}/vps.age`;
  await Deno.writeTextFile(`${site.dir}/phrase`, "five random words", { mode: 0o600 });
  const run = (...args: string[]) =>
    openme(lab, "server", [
      ...[...args, file, "--passphrase-file", `${site.dir}/phrase`, "--config", site.config],
    ]);
  const recorded: Uint8Array[] = [];
  /** A knock that is taken, seen from afar: `aheadMs`, by a client whose clock is that far ahead. */
  const takeOne = async (aheadMs = 0) => {
    const timestampNs = BigInt(Date.now() + aheadMs) * 1_000_000n;
    const knock = await site.seal("alice", { timestampNs });
    await client.send(knock, IPV4.server, KNOCK_PORT);
    await waitFor("the port to open", isOpen);
    await waitFor("the port to close", isClosed);
    recorded.push(knock);
  };
  let history = "";

  await t.step("is not restored under a running one", async () => {
    const served = await site.serve();
    await takeOne();
    const made = await run("backup");
    assert.equal(made.code, 0, made.stderr);
    await takeOne();
    await takeOne(WINDOW_MS - 1000);
    const refused = await run("restore", "--force");
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /another openme serve is running with the state directory/);
    await served.stop();
    const told = await openme(lab, "server", ["history", "--json", "--config", site.config]);
    history = JSON.parse(told.stdout).history.slice(0, 1);
  });

  await t.step("refuses every knock from before, and takes a new one", async () => {
    await Deno.remove(site.config);
    await Deno.remove(site.stateDir, { recursive: true });
    const restored = await run("restore");
    assert.equal(restored.code, 0, restored.stderr);
    const floorAtMs = Date.parse(/dated up to (\S+) are refused/.exec(restored.stderr)![1]!);
    const check = await openme(lab, "server", ["check", "--config", site.config]);
    assert.equal(check.code, 0, check.stderr);
    const told = await openme(lab, "server", ["history", "--json", "--config", site.config]);
    assert.deepEqual(JSON.parse(told.stdout).history, history, "as it was at the backup");

    const served = await site.serve(["--log-level", "debug"]);
    const refuses = async (knocks: readonly Uint8Array[], reason: RegExp) => {
      const seen = served.lines.length;
      for (const knock of knocks) await client.send(knock, IPV4.server, KNOCK_PORT);
      await waitFor(
        "a refusal of each",
        () => served.lines.slice(seen).filter((line) => reason.test(line)).length === knocks.length,
      );
      assert.equal(await isOpen(), false);
    };
    await refuses(recorded, /reason=(replay|stale)/); // stale: on a machine with other things to do
    await refuses(recorded.slice(-1), /reason=replay/); // dated ahead, it is not stale for long
    await refuses([await site.seal("alice")], /reason=replay/); // the floor does not know it from those
    await waitFor("the floor", () => Date.now() > floorAtMs, { timeoutMs: WINDOW_MS + 5000 });
    await client.send(await site.seal("alice"), IPV4.server, KNOCK_PORT);
    await opens(client, IPV4.server, 22);
    await waitFor("the port to close", isClosed);
    await refuses(recorded, /reason=(replay|stale)/);
  });
});
