/** The blocks of docs/living.md about backups, moving and leaving, as they are printed. systemd is played by the test. */

import assert from "node:assert/strict";
import { blocksUnder } from "../documents/blocks.ts";
import { Session } from "../documents/session.ts";
import { lacks } from "../support/programs.ts";
import { e2e } from "./e2e.ts";
import { sshMissing } from "./sshd.ts";

const textsUnder = async (heading: string) =>
  (await blocksUnder({ document: "docs/living.md", heading, test: import.meta.url }))
    .map(({ text }) => text);
const [backup, age] = await textsUnder("Backing up");
const [restore] = await textsUnder("Restoring");
const [move] = await textsUnder("Moving to another machine");
const [leave] = await textsUnder("Leaving");

const SERVE = "sudo openme serve";
const missing = await sshMissing() ?? lacks("age", "script");

e2e("a server that is backed up, restored, moved and left", async (lab, t) => {
  await using session = await Session.create(lab);
  const at = (command: string) => session.type({ side: "server", command });
  const printedBy = async (command: string) => (await session.output("server", command)).stdout;
  await session.install();
  await at("sed -i 's/replay_window: 60s/replay_window: 4s/' /etc/openme/config.yaml");
  await at(SERVE);
  let isNew = false;

  const run = async (text: string) => {
    const lines = [...text.matchAll(/^(vps|old|new|laptop)\$ +(.*?)(?: +#.*)?$/gm)];
    assert.equal(lines.length, text.trimEnd().split("\n").length);
    for (const [, where, command] of lines as unknown as [string, string, string][]) {
      if (where === "new" && !isNew) await at("rm -r /etc/openme /var/lib/openme");
      isNew ||= where === "new";
      if (/systemctl (stop|disable --now) /.test(command)) await session.interrupt();
      else if (/systemctl start /.test(command)) await at(SERVE);
      else if (where === "laptop") await session.type({ side: "client", command });
      else if (/openme (backup|restore)\b/.test(command)) {
        await at(`export OPENME_PASSPHRASE='five random words'; ${command}`);
      } else await at(command);
    }
  };

  await t.step("backing up, with and without openme", async () => {
    await run(backup!);
    const typed = "until grep -q passphrase asked 2>&-; do sleep 0.1; done; echo five random words";
    const line = /^vps\$ (.*?) +#/.exec(age!)![1]!;
    await at(`mkdir out && cd out && cp ../vps.age . && (${typed}) | script -qefc '${line}' asked`);
    assert.equal(
      await printedBy("cat out/config.yaml"),
      await printedBy("cat /etc/openme/config.yaml"),
    );
  });

  await t.step("restoring in the place of another configuration", async () => {
    const before = await printedBy("cat /etc/openme/config.yaml");
    await at("sudo openme add other --out other.yaml");
    await run(restore!);
    assert.equal(await printedBy("cat /etc/openme/config.yaml"), before);
    assert.match(await printedBy("cat /etc/openme/config.yaml.old-*"), /other:/);
    await at("rm vps.age");
  });

  await t.step("moving: the same clients get in with what they have", async () => {
    await run(move!);
    assert.ok(await session.reaches());
    assert.match(await printedBy("sudo openme list"), /^laptop /m);
  });

  await t.step("leaving: the port is open again, and nothing is left", async () => {
    await run(leave!);
    assert.ok(await session.reaches());
    assert.equal(await printedBy("ls -d /etc/openme /var/lib/openme"), "");
  });
}, { needs: missing });
