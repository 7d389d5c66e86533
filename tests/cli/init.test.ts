/** `openme init`: a configuration that only its owner can read, and that is never overwritten by mistake. */

import assert from "node:assert/strict";
import { parseServerConfig } from "../../lib/config/server.ts";
import { bytesToHex } from "../../lib/crypto/keys.ts";
import { formatPortRange } from "../../lib/values/ports.ts";
import { must } from "../support/knocks.ts";
import { SERVER_PRIVATE, serverYaml } from "../support/server_yaml.ts";
import { Folder } from "../support/folder.ts";
import { failure, good, mapSome, openme, unprivileged } from "./program.ts";

const NEXT = "openme: next: openme add NAME --out NAME.yaml, then openme serve --confirm 60s";
const EXISTS_HINT = "openme init --force replaces it, and every client needs a new profile then";

/** What the file says, as `serve` reads it. */
async function load(folder: Folder, name: string) {
  const config = parseServerConfig(await folder.read(name), name);
  const { privateKey, publicKey: _, ...rest } = config;
  return { ...rest, privateKey: bytesToHex(privateKey) };
}

Deno.test("openme init --ports and --on-stop write what openme setup asks for", async () => {
  await using folder = await Folder.create();
  const init = (name: string, ...more: string[]) =>
    openme(["init", "--server", "vps.example.org", "--config", name, ...more], {
      cwd: folder.path,
    });
  await init("a.yaml", "--ports", "2222/tcp, 8443", "--on-stop", "closed");
  const { groups, onStop } = await load(folder, "a.yaml");
  assert.deepEqual([...groups].map(([name, ports]) => [name, ports.map(formatPortRange)]), [
    ["hidden", ["2222/tcp", "8443/tcp", "8443/udp"]],
  ]);
  assert.equal(onStop, "closed");
  await init("b.yaml", "--ports", "22/tcp");
  assert.deepEqual([...(await load(folder, "b.yaml")).groups.keys()], ["ssh"]);
  assert.equal((await load(folder, "b.yaml")).onStop, "open");
  const wrong = await init("c.yaml", "--ports", "22/tcp,90-80/tcp");
  const hint = 'the lower port goes first: "80-90/tcp"';
  assert.deepEqual(
    wrong,
    failure(2, '--ports: expected ports such as "22/tcp", got "90-80/tcp"', hint),
  );
});

Deno.test("openme init makes a commented configuration with keys of its own, mode 0600", async () => {
  await using folder = await Folder.create();
  // With any umask; in a folder that does not exist yet.
  const through = ["sh", "-c", 'umask 0; exec "$@"', "sh"];
  const results = await mapSome(
    ["a.yaml", "b/c/d.yaml"],
    (config) =>
      openme(["init", "--server", "vps.example.org", "--config", config], {
        cwd: folder.path,
        through,
      }),
  );
  assert.deepEqual(results, [
    good(["openme: wrote a.yaml", NEXT]),
    good(["openme: wrote b/c/d.yaml", NEXT]),
  ]);
  assert.deepEqual(await folder.names(), ["a.yaml", "b"]);
  const modes = ["a.yaml", "b", "b/c", "b/c/d.yaml"].map((name) => folder.mode(name));
  assert.deepEqual(await Promise.all(modes), [0o600, 0o700, 0o700, 0o600]);

  const made = await load(folder, "a.yaml");
  assert.equal(made.host, "vps.example.org");
  assert.deepEqual([made.udpPort, made.healthPort], [54154, 54154]);
  assert.equal(made.firewall, "auto");
  assert.deepEqual([made.knockTimeoutMs, made.replayWindowMs], [30_000, 60_000]);
  assert.deepEqual([made.dropPorts, made.openKnockPort], [true, true]);
  assert.equal(made.interface, undefined);
  assert.deepEqual([...made.groups.keys()], ["ssh"]);
  assert.deepEqual(made.clients, []);
  assert.deepEqual(made.guardedPorts.map(formatPortRange), ["22/tcp", "54154/tcp"]);
  assert.notEqual((await load(folder, "b/c/d.yaml")).privateKey, made.privateKey);

  // Every key of the section is there, in force or as a comment, and is explained.
  const text = await folder.read("a.yaml");
  for (const key of ["host", "udp_port", "knock_timeout", "replay_window", "drop_ports"]) {
    assert.match(text, new RegExp(`^  ${key}: .* # \\S`, "m"), key);
  }
  for (const key of ["open_knock_port", "health_port", "interface", "default_profile"]) {
    assert.match(text, new RegExp(`^  # ${key}: .* # \\S`, "m"), key);
  }
  assert.match(text, /^ {2}# state_dir: \/var\/lib\/openme$/m);
});

Deno.test("openme init takes every flag", async () => {
  await using folder = await Folder.create();
  const flags = ["--server", "2001:db8::1", "--port", "443", "--firewall", "nft"];
  const args = ["init", ...flags, "--interface", "br-0.5", "--config", "x.yaml"];
  const { code, stdout, stderr } = await openme(args, { cwd: folder.path });
  assert.deepEqual([code, stdout], [0, ""]);
  // Where no interface is called that, it says so: tests/e2e/host_fit.test.ts.
  assert.ok(stderr.startsWith("openme: wrote x.yaml\n") && stderr.endsWith(`${NEXT}\n`), stderr);
  const config = await load(folder, "x.yaml");
  assert.equal(config.host, "2001:db8::1");
  assert.deepEqual([config.udpPort, config.healthPort], [443, 443]);
  assert.equal(config.firewall, "nft");
  assert.equal(config.interface, "br-0.5");
});

Deno.test("openme init never overwrites: not a file, not a link, not in a race", async () => {
  await using folder = await Folder.create();
  await folder.write("file.yaml", "mine\n");
  await Deno.symlink("nowhere", folder.file("link.yaml"));
  const exists = (name: string) =>
    failure(1, `cannot write "${name}": it exists already`, EXISTS_HINT);
  const init = (config: string) =>
    openme(["init", "--server", "h", "--config", config], { cwd: folder.path });
  assert.deepEqual(
    await mapSome(["file.yaml", "link.yaml"], init),
    [exists("file.yaml"), exists("link.yaml")],
  );
  assert.equal(await folder.read("file.yaml"), "mine\n");
  assert.equal(await Deno.readLink(folder.file("link.yaml")), "nowhere");

  const racers = await Promise.all(["race.yaml", "race.yaml", "race.yaml"].map(init));
  assert.deepEqual(racers.map(({ code }) => code).sort(), [0, 1, 1]);
  assert.deepEqual(racers.find(({ code }) => code === 1), exists("race.yaml"));
  await load(folder, "race.yaml");
  assert.deepEqual(await folder.names(), ["file.yaml", "link.yaml", "race.yaml"]);
});

Deno.test("openme init tells why it cannot write, and leaves nothing behind", async () => {
  await using folder = await Folder.create();
  await folder.write("file", "");
  const [below, tooLong] = await mapSome(
    ["file/config.yaml", "x".repeat(250)],
    (config) => openme(["init", "--server", "h", "--config", config], { cwd: folder.path }),
  );
  assert.equal(below!.code, 1);
  assert.match(below!.stderr, /^openme: error: cannot write "file\/config\.yaml": \S/);
  assert.doesNotMatch(below!.stderr, /exists already|--force/, "there is no such file");
  assert.equal(tooLong!.code, 1);
  assert.match(tooLong!.stderr, /^openme: error: cannot write "x{250}": .*name too long/i);
  assert.deepEqual(await folder.names(), ["file"]);
});

Deno.test("openme init where it may not write says what to do", async () => {
  await using folder = await Folder.create();
  await Deno.mkdir(folder.file("locked"), { mode: 0o555 });
  assert.deepEqual(
    await openme(["init", "--server", "h", "--config", "locked/x/config.yaml"], {
      cwd: folder.path,
      through: unprivileged(),
    }),
    failure(
      1,
      `cannot write "locked/x/config.yaml": permission denied`,
      "run it as the file's owner, or with sudo",
    ),
  );
});

Deno.test("openme init --force keeps the old file beside the new one", async () => {
  await using folder = await Folder.create();
  const old = serverYaml();
  const through = ["sh", "-c", 'umask 0; exec "$@"', "sh"];
  const force = (config: string) =>
    openme(["init", "--server", "new.example", "--force", "--config", config], {
      cwd: folder.path,
      through,
    });
  // Nothing there: as without the flag.
  assert.deepEqual(await force("fresh.yaml"), good(["openme: wrote fresh.yaml", NEXT]));
  assert.equal(await folder.mode("fresh.yaml"), 0o600);
  assert.deepEqual(await folder.names(), ["fresh.yaml"]);

  await folder.write("real.yaml", old, 0o640);
  await Deno.symlink("real.yaml", folder.file("link.yaml"));
  const { code, stdout, stderr } = await force("link.yaml");
  assert.deepEqual({ code, stdout }, { code: 0, stdout: "" });
  const copy = must(/^openme: the old configuration is (\S+); its clients no longer get in\n/.exec(
    stderr,
  ))[1]!;
  assert.equal(stderr.split("\n").slice(1).join("\n"), `openme: wrote link.yaml\n${NEXT}\n`);
  assert.match(copy, /^link\.yaml\.old-\d{8}T\d{6}Z-[0-9a-f]{4}$/);
  assert.equal(await folder.read(copy), old);
  assert.equal(await folder.mode(copy), 0o640);
  assert.equal(await Deno.readLink(folder.file("link.yaml")), "real.yaml");
  const config = await load(folder, "real.yaml");
  assert.equal(config.host, "new.example");
  assert.ok(!(await folder.read("real.yaml")).includes(SERVER_PRIVATE));
  assert.equal(await folder.mode("real.yaml"), 0o600);
  assert.deepEqual(await folder.names(), ["fresh.yaml", "link.yaml", copy, "real.yaml"].sort());
});

Deno.test("openme init --force makes the new file 0600, whatever the old one's mode", async () => {
  await using folder = await Folder.create();
  await folder.write("open.yaml", "# an old file, left open by mistake\n", 0o644);
  const { code } = await openme(
    ["init", "--server", "h", "--force", "--config", folder.file("open.yaml")],
  );
  assert.equal(code, 0);
  assert.equal(await folder.mode("open.yaml"), 0o600);
});

Deno.test("openme init says what it cannot replace, and where it cannot write at all", async () => {
  await using folder = await Folder.create();
  await Deno.symlink("nowhere", folder.file("link.yaml"));
  const init = (...args: string[]) =>
    openme(["init", "--server", "h", "--config", ...args], { cwd: folder.path });
  assert.deepEqual(
    await init("link.yaml", "--force"),
    failure(
      1,
      'cannot write "link.yaml": it exists already',
      "it is a link that leads nowhere: remove it, or make what it leads to",
    ),
  );
  assert.deepEqual(
    await init("/proc/openme.yaml"),
    failure(
      1,
      'cannot write "/proc/openme.yaml": openme cannot write in /dev, /proc and /sys',
      "choose another folder",
    ),
  );
});
