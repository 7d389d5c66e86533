/** One `serve` to a state directory. */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { OpenmeError } from "../../lib/values/errors.ts";
import { takeLock } from "../../lib/state/lock.ts";
import { Folder } from "../support/folder.ts";
import { Program } from "../support/spawned.ts";

/** Asserts that another process has the lock, and that the error says so. */
function assertTaken(dir: string): void {
  assert.throws(() => takeLock(dir), (error) => {
    assert.ok(error instanceof OpenmeError);
    assert.equal(error.code, "STATE");
    assert.equal(
      error.message,
      `another openme serve is running with the state directory "${dir}"`,
    );
    assert.equal(error.hint, "stop that one first; it keeps running, and its guard stays in place");
    return true;
  });
}

Deno.test("takeLock() is for one, until it is released", async () => {
  await using folder = await Folder.create();
  const lock = takeLock(folder.path);
  assertTaken(folder.path);
  assertTaken(folder.path); // failing takes nothing away from the owner
  lock.release();
  const again = takeLock(folder.path);
  assertTaken(folder.path);
  again.release();
});

Deno.test("takeLock() locks one folder, not another", async () => {
  await using one = await Folder.create();
  await using other = await Folder.create();
  const locks = [takeLock(one.path), takeLock(other.path)];
  for (const lock of locks) lock.release();
});

Deno.test("takeLock() is free again when its process is killed", async () => {
  await using folder = await Folder.create();
  const module = new URL("../../lib/state/lock.ts", import.meta.url);
  const script = `
    const { takeLock } = await import(${JSON.stringify(module.href)});
    globalThis.lock = takeLock(${JSON.stringify(folder.path)});
    console.log("locked");
    setInterval(() => {}, 1000);`;
  const config = fileURLToPath(new URL("../../deno.json", import.meta.url));
  await using holder = new Program(Deno.execPath(), {
    args: ["eval", "--quiet", "--config", config, script],
  });
  await holder.stdout.waitFor(/^locked$/, 10_000);
  assertTaken(folder.path);
  await holder.kill("SIGKILL");
  takeLock(folder.path).release();
});

Deno.test("takeLock() says why it cannot lock", async () => {
  await using folder = await Folder.create();
  await folder.write("lock", "not a lock ".repeat(100));
  assert.throws(() => takeLock(folder.path), (error) => {
    assert.ok(error instanceof OpenmeError);
    assert.equal(error.message, `cannot lock "${folder.file("lock")}": file is not a database`);
    assert.equal(error.hint, "the file holds nothing: remove it if it is damaged");
    return true;
  });
  assert.throws(() => takeLock(folder.file("missing")), (error) => {
    assert.ok(error instanceof OpenmeError);
    assert.match(error.message, /^cannot lock ".*missing\/lock": unable to open database file/);
    return true;
  });
});
