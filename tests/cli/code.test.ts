/** Codes of an authenticator app at the command line: `add --totp`, `--code`, and where a code is asked for. */

import assert from "node:assert/strict";
import { parseClientConfig } from "../../lib/config/profiles.ts";
import { parseServerConfig } from "../../lib/config/server.ts";
import { codeOf, splitSignature, unsealKnock } from "../../lib/packet.ts";
import { Folder } from "../support/folder.ts";
import { agreeAsServer, ALICE, ALICE_PROFILE, freshKnock, must } from "../support/knocks.ts";
import { testWith } from "../support/programs.ts";
import { ALICE_PUBLIC, OTHER_PUBLIC, serverYaml } from "../support/server_yaml.ts";
import { bareEnvironment, commandLine, failure, openme } from "./program.ts";
import { onTerminal } from "./terminal.ts";

const SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

/** A server's file and a profile of it that asks for codes. */
async function desk() {
  const folder = await Folder.create();
  await folder.write("server.yaml", serverYaml());
  const run = (...args: string[]) =>
    openme([...args, "--config", "server.yaml"], { cwd: folder.path });
  const added = await run("add", "bob", "--totp", "--out", "bob.yaml");
  assert.equal(added.code, 0, added.stderr);
  const env = await bareEnvironment();
  const knock = (args: string[], more: Record<string, string> = {}) =>
    openme(["knock", "--client-config", folder.file("bob.yaml"), ...args], {
      env: { ...env, ...more },
      through: ["setsid"],
    });
  return { folder, run, added, env, knock };
}

testWith(
  ["setsid"],
  "openme add --totp shows the secret once, and nothing else ever shows it",
  async () => {
    const { folder, run, added, knock } = await desk();
    await using _folder = folder;
    const config = parseServerConfig(await folder.read("server.yaml"), "server.yaml");
    const secret = must(config.clients.find(({ name }) => name === "bob")?.rules?.totp);
    assert.match(secret, /^[A-Z2-7]{32}$/);
    assert.equal(added.stdout, "");
    assert.ok(added.stderr.includes(`or typed into it: ${secret.match(/.{4}/g)!.join(" ")}\n`));
    assert.match(added.stderr, /[▀▄█ ]{40}/);
    for (const name of ["server.yaml", "bob.yaml"]) {
      assert.equal(must((await Deno.stat(folder.file(name))).mode) & 0o777, 0o600);
    }
    const profile = must(
      (await parseClientConfig(await folder.read("bob.yaml"), "x")).get("default"),
    );
    assert.equal(profile.totp, true);

    const told = [
      await run("list"),
      await run("list", "--json"),
      await run("check"),
      await run("rotate", "bob", "--link"),
      await run("revoke", "nobody"),
      await knock([]),
    ];
    for (const { stdout, stderr } of told) {
      assert.ok(
        ![secret, secret.match(/.{4}/g)!.join(" ")].some((each) =>
          (stdout + stderr).includes(each)
        ),
      );
    }
    assert.match(told[0]!.stdout, /bob .*with a code/);
    const { clients } = JSON.parse(told[1]!.stdout);
    assert.equal(clients.at(-1).conditions.totp, true);
    assert.match(told[3]!.stdout, /&totp=true$/m, "a new key still needs the code");
    const linked = await parseClientConfig(told[3]!.stdout, "x");
    assert.equal(must(linked.get("default")).totp, true);
    const rotated = parseServerConfig(await folder.read("server.yaml"), "server.yaml");
    assert.equal(must(rotated.clients.find(({ name }) => name === "bob")).rules?.totp, secret);
  },
);

testWith(
  ["setsid"],
  "openme knock takes a code, and says what to do where it has none and cannot ask",
  async () => {
    const { folder, knock } = await desk();
    await using _folder = folder;
    const noTerminal = failure(
      2,
      "cannot ask for the code: there is no terminal",
      "give it with --code 123456, or in OPENME_CODE",
    );
    assert.deepEqual(await knock([]), noTerminal);
    for (const given of ["12345", "1234567", "abcdef", "", "-1"]) {
      const expected = "expected the 6 digits that the authenticator app shows";
      assert.deepEqual(await knock([`--code=${given}`]), failure(2, `--code: ${expected}`));
      if (given === "") continue;
      assert.deepEqual(
        await knock([], { OPENME_CODE: given }),
        failure(2, `OPENME_CODE: ${expected}`),
      );
    }
    assert.deepEqual(
      await knock(["--continuous", "--code", "123456"]),
      failure(
        2,
        "--continuous does not go with a code, which is good once",
        "knock when you need it: openme knock PROFILE --wait 22/tcp",
      ),
    );
  },
);

testWith(
  ["script"],
  "the code is asked for on the terminal, and standard output stays the command's",
  async () => {
    const { folder, env } = await desk();
    await using _folder = folder;
    const profile = folder.file("bob.yaml");
    const yaml = await folder.read("bob.yaml");
    await Deno.writeTextFile(profile, yaml.replace(/server_host: .*/, "server_host: 127.0.0.1"));
    const words = (args: string[]) => commandLine(args).map((word) => `'${word}'`).join(" ");
    const command = words(["knock", "--json", "--client-config", profile]);
    const out = folder.file("out");
    // As below ssh, whose end of a ProxyCommand is a pipe.
    const piped = `sh -c "echo x | ${command} >${out} 2>/dev/null"`;
    for (const answer of ["123456\n", "123 456\n"]) {
      const talk = await onTerminal(piped, { cwd: folder.path, env, answers: [answer] });
      assert.equal(talk.code, 0, talk.shown);
      assert.match(talk.shown, /^Code for "default": /);
      assert.equal(JSON.parse(await Deno.readTextFile(out)).sent.length, 1);
    }
    const talk = await onTerminal(`${command} --wait 1/tcp --timeout 1s`, {
      ...{ cwd: folder.path, env },
      answers: ["123456\n"],
    });
    assert.equal(talk.code, 3, talk.shown);
    assert.equal(talk.shown.match(/Code for/g)?.length, 1, "asked once");
  },
);

Deno.test("a code is the third quarter of the random nonce, before the client hint; without one that is random", async () => {
  const nonceOf = async (digits?: number) => {
    const code = digits === undefined ? undefined : { digits, givenMs: 0 };
    const datagram = await freshKnock({ ...ALICE_PROFILE, code });
    const unsealed = unsealKnock(datagram, agreeAsServer);
    assert.ok(typeof unsealed === "object", "a good knock");
    assert.ok(ALICE.verify(...splitSignature(datagram)));
    return unsealed.randomNonce;
  };
  const [one, other, zero, none] = [
    await nonceOf(123456),
    await nonceOf(123456),
    await nonceOf(0),
    await nonceOf(),
  ];
  assert.deepEqual([...one.subarray(8, 12)], [0, 1, 0xe2, 0x40]);
  assert.deepEqual([one, other, zero].map(codeOf), [123456, 123456, 0]);
  assert.deepEqual(one.subarray(12), none.subarray(12), "the client hint");
  assert.notDeepEqual(one.subarray(0, 8), other.subarray(0, 8));
});

Deno.test("a file of clients.d with a secret is one that others cannot read", async () => {
  await using folder = await Folder.create();
  await folder.write("server.yaml", serverYaml());
  await Deno.mkdir(folder.file("clients.d"), { mode: 0o755 });
  const bob =
    `clients:\n  bob:\n    ed25519_pubkey: ${OTHER_PUBLIC}\n    allowed_ports: [ssh]\n    totp: ${SECRET}\n`;
  await folder.write("clients.d/bob.yaml", bob, 0o644);
  const check = () => openme(["check", "--config", "server.yaml"], { cwd: folder.path });
  const { code, stderr } = await check();
  assert.equal(code, 1);
  assert.match(
    stderr,
    /clients\.d\/bob\.yaml": it holds private keys, expected a mode such as 0600/,
  );
  await Deno.chmod(folder.file("clients.d/bob.yaml"), 0o640);
  assert.equal((await check()).code, 0);
});

Deno.test("a secret is base32 of 128 bits or more, and an error does not repeat it", () => {
  const parse = (totp: string) =>
    parseServerConfig(
      serverYaml({ rest: `clients:\n  alice: {ed25519_pubkey: ${ALICE_PUBLIC}, totp: ${totp}}` }),
      "x",
    ).clients[0]!.rules?.totp;
  const spaced = "gezd gnbv gy3t qojq gezd gnbv gy3t qojq ====";
  for (const good of [SECRET, JSON.stringify(spaced)]) assert.equal(parse(good), SECRET);
  for (
    const bad of ["GEZDGNBVGY3TQOJQGEZDGNBVG", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJ1", "123456", "[]"]
  ) {
    assert.throws(() => parse(bad), (error: Error) => {
      assert.match(error.message, /clients\.alice\.totp: expected a secret in base32/);
      return !error.message.includes(bad.slice(0, 8));
    });
  }
});
