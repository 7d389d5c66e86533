/**
 * `openme setup` on a machine that really boots, over ssh from a laptop: stopped, killed and cut off in the middle, each
 * time everything is put back; then to the end, run again, taken back, and once more by hand, by the commands that it
 * printed.
 */

import assert from "node:assert/strict";
import { blocksUnder } from "../documents/blocks.ts";
import { linesOf } from "../documents/session.ts";
import { e2e } from "../e2e/e2e.ts";
import type { Program } from "../support/spawned.ts";
import { waitFor } from "../support/wait.ts";
import { Laptop } from "./laptop.ts";
import { bootMissing, Machine, USER } from "./machine.ts";

const under = (heading: string, document = "docs/setup.md") =>
  blocksUnder({ document, heading, test: import.meta.url });
const [SETUP] = await under("Setting up");
const [UNDO] = await under("Taking it back");
const README = await under("openme", "README.md");
/** What the README shows, line by line: what is typed, and what is printed here. The package's own words apart. */
const TYPED = README.flatMap(({ text }) => linesOf(text)).map(({ command }) => command);
const PRINTED = README.flatMap(({ text }) => text.split("\n")).map((line) => line.trim())
  .filter((line) => !/^(vps\$|laptop\$|…|$|openme: installed)/.test(line));

/** Everything of openme's that setup may leave, and what systemd has of it. */
const TRACES = `ls -d /etc/openme /var/lib/openme /etc/systemd/system/openme* \\
  /etc/systemd/system/*.wants/openme* /run/systemd/system/openme* /run/openme-taker* \\
  *openme*.yaml 2>&-
systemctl list-units --all --plain --no-legend 'openme*'
sudo nft list ruleset | grep openme`;

e2e("openme setup", async (lab, t) => {
  await using laptop = await Laptop.create(lab);
  await using machine = await Machine.install(lab, laptop.publicKey);
  await Deno.copyFile(Deno.env.get("OPENME_BIN")!, `${machine.root}/usr/local/bin/openme`);
  await Deno.chmod(`${machine.root}/usr/local/bin/openme`, 0o755);
  await machine.run("install", "-d", "-o", USER, `/home/${USER}/openme`);
  await machine.write("/etc/hosts", "127.0.0.1 localhost\n10.0.0.1 vps.example.org vps\n");
  await machine.boot();
  await laptop.logIn();

  const isUntouched = async () => {
    await waitFor("everything to be put back", async () => {
      const { length } = (await laptop.typeAtServer(`${TRACES}; true`)).trim();
      return length === 0;
    }, { timeoutMs: 20_000, everyMs: 250 }).catch(async (cause) => {
      throw new Error(await laptop.typeAtServer(`${TRACES}; true`), { cause });
    });
    assert.ok(await laptop.reaches(), "the port is not open again");
  };
  /** The command for the laptop, once setup has printed it. */
  const atLaptop = async ({ stdout }: Program) =>
    (await stdout.waitFor(/^ssh .*\| openme import/, 30_000)).trim();

  await t.step("its ssh session dies while it waits for the client", async () => {
    const setup = laptop.onTerminal("sudo openme setup --yes");
    await atLaptop(setup);
    assert.match(await laptop.typeAtServer("ls /etc/systemd/system"), /^openme\.service$/m);
    await setup.kill("SIGKILL");
    await isUntouched();
  });

  await t.step("it is killed while it waits for the knock", async () => {
    const setup = laptop.onTerminal("sudo openme setup --yes");
    const [fetch] = (await atLaptop(setup)).split(" | ");
    await laptop.type(`${fetch} > profile.yaml`);
    await setup.stdout.waitFor(/waiting for a knock/, 30_000);
    assert.equal(await laptop.reaches(), false);
    await laptop.typeAtServer(`sudo kill -KILL $(pgrep -f '^openme setup')`);
    await isUntouched();
    await setup.kill("SIGKILL");
  });

  await t.step("its server is killed while it waits for the knock", async () => {
    const setup = laptop.onTerminal("sudo openme setup --yes");
    const [fetch] = (await atLaptop(setup)).split(" | ");
    await laptop.type(`${fetch} > profile.yaml`);
    await setup.stdout.waitFor(/waiting for a knock/, 30_000);
    await laptop.typeAtServer("sudo systemctl kill --signal=KILL openme");
    assert.equal((await setup.status).code, 1);
    await setup.stdout.ended;
    assert.match(`${setup.stdout}`, /error: the server ended before its time; everything is as it/);
    await isUntouched();
  });

  await t.step(
    "no knock comes in time, and sudo would ask for a password at the laptop",
    async () => {
      const may = (what: string) =>
        machine.write(`/etc/sudoers.d/${USER}`, `${USER} ALL=(ALL) NOPASSWD: ${what}\n`, 0o440);
      await may("/usr/local/bin/openme setup *");
      const setup = laptop.onTerminal("sudo openme setup --yes --confirm 5s");
      const [fetch] = (await atLaptop(setup)).split(" | ");
      await may("ALL");
      assert.equal(
        fetch,
        `ssh ${USER}@vps.example.org 'cat openme-laptop.yaml && rm openme-laptop.yaml'`,
      );
      await laptop.type(`${fetch} > profile.yaml`);
      const { code } = await setup.status;
      assert.equal(code, 1);
      await setup.stdout.ended;
      const shown = setup.stdout.toString();
      assert.match(shown, /error: no knock opened within 5s; everything is as it was before/);
      await isUntouched();
    },
  );

  await t.step("the server cannot start, with a configuration that was there before", async () => {
    await laptop.typeAtServer("sudo openme init --server vps.example.org --firewall iptables");
    await laptop.typeAtServer("sudo openme add desk --out desk.yaml");
    const before = await laptop.typeAtServer("sudo sha256sum /etc/openme/config.yaml");
    const setup = laptop.onTerminal("sudo openme setup --yes");
    assert.equal((await setup.status).code, 1);
    await setup.stdout.ended;
    assert.match(
      `${setup.stdout}`,
      /error: the server did not start: .*iptables.*; everything is as it/,
    );
    assert.equal(await laptop.typeAtServer("sudo sha256sum /etc/openme/config.yaml"), before);
    await laptop.typeAtServer("sudo rm -r /etc/openme desk.yaml");
    await isUntouched();
  });

  await t.step("Ctrl-C at a question changes nothing, and later puts everything back", async () => {
    const early = laptop.onTerminal("sudo openme setup");
    await early.stdout.waitFor(/some questions/, 20_000);
    await early.writeLine("\x03");
    assert.equal((await early.status).code, 1);
    const late = laptop.onTerminal("sudo openme setup --yes");
    await atLaptop(late);
    await late.writeLine("\x03");
    assert.equal((await late.status).code, 1);
    await late.stdout.ended;
    assert.match(`${late.stdout}`, /error: setup was stopped; everything is as it was before/);
    await isUntouched();
  });

  await t.step("a file that was there before is not taken for its own", async () => {
    await laptop.typeAtServer("echo mine > kept.yaml");
    const told = await laptop.typeAtServer(
      "sudo openme setup --yes --no-wait --out kept.yaml 2>&1 || :",
    );
    assert.match(told, /error: "\S+kept\.yaml" is there already/);
    assert.equal(await laptop.typeAtServer("cat kept.yaml && rm kept.yaml"), "mine\n");
  });

  await t.step("a power cut leaves files, which the next setup removes", async () => {
    const setup = laptop.onTerminal("sudo openme setup --yes");
    await atLaptop(setup);
    // Of a machine that loses its power, nothing is left to put anything back.
    await laptop.typeAtServer("sudo systemctl kill --signal=KILL 'openme-setup-*'");
    await laptop.typeAtServer("sudo kill -KILL $(pgrep -f '^openme setup')");
    await setup.kill("SIGKILL");
    await laptop.typeAtServer("sudo ls /etc/openme/setup.json /etc/openme/config.yaml");
    // A server that was started by hand since is not put back unasked.
    await laptop.typeAtServer("sudo systemctl start openme");
    const refused = await laptop.typeAtServer("sudo openme setup --yes 2>&1 || :");
    assert.match(refused, /error: an earlier setup ended in the middle, and its server is in use/);
    assert.equal(await laptop.typeAtServer("systemctl is-active openme"), "active\n");
    await laptop.typeAtServer("sudo systemctl stop openme && sudo openme uninstall");
  });

  let commands: string[] = [];
  let command = "";

  await t.step("as the document has it, to the end", async () => {
    const [{ command: line } = { command: "" }] = linesOf(SETUP!.text);
    const setup = laptop.onTerminal(line);
    // A name that is none is asked again; the other answers are the defaults.
    for (const answer of ["no name!", "", "", "", ""]) await setup.writeLine(answer);
    command = await atLaptop(setup);
    assert.ok(SETUP!.text.includes(command), command);
    assert.deepEqual(TYPED.slice(1), [line, command], "the first line installs the package");
    const told = await laptop.type(command);
    assert.match(told, /^vps: laptop is let in from 10\.0\.0\.2 to 22\/tcp, \d+s left$/m);
    const { code } = await setup.status;
    await setup.stdout.ended;
    const shown = setup.stdout.all.map((each) => each.replaceAll("\r", ""));
    assert.equal(code, 0, shown.join("\n"));
    assert.match(shown.join("\n"), /expected a host name or an address, got "no name!"/);
    assert.match(shown.join("\n"), /22\/tcp +sshd +0\.0\.0\.0 ::/);
    assert.match(shown.join("\n"), /it works: laptop was let in from 10\.0\.0\.2 to 22\/tcp/);
    assert.match(
      shown.join("\n"),
      /an earlier setup ended in the middle: put back what it had made/,
    );
    const all = [...shown, told].join("\n").replace(/\d+s left/, "30s left");
    for (const each of PRINTED) assert.ok(all.includes(each), `the README shows: ${each}`);
    // Without those by which it put that back.
    shown.splice(0, shown.findIndex((each) => /some questions/.test(each)));
    commands = shown.flatMap((each) => /^\+ (.*)$/.exec(each)?.[1] ?? []);
  });

  const isSetUp = async () => {
    const states = "systemctl is-active openme; systemctl is-enabled openme openme-guard";
    assert.equal(await laptop.typeAtServer(states), "active\nenabled\nenabled\n");
    assert.equal(
      await laptop.typeAtServer("systemctl show -p DropInPaths openme"),
      "DropInPaths=\n",
    );
    await laptop.typeAtServer("sudo openme close --all");
    assert.equal(await laptop.reaches(), false);
    await laptop.type("openme knock vps --wait 22/tcp");
  };

  await t.step("it stays, and a second setup changes nothing", async () => {
    await isSetUp();
    const before = await laptop.typeAtServer(
      "sudo cat /etc/openme/*; systemctl show -p MainPID openme",
    );
    const told = await laptop.typeAtServer("sudo openme setup --yes 2>&1");
    assert.match(told, /^openme: this host is set up already: nothing has changed$/m);
    const after = await laptop.typeAtServer(
      "sudo cat /etc/openme/*; systemctl show -p MainPID openme",
    );
    assert.equal(after, before);
    // As if the power had failed after the knock.
    await laptop.typeAtServer("sudo sed -i s/done/confirmed/ /etc/openme/setup.json");
    await laptop.typeAtServer("sudo systemctl disable --now openme-guard openme");
    const rest = await laptop.typeAtServer("sudo openme setup --yes 2>&1");
    assert.match(rest, /ended after its knock: doing the rest of it$[^]*nothing has changed$/m);
    await isSetUp();
  });

  let undone: string[] = [];

  await t.step("openme setup --undo takes everything back", async () => {
    const undo = laptop.onTerminal(linesOf(UNDO!.text)[0]!.command);
    await undo.writeLine("yes");
    const { code } = await undo.status;
    await undo.stdout.ended;
    const shown = undo.stdout.all.map((each) => each.replaceAll("\r", ""));
    assert.equal(code, 0, shown.join("\n"));
    undone = shown.flatMap((each) => /^\+ (.*)$/.exec(each)?.[1] ?? []);
    await isUntouched();
  });

  await t.step("by hand: the commands that it printed, there and back", async () => {
    await laptop.type("openme profiles remove vps");
    const type = (line: string) =>
      laptop.typeAtServer(`sudo sh -c '${line.replaceAll("'", `'\\''`)}'`);
    const start = commands.findIndex((line) => line.includes("systemctl start"));
    for (const line of commands.slice(0, start - 2)) await type(line);
    const [fetch, knock] = command.split(" && ");
    await laptop.type(fetch!);
    for (const line of commands.slice(start - 2, start + 1)) await type(line);
    await laptop.type(knock!);
    for (const line of commands.slice(start + 1)) await type(line);
    await isSetUp();
    for (const line of undone) await type(`${line} || true`);
    await isUntouched();
  });

  await t.step("without a person, and without a wait", async () => {
    const line = "sudo openme setup --yes --no-wait --out laptop.yaml";
    await laptop.typeAtServer(line);
    await laptop.type("openme profiles remove vps");
    await laptop.type(
      `ssh -S control-1 vps.example.org cat openme/laptop.yaml | openme import - --as vps`,
    );
    await isSetUp();
    await laptop.typeAtServer("sudo openme setup --undo --yes");
    await isUntouched();
  });

  await t.step("killed at any moment, it has done all or nothing, and so has --undo", async () => {
    const isSettled = async () => {
      const traces = (await laptop.typeAtServer(`${TRACES}; true`)).trim();
      if (traces === "") return await laptop.reaches();
      const done =
        "sudo grep '\"done\"' /etc/openme/setup.json && systemctl is-enabled openme openme-guard";
      return !/openme-setup-/.test(traces) && !await laptop.reaches() &&
        /enabled\nenabled\n/.test(await laptop.typeAtServer(`${done}; true`));
    };
    const killed = async (line: string, afterMs: number) => {
      const kill = `sleep ${afterMs / 1000}; kill -KILL $pid; true`;
      await laptop.typeAtServer(`sudo sh -c '${line} >/dev/null 2>&1 & pid=$!; ${kill}'`);
      await waitFor(`all or nothing after ${afterMs} ms of ${line}`, isSettled, {
        timeoutMs: 20_000,
      }).catch(async (cause) => {
        throw new Error(
          await laptop.typeAtServer(`${TRACES}; sudo cat /etc/openme/setup.json; true`),
          { cause },
        );
      });
    };
    const undo = "openme setup --undo --yes";
    for (const afterMs of [300, 700, 900]) {
      await killed("openme setup --yes --no-wait --out l.yaml", afterMs);
      await killed(undo, afterMs / 3);
      await laptop.typeAtServer(`sudo ${undo}; sudo rm -f l.yaml`);
    }
    await isUntouched();
  });
}, { needs: await bootMissing() });
