/** A server's files for the tests of backup and restore. */

import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { Encrypter } from "age-encryption";
import { Folder } from "../support/folder.ts";
import { OTHER_PUBLIC, serverYaml } from "../support/server_yaml.ts";
import { bareEnvironment, failure, openme, type Result } from "./program.ts";

export const PASSPHRASE = "five random words";
export const ENV = await bareEnvironment({ OPENME_PASSPHRASE: PASSPHRASE });

export const PERSON =
  `clients:\n  bob:\n    ed25519_pubkey: ${OTHER_PUBLIC}\n    allowed_ports: [ssh]\n`;

export const WROTE = "openme: wrote vps.age: without its passphrase it is worth nothing";

/** A server's files, one of clients.d among them. */
export async function server(): Promise<Folder> {
  const folder = await Folder.create();
  await Deno.mkdir(folder.file("etc/clients.d"), { recursive: true, mode: 0o700 });
  const lines = [`state_dir: ${folder.file("state")}`, "replay_window: 10s"];
  await folder.write("etc/config.yaml", serverYaml({ server: lines }));
  await folder.write("etc/clients.d/bob.yaml", PERSON, 0o644);
  await folder.write("etc/clients.d/.bob.yaml.swp", "no client", 0o644);
  return folder;
}

export function run(folder: Folder, ...args: string[]): Promise<Result> {
  return openme(["--config", "etc/config.yaml", ...args], { cwd: folder.path, env: ENV });
}

/** Encrypts without making it hard to try passphrases, which takes a second. */
export async function age(archive: Uint8Array): Promise<Uint8Array> {
  const encrypter = new Encrypter();
  encrypter.setPassphrase(PASSPHRASE);
  encrypter.setScryptWorkFactor(1);
  return await encrypter.encrypt(archive);
}

/** The floor in the server's state. */
export async function floorOf(folder: Folder): Promise<bigint> {
  assert.equal(await folder.mode("state"), 0o700);
  using database = new DatabaseSync(folder.file("state/state.db"), { readOnly: true });
  return BigInt(
    String(database.prepare("SELECT value FROM meta WHERE name = 'floor_ns'").get()!["value"]),
  );
}

export async function fails(
  folder: Folder,
  args: string[],
  error: string,
  hint?: string,
): Promise<void> {
  assert.deepEqual(await run(folder, ...args), failure(1, error, hint));
}
