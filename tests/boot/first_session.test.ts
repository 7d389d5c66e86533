/**
 * A first session by hand on a fresh machine that really boots, line by line as the document has it, to the point where
 * the port stays closed after a reboot; then the timers of the documents, by the machine's own cron and systemd.
 */

import assert from "node:assert/strict";
import { type Block, blocksUnder } from "../documents/blocks.ts";
import { linesOf } from "../documents/session.ts";
import { e2e } from "../e2e/e2e.ts";
import { waitFor } from "../support/wait.ts";
import { Laptop } from "./laptop.ts";
import { bootMissing, Machine, USER } from "./machine.ts";

const under = (document: string, heading: string) =>
  blocksUnder({ document, heading, test: import.meta.url });
const BY_HAND = await under("docs/setup.md", "By hand");
const README = { timers: await under("README.md", "In CI and cron") };
const CI = {
  timers: [...await under("docs/ci.md", "cron"), ...await under("docs/ci.md", "systemd")],
};
const AT_BOOT = await under("docs/firewalls.md", "At boot");

e2e("a fresh machine, to the reboot", async (lab, t) => {
  await using laptop = await Laptop.create(lab);
  await using machine = await Machine.install(lab, laptop.publicKey);
  await Deno.copyFile(Deno.env.get("OPENME_BIN")!, `${machine.root}/usr/bin/openme`);
  await Deno.chmod(`${machine.root}/usr/bin/openme`, 0o755);
  await machine.run("mkdir", `/home/${USER}/openme`);
  await machine.run("chown", "-R", `${USER}:`, `/home/${USER}`);
  await machine.boot();

  await t.step("by hand, as the document has it", async () => {
    await laptop.logIn();
    assert.deepEqual(linesOf(AT_BOOT[0]!.text), linesOf(BY_HAND.at(-1)!.text));
    for (const [index, { text }] of BY_HAND.entries()) {
      if (index > 0) await laptop.interrupt(); // "Then stop it with Ctrl-C", says the document
      for (const { side, command } of linesOf(text)) {
        if (side === "client") await laptop.type(command);
        else if (/\bopenme serve\b/.test(command)) {
          assert.ok(await laptop.reaches(), "closed before openme serve");
          await laptop.serve(command);
          assert.equal(await laptop.reaches(), false);
        } else await laptop.typeAtServer(command);
      }
    }
    // The laptop's grant goes on, for the rest of its time, as soon as the unit's server is there.
    await waitFor(
      "the unit's server to answer",
      () => laptop.typeAtServer("sudo openme close --all").then(() => true, () => false),
    );
    assert.equal(await laptop.reaches(), false, "open, though the unit runs");
    const running = await laptop.typeAtServer("systemctl is-active openme openme-guard");
    assert.equal(running, "active\nactive\n");
  });

  await t.step(
    "after a reboot the port is closed from the start, and a knock opens it",
    async () => {
      await laptop.typeAtServer("sudo systemctl poweroff").catch(() => {}); // the connection ends with it
      await machine.isOff();
      let probes = 0;
      const isClosed = async () => {
        probes++;
        assert.equal(await laptop.reaches(), false, "open while the machine boots");
      };
      await machine.boot(isClosed);
      await isClosed();
      assert.ok(probes > 1);
      await waitFor("a login after a knock", async () => {
        await laptop.type("openme knock");
        return await laptop.logIn().then(() => true, () => false);
      }, { timeoutMs: 30_000 });
    },
  );

  await t.step("cron and systemd knock, then do their work", async () => {
    await machine.write(
      "/usr/bin/rsync",
      '#!/bin/sh\necho "$@" >> /var/tmp/rsync-$(id -un)\n',
      0o755,
    );
    await machine.write("/etc/hosts", "127.0.0.1 localhost\n10.0.0.1 vps.example.org vps\n");
    await laptop.typeAtServer("sudo openme add backup --out backup.yaml");
    await laptop.typeAtServer("openme import backup.yaml --as backup");
    await laptop.typeAtServer("sudo cp backup.yaml /etc/openme/backup.yaml");
    await laptop.typeAtServer("sudo install -d -m 1777 /var/tmp");
    const texts = (language: string) =>
      [...README.timers, ...CI.timers].filter((block) => block.language === language)
        .map(({ text }: Block) => text);
    const tabs = texts("crontab");
    assert.equal(tabs.length, 2);
    // At the next minute, not at half past two.
    const soon = tabs.map((line) => line.replace(/^\d+ \d+ /, "* * ")).join("");
    await machine.write(`/home/${USER}/openme/tab`, soon);
    await laptop.typeAtServer("crontab tab");
    const services = texts("ini");
    assert.equal(services.length, 4);
    for (let at = 0; at < services.length; at += 2) {
      for (const unit of services.slice(at, at + 2)) {
        const path = /^# (\/etc\/systemd\/system\/\S+)$/m.exec(unit)![1]!;
        await machine.write(path, unit);
      }
      await laptop.typeAtServer("sudo systemctl daemon-reload");
      await laptop.typeAtServer("sudo systemctl start backup.service");
      await laptop.typeAtServer("sudo systemctl enable --now backup.timer");
    }
    const lines = async (user: string) => {
      const text = await Deno.readTextFile(`${machine.root}/var/tmp/rsync-${user}`).catch(() => "");
      return text.split("\n").filter(Boolean);
    };
    await waitFor("cron", async () => (await lines(USER)).length >= 2, { timeoutMs: 75_000 });
    await laptop.typeAtServer("crontab -r");
    const work = "-a /srv/ backup@vps.example.org:/srv/";
    assert.deepEqual([...new Set(await lines(USER))], [work]);
    const log = await laptop.typeAtServer("sudo journalctl --no-pager -t CRON");
    assert.match(log, /openme knock backup/);
    assert.doesNotMatch(log, /discarding output/, "a job has printed something");
    const units = await laptop.typeAtServer("sudo journalctl --no-pager -u backup.service");
    assert.equal([...units.matchAll(/Finished backup\.service/g)].length, 2, units);
    const history = await laptop.typeAtServer("sudo openme history --client backup");
    assert.match(history, /10\.0\.0\.1/);
  });
}, { needs: await bootMissing() });
