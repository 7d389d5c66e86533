/** `openme serve` from its start to its end, with an `nft` that only records what it is asked. */

import assert from "node:assert/strict";
import { waitFor } from "../support/wait.ts";
import { address } from "../support/knocks.ts";
import { SERVER_PRIVATE } from "../support/server_yaml.ts";
import { commandLine, failure, mapSome, openme } from "./program.ts";
import { knockNow, Site } from "./serve/site.ts";

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  Deno.test(`openme serve opens for a knock, and leaves with exit code 0 on ${signal}`, async () => {
    await using site = await Site.create();
    await using program = await site.start();
    assert.match(
      program.stderr.all.at(-1)!,
      new RegExp(
        `^time=\\S+Z level=info event=listening udp_port=${site.port} backend=nft drop_ports=true ` +
          `guarded=22/tcp,${site.port}/tcp clients=1 grants=0$`,
      ),
    );
    assert.match(await site.asked(), /^table inet openme \{$/m);
    await site.send(await knockNow());
    await program.stderr.waitFor(
      /event=granted client=alice address=198\.51\.100\.20 source=127\.0\.0\.1 ports=22\/tcp,\d+\/tcp lifetime=30s$/,
    );
    assert.match(
      await site.asked(),
      / set granted4 \{.* elements = \{ 198\.51\.100\.20 \. tcp/m,
    );

    const { code } = await program.kill(signal);
    assert.equal(code, 0, String(program.stderr));
    assert.match(program.stderr.all.at(-1)!, /level=info event=stopped backend=nft guard=removed$/);
    assert.deepEqual(program.stdout.all, []);
    const removal = "add table inet openme\ndelete table inet openme\n";
    assert.ok(
      (await site.asked()).endsWith(`nft -f -\n${removal}nft --json --terse list ruleset\n`),
    );
    assert.ok(!String(program.stderr).includes(SERVER_PRIVATE));

    // What it keeps is readable to its own user alone.
    assert.equal(await site.folder.mode("state"), 0o700);
    const kept = await Array.fromAsync(Deno.readDir(site.folder.file("state")));
    assert.ok(kept.some(({ name }) => name === "state.db"));
    for (const { name } of kept) {
      assert.equal(await site.folder.mode(`state/${name}`) & 0o077, 0, name);
    }
  });
}

Deno.test("openme serve puts grants back after a kill, and takes no knock again", async () => {
  await using site = await Site.create();
  let knock: Uint8Array;
  {
    await using program = await site.start();
    knock = await knockNow(); // a new database refuses knocks dated before it
    await site.send(knock);
    await program.stderr.waitFor(/event=granted/);
    await program.kill("SIGKILL");
  }
  const { stdout } = await openme(["sessions", "--json", "--config", "server.yaml"], {
    cwd: site.folder.path,
  });
  const [session] = JSON.parse(stdout).grants;
  assert.deepEqual([session.client, session.address], ["alice", "198.51.100.20"]);
  assert.deepEqual(session.ports, ["22/tcp"]);

  await using program = await site.start(["--log-level", "debug"]);
  assert.match(program.stderr.all.at(-1)!, / grants=1$/);
  await site.send(knock);
  await program.stderr.waitFor(/event=dropped reason=replay source=127\.0\.0\.1 client=alice$/);
});

Deno.test("openme serve tells of drops at debug only, in the format that was asked for", async () => {
  for (const level of ["info", "debug"]) {
    await using site = await Site.create();
    await using program = await site.start(["--log-format", "json", "--log-level", level]);
    await site.send(new Uint8Array(164));
    await site.send(await knockNow()); // what comes after it tells that the first was dealt with
    await program.stderr.waitFor(/"event":"granted"/);
    const events = program.stderr.all.map((line) => JSON.parse(line));
    assert.deepEqual(
      events.filter(({ event }) => event === "dropped").map(({ time: _, ...fields }) => fields),
      level === "info"
        ? []
        : [{ level: "debug", event: "dropped", reason: "size", source: "127.0.0.1" }],
    );
  }
});

Deno.test("a second openme serve fails without harm", async () => {
  await using site = await Site.create();
  await using program = await site.start();
  const before = await site.asked();
  const [sameState, samePort, dry] = await mapSome(
    [["--interface", "lo"], ["--state-dir", site.folder.file("other")], ["--dry-run"]],
    (args) => site.run(args),
  );
  assert.deepEqual(
    sameState,
    failure(
      1,
      `another openme serve is running with the state directory "${site.folder.file("state")}"`,
      "stop that one first; it keeps running, and its guard stays in place",
    ),
  );
  assert.deepEqual(
    dry,
    failure(
      1,
      `another openme serve is running with the state directory "${site.folder.file("state")}"`,
      "openme plan --config server.yaml shows what a changed file would do",
    ),
  );
  assert.deepEqual(
    samePort,
    failure(
      1,
      `cannot listen on UDP port ${site.port}: another program has it`,
      `see which: ss -ulpn 'sport = :${site.port}'`,
    ),
  );
  // What was asked since is the first one's verification of its guard, which this nft has lost after 4 s.
  const asked = (await site.asked()).slice(before.length);
  const mended = program.stderr.all.filter((line) => line.includes("event=rules_missing"));
  assert.ok(asked.split("nft -f").length - 1 <= mended.length, asked);
  await site.send(await knockNow());
  await program.stderr.waitFor(/event=granted/);
});

Deno.test("openme serve goes on where the reader of its log is gone", async () => {
  await using site = await Site.create();
  const [file, ...args] = commandLine(["serve", "--config", "server.yaml"]);
  const child = new Deno.Command(file!, {
    args,
    cwd: site.folder.path,
    env: site.env,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  try {
    const log = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    while (!text.includes("event=listening")) {
      const { value, done } = await log.read();
      assert.ok(!done, text);
      text += value;
    }
    await log.cancel(); // a log collector that has died: the pipe is broken from here on
    for (const target of ["198.51.100.20", "198.51.100.21"]) {
      await site.send(await knockNow(address(target)));
      await waitFor(`${target} to be let in`, async () => (await site.asked()).includes(target));
    }
    child.kill("SIGTERM");
    assert.equal((await child.status).code, 0);
    assert.match(await site.asked(), /^delete table inet openme\n(?!table)/m);
  } finally {
    try {
      child.kill("SIGKILL");
    } catch {
      // It has ended, as it should.
    }
    await child.status;
  }
});

Deno.test("a second signal ends openme serve at once", async () => {
  // Taking the rules out hangs.
  const nft = `[ "$1" = -f ] && [ -e stop ] && { echo $$ >pid; exec sleep 60; }`;
  await using site = await Site.create({ nft });
  await using program = await site.start();
  await site.folder.write("stop", "");
  program.signal("SIGTERM");
  await waitFor(
    "the firewall to hang",
    async () => (await site.folder.names()).includes("pid"),
    { everyMs: 10 },
  );
  const { code } = await program.kill("SIGTERM");
  assert.equal(code, 143);
  const pid = Number(await waitFor("the pid", () => site.folder.read("pid")));
  Deno.kill(pid, "SIGKILL");
});
