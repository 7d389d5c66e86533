/**
 * Run by gate_attack.test.ts with a seed: what a server remembers after a million junk datagrams. Half of them are
 * without a tag; a quarter bears one, as of somebody who has a profile, each a new one; and a quarter are the front of a
 * watched knock with junk behind it. Prints it as JSON. Needs `--v8-flags=--expose-gc`.
 */

import { DatabaseSync } from "node:sqlite";
import type { Bytes } from "../../lib/crypto/keys.ts";
import { address, must, ownNonce, SOURCE, START_MS } from "../support/knocks.ts";
import { good, goodIn, UNIT_WORLD } from "./hostile.ts";
import { Random } from "./random.ts";
import { SimulatedServer } from "../receive/simulated_server.ts";

const PER_ROUND = 125_000;
/** Junk a ms. */
const RATE = 200;

const random = new Random(Number(Deno.args[0]));
using server = await SimulatedServer.create(3);
const front = (await good(random)).subarray(0, 45);
const sources = Array.from({ length: 10_000 }, (_, i) => address(`10.0.${i >> 8}.${i & 255}`));
let [sent, startMs] = [0, 0];

function junk(i: number): Uint8Array {
  const datagram = crypto.getRandomValues(new Uint8Array(165));
  datagram[0] = 1;
  if (i % 4 === 1) datagram.set(ownNonce(datagram.subarray(1, 33)), 33);
  if (i % 4 === 3) datagram.set(front);
  return datagram;
}

function flood(): void {
  server.run(Array.from({ length: PER_ROUND }, (_, i) => ({
    atMs: startMs + i / RATE,
    datagram: junk(i),
    source: sources[(sent + i) % sources.length]!,
  })));
  sent += PER_ROUND;
  startMs += PER_ROUND / RATE + 2000;
}

/** What is kept, in MB. The bytes of arrays are given back a while after their collection. */
async function keptMb(): Promise<number> {
  let least = Infinity;
  for (let i = 0; i < 10; i++) {
    (globalThis as unknown as { gc: () => void }).gc();
    await new Promise((resolve) => setTimeout(resolve, 50));
    const { external, heapUsed } = Deno.memoryUsage();
    least = Math.min(least, (external + heapUsed) / 2 ** 20);
  }
  return least;
}

/** Rows about knocks in the server's database. */
function rowsOnDisk(): number {
  using database = new DatabaseSync(server.database, { readOnly: true });
  const tables = ["nonces", "watermarks", "grants", "history", "last_seen"];
  return tables.map((table) => database.prepare(`SELECT count(*) AS n FROM ${table}`).get())
    .reduce((sum, row) => sum + Number(must(row)["n"]), 0);
}

const remembered = () => [...server.replay.entries(), ...server.replay.watermarks()].length;

// Everything that has a bound is at it after this.
for (let i = 0; i < 2; i++) flood();
const beforeMb = await keptMb();
sent = 0;
for (let i = 0; i < 8; i++) flood();
const found = {
  sent,
  grownMb: await keptMb() - beforeMb,
  remembered: remembered(),
  granted: server.grants.size,
  onDisk: rowsOnDisk(),
};
const datagram = await goodIn(random, {
  ...UNIT_WORLD,
  alice: must(server.clients[0]).privateKey as Bytes,
  nowNs: BigInt(START_MS + startMs) * 1_000_000n,
});
server.run([{ atMs: startMs, datagram, source: SOURCE }]);
const after = { remembered: remembered(), granted: server.grants.size };
// deno-lint-ignore no-console
console.log(JSON.stringify({ ...found, after }));
