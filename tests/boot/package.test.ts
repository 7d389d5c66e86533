/**
 * The Debian package on a fresh machine that really boots: installed, set up, rebooted, killed, without power, upgraded,
 * stopped, removed and purged, while a stranger tries the ssh port all the time.
 */

import assert from "node:assert/strict";
import { e2e, KNOCK_PORT } from "../e2e/e2e.ts";
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
  const pidsIn = (text: string) => [
    ...new Set([...text.matchAll(/\bpid=(\d+)/g)].map(([, pid]) => pid!)),
  ];
  /** The processes that have the knock port's socket: for a moment at its start, the server too. */
  const takerPids = async () => pidsIn(await type(`sudo ss -Hulpn sport = :${KNOCK_PORT}`));
  const pids = async () => [await serverPid(), ...await takerPids()];
  const takerUnits = () => type("systemctl list-units --plain --no-legend 'openme-[ft]*'");

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

  await t.step("the units are confined", async () => {
    for (const unit of ["openme", "openme-guard", "openme-taker@try", "openme-fleet@try"]) {
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

  await t.step("what reads knocks has no right at all", async () => {
    const [taker, ...others] = await takerPids();
    assert.deepEqual(others, []);
    const server = await serverPid();
    assert.ok(!pidsIn(await type("sudo ss -Htuwnap")).includes(server), "it has a socket");
    const status = await type(`cat /proc/${taker}/status`);
    assert.match(status, /^Uid:\t(?!0\t)(\d+)\t\1\t\1\t\1$/m);
    const capabilities = [...status.matchAll(/^Cap\w+:\t(\w+)$/gm)].map(([, set]) => set);
    assert.deepEqual(capabilities, Array(5).fill("0".repeat(16)));
    assert.match(status, /^NoNewPrivs:\t1$/m);
    assert.match(status, /^Seccomp:\t2$/m);
    const seen = await type(`sudo sh -c "cd /proc/${taker}/root && ls -A etc tmp var"`);
    assert.equal(seen, "etc:\nld.so.cache\n\ntmp:\n\nvar:\n");
    // The file system of /usr/bin, and so its programs.
    assert.match(await type(`cat /proc/${taker}/mounts`), /^\S+ \/ \S+ ro,(\S+,)?noexec\b/m);
  });

  await t.step("metrics come from a process of systemd's, and a restart has the port", async () => {
    const config = "/etc/openme/config.yaml";
    await type(`sudo sed -i 's/^server:/&\\n  metrics: 127.0.0.1:9469/' ${config}`);
    const get = "printf 'GET /metrics HTTP/1.1\\r\\n\\r\\n' >&3; cat <&3";
    const metrics = () => type(`bash -c "exec 3<>/dev/tcp/127.0.0.1/9469; ${get}"`);
    for (let i = 0; i < 2; i++) {
      await type("sudo systemctl restart openme");
      await waitFor(
        "the metrics",
        () => metrics().then((text) => /^openme_rules_in_place 1$/m.test(text), () => false),
      );
    }
    const [reader, ...others] = pidsIn(await type("sudo ss -Hltnp sport = :9469"));
    assert.deepEqual(others, []);
    assert.match(await type(`cat /proc/${reader}/status`), /^CapEff:\t0+$/m);
    assert.doesNotMatch(await type("sudo journalctl -u openme"), /cannot listen/);
    await type(`sudo sed -i '/^  metrics:/d' ${config} && sudo systemctl restart openme`);
  });

  await t.step("a fleet's engine is reached by a process of systemd's, and by name", async () => {
    const config = "/etc/openme/config.yaml";
    const fleet = "fleet: {name: test, url: redis:\\/\\/engine.test:6379}";
    await type(
      `sudo sed -i 's/^server:/&\\n  ${fleet}/' ${config} && sudo systemctl restart openme`,
    );
    const says = (pattern: RegExp) =>
      waitFor(
        "what the process says of the engine",
        async () => pattern.test(await type("sudo journalctl -u openme -o cat")),
        { timeoutMs: 30_000 },
      );
    await says(/fleet_down .*why="(its name is not found|it does not answer)"/);
    // As what manages names does: another file, of which a process that has the one of before never hears.
    const known = "127.0.0.1 engine.test";
    await type(`sudo sh -c "(cat /etc/hosts; echo ${known}) > /etc/new; mv /etc/new /etc/hosts"`);
    await says(/fleet_down .*why="it refuses connections"/);
    const units = await type("systemctl list-units --plain --no-legend 'openme-fleet@*'");
    assert.match(units, /^openme-fleet@\S+ +loaded +active +running .*\n$/);
    assert.equal(await type("sudo journalctl -u 'openme-fleet@*' -o cat | grep -i error || :"), "");
    const told = () => type("sudo journalctl -u openme -o cat | grep not_separated || :");
    assert.equal(await told(), "");
    for (const command of ["stop", "mask --runtime"]) {
      await type(`sudo systemctl ${command} openme-fleet.socket`);
    }
    await type("sudo systemctl restart openme");
    await waitFor("the line about it", async () => await told() !== "");
    assert.match(await told(), /^[^\n]*openme-fleet\.socket[^\n]*fleet's engine[^\n]*\n$/);
    await type("sudo systemctl unmask --runtime openme-fleet.socket");
    await type(`sudo sed -i '/^  fleet:/d' ${config} && sudo systemctl restart openme`);
  });

  for (const killed of ["openme", "'openme-taker@*'"]) {
    await t.step(`SIGKILL of ${killed} leaves the port closed, and both start anew`, async () => {
      const before = await pids();
      await type("sudo openme close --all");
      await stranger.seesNothing(async () => {
        await type(`sudo systemctl kill --kill-who=main --signal=KILL ${killed}`);
        await waitFor("others", async () => {
          const now = await pids();
          return now.length === 2 && !now.some((pid) => pid === "0" || before.includes(pid));
        }, { timeoutMs: 10_000 });
        await knocks();
      });
    });
  }

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
    const before = await pids();
    await type("sudo dpkg --configure -a"); // after the power cut
    await stranger.seesNothing(async () => {
      await type(`sudo apt-get install --reinstall -y ./${NEXT_PACKAGE}`);
      await knocks();
    });
    assert.match(await type("dpkg-query -W openme"), new RegExp(NEXT_VERSION));
    assert.deepEqual((await pids()).filter((pid) => before.includes(pid)), []);
    await set("closed");
    await neverOpened();
  });

  await t.step("a stop with on_stop: closed leaves the port closed to knocks too", async () => {
    await type("sudo openme close --all");
    await stranger.seesNothing(async () => {
      await type("sudo systemctl stop openme");
      await waitFor("the end of what reads knocks", async () => await takerUnits() === "");
      await type("test ! -e /run/openme-taker.sock");
      await laptop.type("openme knock vps");
      assert.equal(await laptop.reaches(), false);
      await type("sudo systemctl start openme");
      await knocks();
    });
  });

  await t.step("removed, it leaves the port as it was before", async () => {
    await type("sudo apt-get remove -y openme");
    assert.equal(await takerUnits(), "");
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
