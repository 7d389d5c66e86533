import assert from "node:assert/strict";
import { MOST_ENTRY_CHARACTERS } from "../../lib/fleet/engine.ts";
import {
  type Entry,
  entryHost,
  joinParts,
  MOST_HINTS,
  MOST_PARTS,
  openEntry,
  partsOf,
  sealEntry,
} from "../../lib/fleet/entry.ts";
import { fleetSeal } from "../../lib/fleet/keys.ts";
import { address, filled } from "../support/knocks.ts";

const SEAL = fleetSeal({ privateKey: filled(1), previousPrivateKey: undefined }, "vps");
const HEAD = { host: "h".repeat(64), claimant: "0123456789abcdef", atMs: 1_790_000_000_000 };
const ID = "0123456789abcdef";

Deno.test("the longest entry of each kind fits into the stream, and is read as it was written", () => {
  const [longest] = partsOf("x".repeat(20_000));
  const entries: Entry[] = [
    {
      ...HEAD,
      knock: filled(255, 165),
      source: address(`2001:db8:${"ffff:".repeat(5)}ffff`),
      key: "f0".repeat(32),
      waitedMs: 60_000,
    },
    {
      ...HEAD,
      alive: {
        version: "100.100.100-rc.100",
        clients: 100_000,
        hints: Array.from({ length: MOST_HINTS }, () => 0xffff_ffff),
        lagMs: 123456.789012345,
      },
    },
    { ...HEAD, answer: longest!, id: ID, part: MOST_PARTS - 1, parts: MOST_PARTS },
    {
      ...HEAD,
      id: ID,
      ask: {
        command: "close",
        client: "c".repeat(64),
        keys: ["f".repeat(64), "f".repeat(64)],
        kill: true,
        revoked: true,
      },
    },
  ];
  for (const entry of entries) {
    const sealed = sealEntry(entry, SEAL);
    assert.ok(sealed.length <= MOST_ENTRY_CHARACTERS, `${Object.keys(entry)}: ${sealed.length}`);
    assert.deepEqual(openEntry(sealed, SEAL), entry);
  }
});

Deno.test("an answer comes back from its parts; of one that is too long only that it is", () => {
  for (const value of [null, { a: [1, "ä\u0000"] }, "x".repeat(25_000)]) {
    assert.deepEqual(joinParts(partsOf({ value })), { value });
  }
  assert.deepEqual(joinParts(partsOf("x".repeat(40_000))), { error: "its answer is too long" });
});

Deno.test("a host's name loses what has no place in a name", () => {
  assert.equal(entryHost("vps-1.example.org"), "vps-1.example.org");
  assert.equal(entryHost("a b\n\u001b[31m/ü"), "ab31m");
  assert.equal(entryHost("ü"), "host");
  assert.equal(entryHost("x".repeat(300)).length, 64);
});
