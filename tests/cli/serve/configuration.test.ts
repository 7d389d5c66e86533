/** The configuration of `openme serve`: one that is wrong, and one that changes while it runs. */

import assert from "node:assert/strict";
import { ALICE_PUBLIC, OTHER_PUBLIC, serverYaml } from "../../support/server_yaml.ts";
import { failure, mapSome } from "../program.ts";
import { knockNow, Site } from "./site.ts";
import { LINE_MS } from "../../support/spawned.ts";

Deno.test("openme serve takes a changed configuration at once, and nothing of one that is wrong", async () => {
  await using site = await Site.create();
  await using program = await site.start(["--log-level", "debug"]);
  const knock = async (event: RegExp) => {
    const seen = program.stderr.all.length;
    await site.send(await knockNow());
    await program.stderr.waitFor(event, LINE_MS, seen);
  };
  await knock(/event=granted client=alice/);
  const change = async (text: string, event: RegExp) => {
    const seen = program.stderr.all.length;
    // As editors and openme do it: another file in its place.
    await site.folder.write("new.yaml", text);
    await Deno.rename(site.folder.file("new.yaml"), site.folder.file("server.yaml"));
    return await program.stderr.waitFor(event, LINE_MS, seen);
  };
  const wrong = await change(site.yaml(["nonsense: 1"]), /level=error/);
  assert.match(
    wrong,
    /event=config_rejected error="cannot load \\"server\.yaml\\": server\.nonsense: unknown key" hint=".*" doing="going on with the old configuration"$/,
  );
  await change(
    site.yaml([], "clients: {}"),
    /event=withdrawn client=alice address=198\.51\.100\.20/,
  );
  await knock(/event=dropped reason=signature/);
  await change(site.yaml(), /event=reloaded .* clients=1 grants=0$/);
  await knock(/event=granted client=alice/);
  assert.equal((await program.kill("SIGTERM")).code, 0);
});

Deno.test("openme serve leaves at its stop what on_stop says then, not what it said at the start", async () => {
  await using site = await Site.create();
  await using program = await site.start();
  await site.folder.write("server.yaml", site.yaml(["on_stop: closed"]));
  await program.stderr.waitFor(/event=reloaded/);
  assert.equal((await program.kill("SIGTERM")).code, 0);
  assert.match(program.stderr.all.at(-1)!, /event=stopped backend=nft guard="left closed"/);
});

Deno.test("openme serve goes on as it was started where a file changes server.separate", async () => {
  await using site = await Site.create();
  await using program = await site.start();
  await site.folder.write("server.yaml", site.yaml(["separate: off"]));
  await program.stderr.waitFor(/event=restart_needed changed=server\.separate doing=/);
  await program.stderr.waitFor(/event=reloaded/);
});

Deno.test("openme serve warns where the configuration asks to guard the knock port", async () => {
  await using site = await Site.create();
  await site.folder.write("server.yaml", site.yaml([], `ports: {vpn: [${site.port}/udp]}`));
  await using program = await site.start();
  assert.match(
    program.stderr.all.join("\n"),
    new RegExp(
      `level=warn event=never_guarded why="ports\\.vpn: ${site.port}/udp takes knocks, and is never guarded`,
    ),
  );
  assert.equal((await program.kill("SIGTERM")).code, 0);
});

Deno.test("openme serve takes a configuration that changed while it was starting", async () => {
  // The moment in which the table is put in place is after the file was read.
  const nft = `[ "$1" != -f ] || [ ! -e new.yaml ] || mv new.yaml server.yaml`;
  await using site = await Site.create({ nft });
  await site.folder.write("new.yaml", site.yaml([], "clients: {}"));
  await using program = await site.start();
  assert.match(String(program.stderr), /event=listening .* clients=1 /);
  await program.stderr.waitFor(/event=reloaded .* clients=0 /, 3000);
});

/** One wrong file of every kind; tests/config/ has the whole table. */
interface WrongConfig {
  readonly server?: string[];
  readonly rest?: string;
  readonly text?: string;
  readonly error: string;
  readonly hint?: string;
}

const WRONG_CONFIGS: WrongConfig[] = [
  { text: "", error: "the file: expected a map, got nothing" },
  {
    text: "server: {}\n",
    error:
      "server.private_key: expected the server's X25519 private key (32 bytes in base64), got nothing",
  },
  {
    server: ["udp_prot: 1"],
    error: "server.udp_prot: unknown key",
    hint: `did you mean "udp_port"?`,
  },
  {
    server: ["knock_timeout: 999ms"],
    error:
      `server.knock_timeout: expected a duration from 1s to 24h0m0s, such as "30s", got "999ms"`,
  },
  {
    server: [`public_key: ${OTHER_PUBLIC}`],
    error: "server.public_key: expected the public key of server.private_key, got another one",
    hint: "one of the two lines is from another server: restore the file, or run openme init again",
  },
  { server: ["drop_ports: no"], error: `server.drop_ports: expected true or false, got "no"` },
  {
    rest: `clients: {al: {ed25519_pubkey: ${ALICE_PUBLIC}, allowed_ports: [22/tcp, ssh/tpc]}}`,
    error:
      `clients.al.allowed_ports[1]: expected a port such as "22/tcp" or a group name, got "ssh/tpc"`,
  },
  {
    server: ["host: b"],
    error: "server.host: expected once, got again in line 4, column 3",
    hint: "take one of the two out",
  },
];

Deno.test("openme serve names the file, the key, what it expected there and what it found", async () => {
  await using site = await Site.create();
  const results = await mapSome([...WRONG_CONFIGS.entries()], async ([i, row]) => {
    await site.folder.write(`${i}.yaml`, row.text ?? serverYaml(row));
    return await site.run(["--config", `${i}.yaml`, "--state-dir", site.folder.file("state")]);
  });
  const expected = WRONG_CONFIGS.map(({ error, hint }, i) =>
    failure(1, `cannot load "${i}.yaml": ${error}`, hint)
  );
  assert.deepEqual(results, expected);
  // Nothing half-read is ever used.
  assert.equal(await site.asked(), "");
  assert.ok(!(await site.folder.names()).includes("state"));
});
