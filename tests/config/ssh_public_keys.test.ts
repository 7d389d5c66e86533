/** OpenSSH's public keys as text: what is a key, whose it is, and what is refused. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { ConfigError } from "../../lib/config/fields.ts";
import { readSshPublicKeys } from "../../lib/config/ssh_public_keys.ts";
import { concatBytes, encodeBase64 } from "../../lib/crypto/keys.ts";
import { keyOfSshBlob, sshBlobOf, sshFingerprint, sshString } from "../../lib/crypto/ssh.ts";
import { ALICE, BOB } from "../support/knocks.ts";

const [alice, bob] = [ALICE, BOB].map(({ publicKey }) => encodeBase64(sshBlobOf(publicKey)));
const RSA = encodeBase64(concatBytes(sshString("ssh-rsa"), sshString("e"), sshString("n")));

Deno.test("readSshPublicKeys() reads each form of a line", async () => {
  const rows: [line: string, comment: string, hasOptions: boolean][] = [
    [`ssh-ed25519 ${alice} alice@laptop`, "alice@laptop", false],
    [`ssh-ed25519 ${alice}`, "", false],
    [`  ssh-ed25519\t${alice}   two  words \r`, "two words", false],
    [`no-pty ssh-ed25519 ${alice} a`, "a", true],
    [`from="10.0.0.0/8,!10.1.1.1",no-pty ssh-ed25519 ${alice} a`, "a", true],
    [`command="echo \\"ssh-ed25519 AAAA\\" #x" ssh-ed25519 ${alice} a#b`, "a#b", true],
  ];
  for (const [line, comment, hasOptions] of rows) {
    const { keys, others } = await readSshPublicKeys(`# mine\n\n${line}\n`);
    const fingerprint = await sshFingerprint(ALICE.publicKey);
    const key = { publicKey: ALICE.publicKey, fingerprint, comment, hasOptions };
    assert.deepEqual({ keys, others }, { keys: [key], others: [] }, line);
  }
});

Deno.test("readSshPublicKeys() takes each key once and sets other types apart", async () => {
  const { keys, others } = await readSshPublicKeys([
    `ssh-ed25519 ${alice} first`,
    `ssh-rsa ${RSA} old`,
    `ssh-ed25519 ${alice} again`,
    `sk-ssh-ed25519@openssh.com ${alice} stick`,
    `ssh-ed25519-cert-v01@openssh.com ${alice} cert`,
    `cert-authority,no-pty ssh-ed25519 ${bob} ca`,
    `ssh-ed25519 ${bob} second`,
  ].join("\n"));
  assert.deepEqual(keys.map(({ comment }) => comment), ["first", "second"]);
  assert.deepEqual(others.map(({ type }) => type), [
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "ssh-ed25519-cert-v01@openssh.com",
    "cert-authority",
  ]);
});

Deno.test("readSshPublicKeys() refuses what is no key, and names the line", async () => {
  const smallOrder = encodeBase64(sshBlobOf(new Uint8Array(32)));
  const rows: [text: string, error: RegExp][] = [
    ["\nhello world", /^line 2: expected an OpenSSH public key/],
    ["ssh-ed25519", /^line 1: /],
    [`"open ssh-ed25519 ${alice}`, /^line 1: /],
    ["ssh-ed25519 AAAA a", /^line 1: expected the rest of an ssh-ed25519 key/],
    [`ssh-ed25519 ${RSA} a`, /^line 1: expected the rest/],
    [`ssh-ed25519 ${alice!.slice(0, -4)} a`, /^line 1: expected the rest/],
    [`ssh-ed25519 ${smallOrder} a`, /^line 1: expected the rest/],
    ["---- BEGIN SSH2 PUBLIC KEY ----", /^line 1: /],
    ["-----BEGIN OPENSSH PRIVATE KEY-----\nsecret", /^the file: .*got a private one$/],
    ["-----BEGIN PRIVATE KEY-----\nsecret", /got a private one$/],
  ];
  for (const [text, error] of rows) {
    await assert.rejects(readSshPublicKeys(text), (thrown) => {
      assert.ok(thrown instanceof ConfigError);
      assert.match(thrown.message, error);
      return true;
    }, text);
  }
});

Deno.test("no text is read as anything but keys or a ConfigError, and no time is lost on it", async () => {
  const word = fc.constantFrom(
    "ssh-ed25519",
    "ssh-rsa",
    alice!,
    RSA,
    '"',
    '\\"',
    "#",
    "\t",
    "a=",
    ",",
    "\n",
  );
  const text = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.array(fc.oneof(word, fc.string()), { maxLength: 40 }).map((parts) => parts.join(" ")),
  );
  await fc.assert(fc.asyncProperty(text, async (each) => {
    const { keys } = await readSshPublicKeys(each).catch((thrown) => {
      assert.ok(thrown instanceof ConfigError, String(thrown));
      return { keys: [] };
    });
    for (const { publicKey } of keys) assert.equal(publicKey.length, 32);
  }));
  const startMs = performance.now();
  await readSshPublicKeys('\\"'.repeat(200_000)).catch(() => {});
  assert.ok(performance.now() - startMs < 2000);
});

Deno.test("keyOfSshBlob() reads Ed25519 keys alone, and nothing behind them", () => {
  fc.assert(fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (key) => {
    const blob = sshBlobOf(key as Uint8Array<ArrayBuffer>);
    assert.deepEqual(keyOfSshBlob(blob), key);
    assert.equal(keyOfSshBlob(Uint8Array.of(...blob, 0)), undefined);
    assert.equal(keyOfSshBlob(blob.subarray(0, -1)), undefined);
  }));
  fc.assert(fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
    assert.equal(keyOfSshBlob(bytes), undefined);
  }));
  const lengthBomb = Uint8Array.of(0xff, 0xff, 0xff, 0xff, 1);
  assert.equal(keyOfSshBlob(lengthBomb), undefined);
});
