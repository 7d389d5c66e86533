/** Imports point one way: the core knows no edge, and touches neither the system nor a clock of its own. */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";

const LIB = fileURLToPath(new URL("../lib/", import.meta.url));

/** The core, beside all of `config/`: values, the packet, the gate, grants. */
const CORE = [
  "../lib/values/address.ts",
  "../lib/values/moment.ts",
  "../lib/crypto/keys.ts",
  "../lib/crypto/sync.ts",
  "../lib/values/duration.ts",
  "../lib/values/errors.ts",
  "../lib/receive/fair_queue.ts",
  "../lib/gate.ts",
  "../lib/grants.ts",
  "../lib/receive/queue.ts",
  "../lib/receive/ephemeral_keys.ts",
  "../lib/values/name.ts",
  "../lib/values/network.ts",
  "../lib/values/openings.ts",
  "../lib/packet.ts",
  "../lib/values/ports.ts",
  "../lib/values/text.ts",
  "../lib/receive/recent_drops.ts",
  "../lib/receive/refusals.ts",
  "../lib/replay.ts",
  "../lib/receive/deferred.ts",
  "../lib/receive/candidates.ts",
  "../lib/values/token_bucket.ts",
].map((path) => path.replace("../lib/", ""));

/** Names and facts of firewalls, as data. */
const PLAN = "../lib/firewall/plan.ts".replace("../lib/", "");

/** It loads a backend only for an edge that asks for one. */
const TABLE = "../lib/firewall/catalog.ts".replace("../lib/", "");

async function coreFiles(): Promise<string[]> {
  const config = await Array.fromAsync(Deno.readDir(`${LIB}config`));
  return [...CORE, PLAN, ...config.map(({ name }) => `config/${name}`)];
}

/** The files of `lib/` that a file imports, types included; JSDoc's examples are not its own. */
function importsOf(file: string, text: string): string[] {
  const code = text.replaceAll(/^ ?\*.*$/gm, "");
  return [...code.matchAll(/(?:from|import\()\s*"(\.[^"]+)"/g)].map(([, path]) =>
    new URL(path!, `file:///${file}`).pathname.slice(1)
  );
}

Deno.test("the core imports nothing but the core", async () => {
  const core = await coreFiles();
  for (const file of core) {
    const imports = importsOf(file, await Deno.readTextFile(LIB + file));
    const outside = imports.filter((each) => !core.includes(each));
    assert.deepEqual(outside, [], file);
  }
});

Deno.test("the table of backends imports nothing but types until it makes one", async () => {
  const code = await Deno.readTextFile(LIB + TABLE);
  const imports = code.match(/^import\b.*$/gm) ?? [];
  assert.ok(imports.length > 0);
  assert.deepEqual(imports.filter((each) => !each.startsWith("import type {")), []);
  assert.deepEqual(code.match(/^(export .* from|await )/gm), null);
});

Deno.test("the core touches no system, no clock and no randomness", async () => {
  const touching = /\b(Deno\.|console\.|performance\.|Date\.now|setTimeout|Math\.random|getRandom)/;
  for (const file of [...await coreFiles(), TABLE]) {
    const code = (await Deno.readTextFile(LIB + file)).replaceAll(/\/\*[^]*?\*\/|\/\/[^\n]*/g, "");
    assert.equal(touching.exec(code)?.[0], undefined, file);
  }
});
