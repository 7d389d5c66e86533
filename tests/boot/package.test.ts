/**
 * The Debian package on a fresh machine that really boots: installed, set up, rebooted, killed, without power, upgraded,
 * stopped, removed and purged, while a stranger tries the ssh port all the time.
 */

import assert from "node:assert/strict";
import { e2e } from "../e2e/e2e.ts";
import { GuardMonitor } from "../e2e/guard_monitor.ts";
import { makeNext, NAMES, NEXT_VERSION, packagePath, packagesMissing } from "../package/dist.ts";
import { waitFor } from "../support/wait.ts";
import { Laptop } from "./laptop.ts";
import { bootMissing, Machine, USER } from "./machine.ts";
import { Stranger } from "./stranger.ts";

const HOME = `/home/${USER}/openme`;
const NEXT_PACKAGE = "next.deb";
/** systemd's own scale, times ten: 0 is best, 100 worst. */
const MOST_EXPOSED = 20;

e2e("the Debian package, from its installation to its purge", async (lab, t) => {
  await using laptop = await Laptop.create(lab);
  await using machine = await Machine.install(lab, laptop.publicKey);
  await machine.write("/etc/hosts", "127.0.0.1 localhost\n10.0.0.1 vps.example.org vps\n");
  await machine.write(`${HOME}/keep`, "");
  await Deno.copyFile(packagePath(NAMES.deb), `${machine.root}${HOME}/${NAMES.deb}`);
  await makeNext(`${machine.root}${HOME}/${NEXT_PACKAGE}`);
  await machine.boot();
  await laptop.logIn();
  const stranger = await Stranger.start(lab);
  const type = (line: string) => laptop.typeAtServer(line);
  /** What is installed and configured, and all files that are named after openme, but for those of this test. */
  const files = async () => {
    const named = `find / -xdev -name '*openme*' -not -path '${HOME}*'`;
    const all = (await type(`sudo find /etc /usr && sudo ${named}`)).split("\n").sort();
    assert.ok(all.length > 1000);
    return all;
  };
  const filesBefore = await files();
  const knocks = async () => {
    await waitFor(
      "the server to let a knock in",
      () =>
        laptop.type("openme knock vps --wait 22/tcp --timeout 5s").then(() => true, () => false),
      {
        timeoutMs: 30_000,
      },
    );
  };
  const serverPid = async () => (await type("systemctl show -P MainPID openme")).trim();

  await t.step("it is installed, and closes nothing", async () => {
    const told = await type(`sudo apt-get install -y ./${NAMES.deb} 2>&1`);
    assert.match(told, /^openme: .* sudo openme setup$/m);
    await stranger.getsIn();
    assert.equal(await type("sudo nft list ruleset"), "");
    assert.equal(
      await type("systemctl is-active openme openme-guard || :"),
      "inactive\ninactive\n",
    );
    assert.equal(await type("stat -c %a /etc/openme"), "700\n");
  });

  await t.step("openme setup --yes hides ssh, once the laptop has knocked", async () => {
    const setup = laptop.onTerminal("sudo openme setup --yes");
    const command = await setup.stdout.waitFor(/^ssh .*\| openme import/, 30_000);
    await laptop.type(command.trim());
    assert.equal((await setup.status).code, 0, `${setup.stdout}`);
    await stranger.isShutOut();
  });

  await t.step("both units are confined", async () => {
    for (const unit of ["openme", "openme-guard"]) {
      await type(`systemd-analyze security --no-pager --threshold=${MOST_EXPOSED} ${unit}`);
    }
  });

  let monitor: GuardMonitor | undefined;
  /** Whether every commit to the ruleset since the machine was switched on has left the port closed. */
  const neverOpened = async () => {
    const commits = await monitor!.commits();
    assert.ok(commits.length > 3);
    assert.deepEqual(commits.filter(({ closed }) => !closed), []);
  };

  await t.step("a reboot never shows the port, and a knock opens it", async () => {
    await stranger.seesNothing(async () => {
      await type("sudo systemctl poweroff").catch(() => {}); // the connection ends with it
      await machine.isOff();
      monitor = await GuardMonitor.start(lab);
      await machine.boot();
    });
    await stranger.seesNothing(knocks);
    await laptop.logIn();
  });

  await t.step("SIGKILL leaves the port closed, and systemd starts the server anew", async () => {
    const killed = await serverPid();
    await stranger.seesNothing(async () => {
      await type(`sudo kill -KILL ${killed}`);
      await waitFor("another server", async () => !["0", killed].includes(await serverPid()));
      await knocks();
    });
  });

  await t.step(
    "a power cut in the middle of an upgrade leaves the port closed, and a knock opens it",
    async () => {
      await neverOpened();
      const upgrade = laptop.onTerminal(`sudo dpkg -i ${NEXT_PACKAGE}`);
      await upgrade.stdout.waitFor(/^Unpacking openme/, 10_000);
      await stranger.seesNothing(async () => {
        await machine.losePower();
        monitor = await GuardMonitor.start(lab);
        await machine.boot();
        await knocks();
      });
      await laptop.logIn();
    },
  );

  await t.step("an upgrade closes no session and never shows the port", async () => {
    const reloads = () => type("sudo journalctl -u openme | grep -c event=reloaded || :");
    const set = async (value: string) => {
      const before = await reloads();
      await type(`sudo sed -i 's/^  on_stop: .*/  on_stop: ${value}/' /etc/openme/config.yaml`);
      await waitFor("the server to read it", async () => await reloads() !== before);
    };
    // A stop would open the port. This session goes on without a grant.
    await set("open");
    await type("sudo openme close --all");
    const before = await serverPid();
    await type("sudo dpkg --configure -a"); // after the power cut
    await stranger.seesNothing(async () => {
      await type(`sudo apt-get install --reinstall -y ./${NEXT_PACKAGE}`);
      await knocks();
    });
    assert.match(await type("dpkg-query -W openme"), new RegExp(NEXT_VERSION));
    assert.notEqual(await serverPid(), before);
    await set("closed");
    await neverOpened();
  });

  await t.step("a stop with on_stop: closed leaves the port closed to knocks too", async () => {
    await type("sudo openme close --all");
    await stranger.seesNothing(async () => {
      await type("sudo systemctl stop openme");
      await laptop.type("openme knock vps");
      assert.equal(await laptop.reaches(), false);
      await type("sudo systemctl start openme");
      await knocks();
    });
  });

  await t.step("removed, it leaves the port as it was before", async () => {
    await type("sudo apt-get remove -y openme");
    await stranger.getsIn();
    assert.equal(await type("sudo nft list ruleset"), "");
    // The keys stay until the purge.
    await type("sudo test -f /etc/openme/config.yaml");
  });

  await t.step("purged, it leaves nothing", async () => {
    await type("sudo apt-get purge -y openme");
    assert.deepEqual(await files(), filesBefore);
  });
}, { needs: await bootMissing() ?? await packagesMissing("dpkg-deb") });
