/**
 * Run by disk.test.ts with a small file system as its argument: fills it, goes on taking knocks, makes room, and prints
 * what was told, what memory held and what a restart found.
 */

import { grantOf, WINDOW_NS } from "../support/knocks.ts";
import { contentOf, copyOfState, knockRecord, open, take } from "./support.ts";

const dir = Deno.args[0]!;
const grants = [grantOf("alice")];
await Deno.mkdir(`${dir}/state`);
using opened = open(`${dir}/state`);
let n = 0;
const takeSome = (count: number) => {
  for (const end = n + count; n < end; n++) {
    take(opened, knockRecord(n, { opened: { grant: grants[0]!, renewed: n > 0 } }));
  }
};
takeSome(20);
await fill(`${dir}/filler`);
while (opened.events.length === 0 && n < 10_000) takeSome(1);
takeSome(100);
const full = opened.store.isSound();
opened.store.tend({ grants, replayWindowNs: WINDOW_NS }); // still full
takeSome(5);
await Deno.remove(`${dir}/filler`);
opened.store.tend({ grants, replayWindowNs: WINDOW_NS });
takeSome(5);
const afterwards = opened.store.isSound();
const before = contentOf(opened.replay);

// The copy stands elsewhere: there is not room for two here.
const elsewhere = await Deno.makeTempDir({ dir: "/dev/shm" }).catch(() => Deno.makeTempDir());
try {
  using again = open(await copyOfState(`${dir}/state`, `${elsewhere}/copy`));
  const after = { ...contentOf(again.replay), events: again.events };
  // deno-lint-ignore no-console
  console.log(
    JSON.stringify(
      { told: opened.told(), before, after, sound: { full, afterwards } },
      (_, v) => typeof v === "bigint" ? `${v}` : v,
    ),
  );
} finally {
  await Deno.remove(elsewhere, { recursive: true });
}

/** Writes until there is no room left. */
async function fill(path: string): Promise<void> {
  using file = await Deno.open(path, { write: true, create: true });
  try {
    for (;;) await file.write(new Uint8Array(512));
  } catch {
    // Full.
  }
}
