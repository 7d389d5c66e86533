/** Sets over netlink: the bytes that nft sends for the same, what the kernel answers, and what it makes of them. */

import assert from "node:assert/strict";
import { parseAddress } from "../../../lib/values/address.ts";
import type { ClientOpenings } from "../../../lib/firewall/backend.ts";
import type { NetfilterSocket } from "../../../lib/firewall/host/netlink.ts";
import { contentsOf, kernelSets, renderBatch } from "../../../lib/firewall/nft/kernel_sets.ts";
import { bytesToHex } from "../../../lib/crypto/keys.ts";
import { networkOf } from "../../../lib/values/network.ts";
import { ranges } from "../support.ts";

const open = (address: string, ports: string, timeoutMs: number): ClientOpenings => ({
  clients: [],
  address: networkOf(parseAddress(address)!),
  openings: ranges(ports).map((range) => ({ ...range, timeoutMs })),
});

const BEGIN = "1400000010000100070000000000000000 00000a";
const FLUSH = "300000000e0a0100080000000000000001000000 " +
  "0b0001006f70656e6d650000 0d0002006772616e7465643400000000";

Deno.test("renderBatch() makes the messages that nft makes, in one transaction", () => {
  const contents = contentsOf(["granted4", "granted6_ranges"], [
    open("198.51.100.7", "22/tcp", 30_000),
    open("2001:db8::7", "1000-1010/udp", 29_999),
    open("198.51.100.8", "1-2/tcp", 1), // of a set that does not change
  ]);
  const { batch, last } = renderBatch(contents, 7);
  assert.equal(last, 11);
  assert.equal(
    bytesToHex(batch),
    [
      BEGIN,
      FLUSH,
      "580000000c0a0104090000000000000001000000 0b0001006f70656e6d650000",
      "0d0002006772616e7465643400000000",
      "28000380 24000180 0c000400 0000000000007530 14000180 10000100 c6336407 06000000 00160000",
      "340000000e0a01000a0000000000000001000000 0b0001006f70656e6d650000",
      "140002006772616e746564365f72616e67657300",
      "880000000c0a05040b0000000000000001000000 0b0001006f70656e6d650000",
      "140002006772616e746564365f72616e67657300 54000380 50000180 0c000400 000000000000752f",
      "20000180 1c000100 20010db8000000000000000000000007 11000000 03e80000",
      "20000a80 1c000100 20010db8000000000000000000000007 11000000 03f20000",
      "1400000011000100 0c000000 00000000 0000000a",
    ].join("").replaceAll(" ", ""),
  );
});

/** A kernel that answers each batch with these errors, by the number of the message. */
function kernel(answers: (batch: Uint8Array) => readonly (readonly [number, number])[]) {
  const batches: Uint8Array[] = [];
  let waiting: Uint8Array[] = [];
  const socket: NetfilterSocket = {
    send: () => false,
    sendAside: async (batch) => {
      await Promise.resolve();
      batches.push(batch);
      waiting = answers(batch).map(([sequence, error]) => {
        const answer = new Uint8Array(36);
        const view = new DataView(answer.buffer);
        view.setUint32(0, answer.length, true);
        view.setUint16(4, 2, true);
        view.setUint32(8, sequence, true);
        view.setInt32(16, -error, true);
        return answer;
      });
      return true;
    },
    receive: () => waiting.shift(),
  };
  const { replaceOpenings } = kernelSets(socket);
  const replace = (openings: ClientOpenings[] = []) => replaceOpenings(["granted4"], openings);
  return { replace, batches };
}

Deno.test("a change of sets has taken place where the kernel says so, and not otherwise", async () => {
  const first = (batch: Uint8Array) => new DataView(batch.buffer).getUint32(8, true);
  const done = kernel((batch) => [[first(batch) + 1, 0]]);
  assert.equal(await done.replace(), true);
  assert.equal(await done.replace(), true);
  const cases = [
    { answers: [], why: /error unknown/ },
    { answers: [[1, 0]], why: /error unknown/ }, // another message's
    { answers: [[99, 0]], why: /error unknown/ }, // another batch's
    { answers: [[2, 2]], why: /refused a change of sets: No such file or directory/ },
    { answers: [[1, 16], [2, 0]], why: /error 16/ }, // the transaction as a whole
    { answers: [[2, 0], [1, 16]], why: /error 16/ },
  ] as const;
  for (const { answers, why } of cases) {
    await assert.rejects(kernel(() => answers).replace(), {
      code: "FIREWALL",
      message: why,
    });
  }
});

Deno.test("nft does what netlink does not: without the right, beside another change, in great numbers", async () => {
  assert.equal(await kernel(() => [[1, 1]]).replace(), false);
  const { replace, batches } = kernel((batch) => [[batch[8]! + 1, 0]]);
  assert.deepEqual(await Promise.all([replace(), replace()]), [true, false]);
  assert.equal(await replace(), true);
  assert.equal(batches.length, 2);
  assert.equal(await replace(Array(1000).fill(open("198.51.100.7", "22/tcp", 1000))), false);
  assert.equal(batches.length, 2);
});
