/** Sets over netlink: the bytes that nft sends for the same, what the kernel answers, and what it makes of them. */

import assert from "node:assert/strict";
import { parseAddress } from "../../../lib/values/address.ts";
import type { ClientOpenings } from "../../../lib/firewall/backend.ts";
import type { NetfilterSocket } from "../../../lib/firewall/host/netlink.ts";
import { changing, kernelSets, replacing } from "../../../lib/firewall/nft/kernel_sets.ts";
import { renderBatch } from "../../../lib/firewall/nft/set_batch.ts";
import { bytesToHex } from "../../../lib/crypto/keys.ts";
import { networkOf } from "../../../lib/values/network.ts";
import { ranges } from "../support.ts";

const open = (address: string, ports: string, timeoutMs: number): ClientOpenings => ({
  clients: [],
  address: networkOf(parseAddress(address)!),
  openings: ranges(ports).map((range) => ({ ...range, timeoutMs })),
});

const BEGIN = "1400000010000100070000000000000000 00000a";
const END = "1400000011000100 RR000000 00000000 0000000a";
const OPENME = "0b0001006f70656e6d650000";
const GRANTED4 = `01000000 ${OPENME} 0d0002006772616e7465643400000000`;

const hexOf = (...parts: string[]) => parts.join("").replaceAll(" ", "");

Deno.test("a set is written whole by the messages that nft sends, in one transaction", () => {
  const steps = replacing(["granted4", "granted6_ranges"], [
    open("198.51.100.7", "22/tcp", 30_000),
    open("2001:db8::7", "1000-1010/udp", 29_999),
    open("198.51.100.8", "1-2/tcp", 1), // of a set that does not change
  ]);
  const { batch, last } = renderBatch(steps, 7);
  assert.equal(last, 11);
  assert.equal(
    bytesToHex(batch),
    hexOf(
      BEGIN,
      `300000000e0a0100 08000000 00000000 ${GRANTED4}`,
      `580000000c0a0104 09000000 00000000 ${GRANTED4}`,
      "28000380 24000180 0c000400 0000000000007530 14000180 10000100 c6336407 06000000 00160000",
      `340000000e0a0100 0a000000 00000000 01000000 ${OPENME}`,
      "140002006772616e746564365f72616e67657300",
      `880000000c0a0504 0b000000 00000000 01000000 ${OPENME}`,
      "140002006772616e746564365f72616e67657300 54000380 50000180 0c000400 000000000000752f",
      "20000180 1c000100 20010db8000000000000000000000007 11000000 03e80000",
      "20000a80 1c000100 20010db8000000000000000000000007 11000000 03f20000",
      END.replace("RR", "0c"),
    ),
  );
});

Deno.test("without ranges only what changes is written: added, deleted and added, which renews, and never fails", () => {
  const [before, after] = [open("198.51.100.7", "22/tcp", 1), open("198.51.100.7", "80/tcp", 2)];
  const { batch, last } = renderBatch(changing({ before: [before], after: [after] })!, 7);
  const element = (timeout: string, port: string) =>
    `28000380 24000180 0c000400 ${timeout} 14000180 10000100 c6336407 06000000 ${port}0000`;
  const [was, is] = [element("0000000000000001", "0016"), element("0000000000000002", "0050")];
  assert.equal(
    bytesToHex(batch),
    hexOf(
      BEGIN,
      ...[["0c0a0104", was], ["0e0a0100", was], ["0c0a0104", is], ["0e0a0100", is]].map((
        [type, elements],
        i,
      ) =>
        `58000000${type} ${
          (8 + i).toString(16).padStart(2, "0")
        }000000 00000000 ${GRANTED4}${elements}`
      ),
      `580000000c0a0504 0c000000 00000000 ${GRANTED4}${is}`,
      END.replace("RR", "0d"),
    ),
  );
  assert.equal(last, 12);
  assert.equal(changing({ before: [open("198.51.100.7", "80-81/tcp", 1)], after: [] }), undefined);
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
