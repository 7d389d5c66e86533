/** A disk that refuses at the start: the server begins from memory, says so, and no knock of before is good again. */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { OpenmeError } from "../../lib/values/errors.ts";
import { Folder } from "../support/folder.ts";
import { skip } from "../support/programs.ts";
import { NOW_NS, WINDOW_NS } from "../support/knocks.ts";
import { open } from "./support.ts";

const SCRIPT = fileURLToPath(new URL("./bad_disk.ts", import.meta.url));
const MOUNT =
  'mount -t tmpfs -o size=1m tmpfs "$1" || exit 77; exec "$2" run --quiet -A "$3" "$1" "$4"';

for (const fault of ["full", "read-only"] as const) {
  Deno.test(`a start while the disk is ${fault} is one from memory`, async (t) => {
    await using folder = await Folder.create();
    // In a mount namespace of the program's own.
    const { code, stdout, stderr } = await new Deno.Command("unshare", {
      args: ["-rm", "sh", "-c", MOUNT, "sh", folder.path, Deno.execPath(), SCRIPT, fault],
      stdout: "piped",
      stderr: "piped",
    }).output().catch(() => ({ code: 77, stdout: new Uint8Array(), stderr: new Uint8Array() }));
    const errors = new TextDecoder().decode(stderr);
    if (code === 77 || /^unshare: /.test(errors)) {
      return await skip(t, "needs unshare, and root or user namespaces");
    }
    assert.equal(code, 0, errors);
    const found = JSON.parse(new TextDecoder().decode(stdout));
    assert.equal(found.during.length, fault === "full" ? 2 : 1, JSON.stringify(found.during));
    const told = found.during.at(-1);
    assert.equal(told.level, "warn");
    assert.equal(told.event, "state_not_written");
    assert.match(
      told.error,
      fault === "full" ? /full|No space/ : /unable to open|readonly|Read-only/,
    );
    assert.equal(told.doing, "starting from memory, trying again until it works");
    const floorMs = Number((NOW_NS + 1_000_000_000n + WINDOW_NS) / 1_000_000n);
    assert.equal(told.refusing_knocks_until, new Date(floorMs).toISOString());
    assert.equal(found.seenDuring, "replay replay replay fresh");
    assert.equal(found.taken, "fresh");
    assert.equal(found.soundDuring, false);
    assert.equal(found.second, "another openme serve is running");
    assert.deepEqual(found.grants, ["alice"], "what could be read counts");
    assert.deepEqual(found.after, ["warn state_incomplete"]);
    assert.equal(found.seenAfter, "replay replay replay replay fresh");
    assert.equal(found.resumed, 1);
  });
}

Deno.test("a state directory that is the wrong one is an error, not a fault of the disk", async () => {
  await using folder = await Folder.create();
  await folder.write("file", "");
  assert.throws(
    () => open(folder.file("file")),
    (error) => error instanceof OpenmeError && /cannot open the state database/.test(error.message),
  );
});
