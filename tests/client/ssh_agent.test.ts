/** The ssh-agent as a signer: OpenSSH's own, and others that lie, hang and refuse. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { agentSigner, readIdentities, readSignature } from "../../lib/client/ssh_agent.ts";
import { type Bytes, concatBytes, sign } from "../../lib/crypto/keys.ts";
import type { Signer } from "../../lib/crypto/signer.ts";
import { sshBlobOf, sshFingerprint, sshString, sshUint32 } from "../../lib/crypto/ssh.ts";
import { signatureVerifier } from "../../lib/crypto/sync.ts";
import { OpenmeError } from "../../lib/values/errors.ts";
import { Folder } from "../support/folder.ts";
import { ALICE, BOB, filled } from "../support/knocks.ts";
import { testWith } from "../support/programs.ts";
import { makeSshKey, SshAgent } from "../support/ssh_keys.ts";
import { readSshPublicKeys } from "../../lib/config/ssh_public_keys.ts";

const MESSAGE = filled(1, 101);
const SHORT = { listMs: 300, signMs: 300 };
const WANTED = { publicKey: ALICE.publicKey, fingerprint: undefined };

const identities = (...blobs: Bytes[]) =>
  concatBytes(
    Uint8Array.of(12),
    sshUint32(blobs.length),
    ...blobs.flatMap((blob) => [sshString(blob), sshString("a comment")]),
  );
const signature = (bytes: Bytes) =>
  concatBytes(
    Uint8Array.of(14),
    sshString(concatBytes(sshString("ssh-ed25519"), sshString(bytes))),
  );

/** An agent that answers as the test says; `undefined`: never. */
async function withAgent(
  answer: (request: Uint8Array) => Bytes | undefined | Promise<Bytes>,
  work: (socket: string) => Promise<void>,
): Promise<void> {
  await using folder = await Folder.create();
  const socket = folder.file("agent");
  const listener = Deno.listen({ transport: "unix", path: socket });
  const open: Deno.Conn[] = [];
  const serving = (async () => {
    for await (const connection of listener) {
      open.push(connection);
      const buffer = new Uint8Array(2000);
      const count = await connection.read(buffer).catch(() => null);
      const given = count === null ? undefined : await answer(buffer.slice(4, count));
      if (given) await connection.write(given).catch(() => {});
    }
  })();
  try {
    await work(socket);
  } finally {
    listener.close();
    await serving;
    for (const each of open) each.close();
  }
}

async function failureOf(work: Promise<unknown>): Promise<string> {
  const thrown = await work.then(() => undefined, (error) => error);
  assert.ok(thrown instanceof OpenmeError, String(thrown));
  assert.equal(thrown.code, "KEY");
  assert.ok(thrown.hint);
  return thrown.message;
}

testWith(
  ["ssh-agent", "ssh-add", "ssh-keygen"],
  "OpenSSH's agent signs with the key that is wanted, and with no other",
  async () => {
    await using folder = await Folder.create();
    await using agent = await SshAgent.start(folder.file("agent"));
    const keys: { publicKey: Bytes; fingerprint: string }[] = [];
    for (const name of ["one", "two"]) {
      await makeSshKey(folder.file(name));
      const { keys: [key] } = await readSshPublicKeys(await folder.read(`${name}.pub`));
      keys.push(key!);
    }
    await makeSshKey(folder.file("rsa"), { more: ["-t", "rsa"] });
    const { socket } = agent;
    const none = await failureOf(agentSigner(socket, { ...keys[0]!, fingerprint: undefined }));
    assert.equal(
      none,
      `the ssh-agent has no key ${keys[0]!.fingerprint}: it has no Ed25519 key at all`,
    );
    await agent.add("-q", folder.file("rsa"), folder.file("two"));
    assert.match(await failureOf(agentSigner(socket, keys[0]!)), / it has only SHA256:\S{43}$/);
    await agent.add("-q", folder.file("one"));
    for (const { publicKey, fingerprint } of keys) {
      for (
        const wanted of [{ publicKey, fingerprint: undefined }, {
          publicKey: undefined,
          fingerprint,
        }]
      ) {
        const signer = await agentSigner(socket, wanted);
        assert.deepEqual(signer.publicKey, publicKey);
        assert.ok(signatureVerifier(publicKey)(MESSAGE, await signer.sign(MESSAGE)));
      }
    }
    agent.signal("SIGSTOP");
    assert.match(
      await failureOf(agentSigner(socket, keys[0]!, SHORT)),
      /did not answer within 0.3s$/,
    );
    agent.signal("SIGCONT");
  },
);

testWith(
  ["ssh-agent", "ssh-add", "ssh-keygen"],
  "a key of ssh-add -c signs only when its user says yes",
  async () => {
    for (const [askpass, agrees] of [["/bin/true", true], ["/bin/false", false]] as const) {
      await using folder = await Folder.create();
      await using agent = await SshAgent.start(folder.file("agent"), askpass);
      await makeSshKey(folder.file("key"));
      await agent.add("-q", "-c", folder.file("key"));
      const { keys: [key] } = await readSshPublicKeys(await folder.read("key.pub"));
      const signer: Signer = await agentSigner(agent.socket, key!);
      if (agrees) {
        assert.ok(signatureVerifier(key!.publicKey)(MESSAGE, await signer.sign(MESSAGE)));
      } else {
        assert.equal(
          await failureOf(signer.sign(MESSAGE)),
          `the ssh-agent refused to sign with ${key!.fingerprint}`,
        );
      }
    }
  },
);

Deno.test("without an agent the error says so", async () => {
  await using folder = await Folder.create();
  for (const socket of [undefined, ""]) {
    assert.equal(
      await failureOf(agentSigner(socket, WANTED)),
      "cannot reach the ssh-agent: SSH_AUTH_SOCK is not set",
    );
  }
  assert.match(await failureOf(agentSigner(folder.file("none"), WANTED)), /there is no socket$/);
  const listener = Deno.listen({ transport: "unix", path: folder.file("dead") });
  listener.close();
  await Deno.stat(folder.file("dead")).catch(() => folder.write("dead", ""));
  assert.match(
    await failureOf(agentSigner(folder.file("dead"), WANTED)),
    /^cannot reach the ssh-agent: /,
  );
});

Deno.test("an agent that answers wrongly, or not at all, is told from one that refuses", async () => {
  const fingerprint = await sshFingerprint(ALICE.publicKey);
  const list = sshString(identities(sshBlobOf(BOB.publicKey), sshBlobOf(ALICE.publicKey)));
  const rows: [
    answer: (request: Uint8Array) => Bytes | undefined | Promise<Bytes>,
    failure: RegExp,
  ][] = [
    [() => undefined, /did not answer within 0.3s$/],
    [() => sshUint32(0), /not that of an agent$/],
    [() => sshUint32(0xffffffff), /not that of an agent$/],
    [() => concatBytes(sshUint32(100), filled(1, 3)), /did not answer within 0.3s$/],
    [() => sshString(Uint8Array.of(5)), /not that of an agent$/],
    [
      () => sshString(concatBytes(Uint8Array.of(12), sshUint32(0xffffffff))),
      /not that of an agent$/,
    ],
    [([type]) => type === 11 ? list : sshString(Uint8Array.of(5)), /refused to sign/],
    [
      ([type]) => type === 11 ? list : sshString(signature(filled(3, 64))),
      /signature with .* is wrong/,
    ],
    [([type]) => type === 11 ? list : sshString(signature(filled(3, 63))), /refused to sign/],
    [([type]) => type === 11 ? list : undefined, /did not answer within 0.3s$/],
    [
      async ([type]) => type === 11 ? list : sshString(signature(await sign(BOB.seed, MESSAGE))),
      /signature with .* is wrong/,
    ],
  ];
  for (const [answer, failure] of rows) {
    await withAgent(answer, async (socket) => {
      const signing = agentSigner(socket, { publicKey: undefined, fingerprint }, SHORT)
        .then((signer) => signer.sign(MESSAGE));
      assert.match(await failureOf(signing), failure);
    });
  }
  const good = async ([type]: Uint8Array) =>
    type === 11 ? list : sshString(signature(await sign(ALICE.seed, MESSAGE)));
  await withAgent(good, async (socket) => {
    const signer = await agentSigner(socket, WANTED, SHORT);
    assert.deepEqual(await signer.sign(MESSAGE), await sign(ALICE.seed, MESSAGE));
  });
});

Deno.test("no answer of an agent is read as more than it holds", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
    for (const type of [12, 14]) {
      const keys = readIdentities(Uint8Array.of(type, ...bytes));
      for (const key of keys ?? []) assert.equal(key.length, 32);
      const found = readSignature(Uint8Array.of(type, ...bytes));
      assert.ok(found === undefined || found.length === 64);
    }
  }));
  const whole = identities(sshBlobOf(ALICE.publicKey));
  for (let size = 0; size < whole.length; size++) {
    assert.equal(readIdentities(whole.subarray(0, size)), undefined);
  }
  assert.deepEqual(readIdentities(whole), [ALICE.publicKey]);
});
