/**
 * Run by bad_disk.test.ts with a small file system of its own as its argument: a process that is killed while the disk
 * refuses, and one that starts while it still does, and one after. Prints what each was told and what it thinks of the
 * knocks of those before it.
 */

import { takeLock } from "../../lib/state/lock.ts";
import { grantOf, NOW_NS, WINDOW_NS } from "../support/knocks.ts";
import { StillClock } from "../support/still_clock.ts";
import { knockRecord, knockTimeNs, open, take } from "./support.ts";

const [dir, fault] = Deno.args as [string, "full" | "read-only"];
const state = `${dir}/state`;
const SECOND_NS = 1_000_000_000n;
const grant = grantOf("alice");
const FILES = ["state.db", "state.db-wal", "state.db-shm"];

async function mount(options: string): Promise<void> {
  // With both names, or mount adds what it reads of the mount, which a user namespace may refuse.
  const args = ["-o", options, "tmpfs", dir];
  const { success } = await new Deno.Command("mount", { args }).output();
  if (!success) throw new Error(`cannot mount -o ${options}`);
}

async function begin(): Promise<void> {
  if (fault === "read-only") return await mount("remount,ro");
  try {
    using file = await Deno.open(`${dir}/filler`, { write: true, create: true });
    for (;;) await file.write(new Uint8Array(512));
  } catch {
    // Full.
  }
}

async function end(): Promise<void> {
  if (fault === "read-only") await mount("remount,rw");
  else await Deno.remove(`${dir}/filler`);
}

await Deno.mkdir(state);
// What a killed process leaves: its files, open in no process.
const killed = open(state);
for (let n = 0; n < 20; n++) {
  take(killed, knockRecord(n, { opened: { grant, renewed: n > 0 } }));
}
if (fault === "full") {
  await begin();
  for (; killed.store.isSound();) take(killed, knockRecord(Math.random() * 2 ** 31 >>> 8));
  take(killed, knockRecord(100));
} else {
  for (const name of FILES) {
    await Deno.copyFile(`${state}/${name}`, `${state}/${name}.then`);
  }
  killed.store.close();
  for (const name of FILES) {
    await Deno.rename(`${state}/${name}.then`, `${state}/${name}`);
  }
  await begin();
}

/** What a memory says of a knock that was taken before, or is new. */
function verdicts({ replay, clock }: ReturnType<typeof open>, knocks: number[], fresh: bigint) {
  const ask = (n: number, timestampNs: bigint) => {
    const { key, randomNonce } = knockRecord(n);
    const window = { nowNs: clock.wallNs, replayWindowNs: WINDOW_NS };
    return replay.checkAndRemember(key, randomNonce, timestampNs, window);
  };
  return [...knocks.map((n) => ask(n, knockTimeNs(n))), ask(999, fresh)].join(" ");
}

const lock = takeLock(state);
const during = open(state, { clock: new StillClock(NOW_NS + SECOND_NS) });
let second = "not locked";
try {
  takeLock(state).release();
} catch (error) {
  second = String((error as Error).message).replace(/ with .*/, "");
}
const floorNs = NOW_NS + SECOND_NS + WINDOW_NS;
during.clock.wallNs += WINDOW_NS;
const seenDuring = verdicts(during, [0, 19, 100], floorNs + 1n);
const taken = take(during, knockRecord(200, { timestampNs: floorNs + 2n }));
during.store.tend({ grants: [grant], replayWindowNs: WINDOW_NS }); // still no good
const soundDuring = during.store.isSound();
lock.release();

// Killed now, and the disk works again.
await end();
const after = open(state, { clock: new StillClock(NOW_NS + 2n * SECOND_NS + WINDOW_NS) });
const seenAfter = verdicts(after, [0, 19, 100, 200], floorNs + WINDOW_NS + SECOND_NS + 1n);
const resumed = after.stored.grants.length;
after.store.close();

// deno-lint-ignore no-console
console.log(JSON.stringify({
  during: during.events.map(({ level, event, fields }) => ({ level, event, ...fields })),
  grants: during.stored.grants.map(({ client }) => client),
  second,
  seenDuring,
  taken,
  soundDuring,
  after: after.told(),
  seenAfter,
  resumed,
}));
