/** Keys and files that the tests of `lib/config/` share. */

import assert from "node:assert/strict";
import { parseServerConfig } from "../../lib/config/server.ts";
import { concatBytes, encodeBase64 } from "../../lib/crypto/keys.ts";
import { publicKeyOf } from "../../lib/crypto/sync.ts";
import { OpenmeError } from "../../lib/values/errors.ts";
import { filled } from "../support/knocks.ts";

const serverPrivateKey = Uint8Array.from({ length: 32 }, (_, i) => (i * 37 + 251) & 0xff);
const clientSeed = Uint8Array.from({ length: 32 }, (_, i) => (i * 91 + 62) & 0xff);

export const SERVER_KEY = encodeBase64(serverPrivateKey);
export const SERVER_PUBLIC = encodeBase64(publicKeyOf("X25519", serverPrivateKey));
export const CLIENT_SEED = encodeBase64(clientSeed);
export const CLIENT_PUBLIC = encodeBase64(publicKeyOf("Ed25519", clientSeed));
/** Seed and public key in one: the deployed form. */
export const CLIENT_KEY = encodeBase64(
  concatBytes(clientSeed, publicKeyOf("Ed25519", clientSeed)),
);
export const NAME_EXPECTED =
  "a name of letters, digits, dots, hyphens and underscores that starts with a letter";
export const ALICE_PUBLIC = encodeBase64(publicKeyOf("Ed25519", filled(0xa1)));
export const BOB_PUBLIC = encodeBase64(publicKeyOf("Ed25519", filled(0xb0)));

/** The shortest server file there is, and more lines of its `server` section, which they must be indented for. */
export function serverFile(...lines: readonly string[]): string {
  return ["server:", `  private_key: ${SERVER_KEY}`, ...lines, ""].join("\n");
}

/** A server file with one client, alice, and more lines of her entry. */
export function aliceFile(...lines: readonly string[]): string {
  const entry = ["clients:", "  alice:", `    ed25519_pubkey: ${ALICE_PUBLIC}`];
  return serverFile(...entry, ...lines.map((line) => `    ${line}`));
}

/** A client file with one profile, home, and more lines of it. */
export function profileFile(...lines: readonly string[]): string {
  const profile = ["profiles:", "  home:", "    server_host: vpn.example.org"];
  const keys = [`    server_pubkey: ${SERVER_PUBLIC}`];
  return [...profile, ...keys, ...lines.map((line) => `    ${line}`), ""].join("\n");
}

/** The error of a run, which must be one that an operator can read. */
export async function configErrorOf(run: () => unknown): Promise<OpenmeError> {
  try {
    await run();
  } catch (thrown) {
    assert.ok(thrown instanceof OpenmeError, `expected an OpenmeError, got ${thrown}`);
    assert.equal(thrown.code, "CONFIG");
    return thrown;
  }
  assert.fail("expected an error, got a configuration");
}

/** A bad file, and the error that its operator reads. */
export interface Row {
  readonly why: string;
  readonly text: string;
  /** What follows the name of the file. */
  readonly message: string;
  readonly hint?: string;
}

/** One line in alice's entry, and what is wrong with it. */
export function inAlice(why: string, line: string, message: string, hint?: string): Row {
  const row = { why, text: aliceFile(line), message: `clients.alice.${message}` };
  return hint === undefined ? row : { ...row, hint };
}

/** One line in the server's section, and what is wrong with it. */
export function inServer(why: string, line: string, message: string, hint?: string): Row {
  const row = { why, text: serverFile(`  ${line}`), message: `server.${message}` };
  return hint === undefined ? row : { ...row, hint };
}

/** A whole file, and what is wrong with it. */
export function file(why: string, text: string, message: string, hint?: string): Row {
  return hint === undefined ? { why, text, message } : { why, text, message, hint };
}

/** One test for each row. */
export function testRefused(rows: readonly Row[]): void {
  for (const { why, text, message, hint } of rows) {
    Deno.test(`parseServerConfig() refuses ${why}`, async () => {
      const error = await configErrorOf(() => parseServerConfig(text, "/etc/openme/config.yaml"));
      assert.equal(error.message, `cannot load "/etc/openme/config.yaml": ${message}`);
      assert.equal(error.hint, hint);
    });
  }
}
