/** OpenSSH's private keys: what `ssh-keygen` writes is read, anything else is refused, and no error shows a key. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { ConfigError } from "../../lib/config/fields.ts";
import { readSshPrivateKey } from "../../lib/config/ssh_private_key.ts";
import { type Bytes, concatBytes, encodeBase64 } from "../../lib/crypto/keys.ts";
import { sshBlobOf, sshFingerprint, sshString, sshUint32 } from "../../lib/crypto/ssh.ts";
import { publicKeyOf } from "../../lib/crypto/sync.ts";
import { assertNotTold } from "../cli/program.ts";
import { Folder } from "../support/folder.ts";
import { ALICE, must } from "../support/knocks.ts";
import { testWith } from "../support/programs.ts";
import { makeSshKey, runTool } from "../support/ssh_keys.ts";

const HEAD = "-----BEGIN OPENSSH PRIVATE KEY-----";
const TAIL = "-----END OPENSSH PRIVATE KEY-----";

function armour(bytes: Uint8Array): string {
  return `${HEAD}\n${encodeBase64(bytes)}\n${TAIL}\n`;
}

/** What `ssh-keygen` would write for alice without a passphrase, with changes. */
function fileOf(changes: {
  readonly checks?: readonly [number, number];
  readonly privateKey?: Bytes;
  readonly padding?: Bytes;
  readonly cipher?: string;
  readonly kdf?: string;
  readonly kdfOptions?: Bytes;
  readonly count?: number;
  readonly publicBlob?: Bytes;
} = {}): Uint8Array {
  const { checks = [7, 7], padding = Uint8Array.of(1, 2, 3), count = 1 } = changes;
  const { cipher = "none", kdf = "none", kdfOptions = new Uint8Array(0) } = changes;
  const { privateKey = concatBytes(ALICE.seed, ALICE.publicKey) } = changes;
  const { publicBlob = sshBlobOf(ALICE.publicKey) } = changes;
  const sealed = concatBytes(
    ...checks.map(sshUint32),
    sshBlobOf(ALICE.publicKey),
    ...[sshString(privateKey), sshString("alice"), padding],
  );
  return concatBytes(
    new TextEncoder().encode("openssh-key-v1\0"),
    ...[sshString(cipher), sshString(kdf), sshString(kdfOptions), sshUint32(count)],
    ...[sshString(publicBlob), sshString(sealed)],
  );
}

/** What is wrong with a file, as its reader is told; fails where the error shows a part of the key. */
async function flawOf(text: string, passphrase = ""): Promise<string> {
  try {
    const seed = await readSshPrivateKey(text).open(passphrase);
    return seed ? "none" : "passphrase";
  } catch (thrown) {
    assert.ok(thrown instanceof ConfigError, String(thrown));
    assertNotTold(`${thrown.message} ${thrown.hint}`, encodeBase64(ALICE.seed));
    return thrown.message;
  }
}

Deno.test("readSshPrivateKey() reads a plain file", async () => {
  const { publicKey, isEncrypted, open } = readSshPrivateKey(armour(fileOf()));
  assert.deepEqual({ publicKey, isEncrypted }, { publicKey: ALICE.publicKey, isEncrypted: false });
  assert.deepEqual(await open(""), ALICE.seed);
});

Deno.test("readSshPrivateKey() refuses each flaw", async () => {
  const bcrypt = (rounds: number) => ({
    cipher: "aes256-ctr",
    kdf: "bcrypt",
    kdfOptions: concatBytes(sshString(new Uint8Array(16)), sshUint32(rounds)),
  });
  const bytes = fileOf();
  const rows: [text: string, flaw: RegExp][] = [
    [armour(fileOf({ checks: [7, 8] })), /damaged/],
    [armour(fileOf({ padding: Uint8Array.of(1, 2, 4) })), /damaged/],
    [armour(fileOf({ privateKey: ALICE.seed })), /damaged/],
    [armour(fileOf({ privateKey: concatBytes(ALICE.seed, ALICE.seed) })), /damaged/],
    [armour(fileOf({ count: 2 })), /damaged/],
    [armour(fileOf({ publicBlob: sshBlobOf(ALICE.seed) })), /damaged/],
    [armour(fileOf({ publicBlob: sshString("ssh-rsa") })), /of the type ssh-rsa$/],
    [armour(fileOf({ publicBlob: sshString("\x1b[2J") })), /of the type unknown$/],
    [armour(fileOf({ cipher: "3des-cbc", kdf: "bcrypt" })), /encryption by aes256-ctr/],
    [armour(fileOf({ cipher: "constructor", kdf: "bcrypt" })), /encryption by aes256-ctr/],
    [armour(fileOf({ kdf: "bcrypt" })), /encryption by aes256-ctr/],
    [armour(fileOf(bcrypt(0xffffffff))), /at most 1000 rounds/],
    [armour(fileOf(bcrypt(0))), /damaged/],
    [armour(fileOf(bcrypt(1))), /^passphrase$/],
    [armour(bytes.subarray(0, -1)), /damaged/],
    [`${HEAD}\n=AAA\n${TAIL}`, /damaged/],
    ["-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n", /type RSA$/],
    ["-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", /in another form$/],
    ["-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n", /in another form$/],
    [`ssh-ed25519 ${encodeBase64(sshBlobOf(ALICE.publicKey))} a`, /got a public one$/],
    ["hello", /got something else$/],
    ["", /got something else$/],
  ];
  for (const [text, flaw] of rows) assert.match(await flawOf(text), flaw, text);
});

Deno.test("no bytes make the reader of private keys do anything but read or refuse", async () => {
  const good = fileOf();
  const place = fc.integer({ min: 0, max: good.length - 1 });
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.tuple(place, fc.integer({ min: 0, max: 255 })).map(([at, value]) => good.with(at, value)),
    place.map((at) => good.subarray(0, at)),
  );
  await fc.assert(
    fc.asyncProperty(bytes, async (each) => {
      const flaw = await flawOf(armour(each));
      // A changed comment is all that goes unnoticed.
      if (flaw === "none") assert.equal(each.length, good.length);
    }),
    { numRuns: 300 },
  );
  await fc.assert(fc.asyncProperty(fc.string({ unit: "binary" }), async (each) => {
    assert.notEqual(await flawOf(each), "none");
  }));
});

testWith(
  ["ssh-keygen"],
  "each form that ssh-keygen writes is read, with the right passphrase only",
  async () => {
    await using folder = await Folder.create();
    const forms = ["", "aes256-ctr", "aes256-cbc", "aes256-gcm@openssh.com"];
    for (const [i, cipher] of forms.entries()) {
      const path = folder.file(`key${i}`);
      const passphrase = cipher === "" ? "" : "z\u00f6 words";
      const more = cipher === "" ? [] : ["-Z", cipher, "-a", "4"];
      await makeSshKey(path, { passphrase, more: ["-t", "ed25519", ...more] });
      const key = readSshPrivateKey(await Deno.readTextFile(path));
      const told = await runTool("ssh-keygen", ["-l", "-f", `${path}.pub`]);
      assert.ok(told.includes(` ${await sshFingerprint(key.publicKey)} `), told);
      assert.equal(key.isEncrypted, cipher !== "");
      assert.deepEqual(
        publicKeyOf("Ed25519", must(await key.open(passphrase))),
        key.publicKey,
        cipher,
      );
      if (cipher !== "") assert.equal(await key.open("wrong"), undefined, cipher);
    }
    for (const type of ["rsa", "ecdsa"]) {
      const path = folder.file(type);
      await makeSshKey(path, { more: ["-t", type] });
      assert.match(
        await flawOf(await Deno.readTextFile(path)),
        /^the key: expected an Ed25519 key, got one of the type (ssh-rsa|ecdsa-sha2-nistp256)$/,
      );
    }
  },
);
