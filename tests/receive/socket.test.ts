/** The knock port's socket: what is read many at a time is what the runtime's own `receive` gives one by one. */

import assert from "node:assert/strict";
import { type Address, formatAddress } from "../../lib/values/address.ts";
import { bytesToHex } from "../../lib/crypto/keys.ts";
import { runProgram } from "../../lib/system/run_program.ts";
import { bindKnockSocket } from "../../lib/receive/socket.ts";
import { type BatchReader, batchReader } from "../../lib/receive/recvmmsg.ts";
import { must } from "../support/knocks.ts";
import { waitFor, within } from "../support/wait.ts";

const random = (size: number) => crypto.getRandomValues(new Uint8Array(size));
const LINUX = Deno.build.os === "linux";
const titled = (title: string) => LINUX ? title : `${title} [skipped: needs Linux]`;

interface Received {
  readonly size: number;
  readonly start: string;
  readonly source: string;
}

const received = (datagram: Uint8Array, source: string): Received => ({
  size: Math.min(datagram.length, 170),
  start: bytesToHex(datagram.subarray(0, 165)),
  source,
});

function readAll(reader: BatchReader, most = 10_000): Received[] {
  const all: Received[] = [];
  const take = (datagram: Uint8Array, source: Address) =>
    void all.push(received(datagram, formatAddress(source)));
  assert.equal(reader.read(take, most), all.length);
  return all;
}

/** A socket on a free port, closed at the end of its block. */
function listen(hostname: string): Deno.DatagramConn & Disposable {
  const socket = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
  return Object.assign(socket, { [Symbol.dispose]: () => socket.close() });
}

function readerOf(socket: Deno.DatagramConn): BatchReader & Disposable {
  const reader = must(batchReader(socket));
  return Object.assign(reader, { [Symbol.dispose]: () => reader.close() });
}

/** Sockets on one loopback address each, that send to `port` in turn. */
async function send(port: number, hostnames: readonly string[], datagrams: readonly Uint8Array[]) {
  for (const [i, datagram] of datagrams.entries()) {
    const hostname = hostnames[i % hostnames.length]!;
    using sender = listen(hostname);
    await sender.send(datagram, { transport: "udp", hostname, port });
  }
}

for (
  const [wildcard, hostnames] of [["::", ["127.0.0.1", "::1"]], ["0.0.0.0", ["127.0.0.1"]]] as const
) {
  Deno.test({
    name: titled(`batchReader() on ${wildcard} gives what receive() gives, of every size`),
    ignore: !LINUX,
    fn: async () => {
      using socket = listen(wildcard);
      using reader = readerOf(socket);
      const { port } = socket.addr as Deno.NetAddr;
      const sizes = [0, 1, 44, 45, 101, 164, 165, 166, 169, 170, 191, 192, 193, 1400, 9000];
      const datagrams = Array.from({ length: 150 }, (_, i) => random(sizes[i % sizes.length]!));
      await send(port, hostnames, datagrams);
      const batch = readAll(reader);
      assert.equal(reader.read(() => assert.fail("there is nothing left"), 64), 0);
      await send(port, hostnames, datagrams);
      const oneByOne: Received[] = [];
      for (const _ of datagrams) {
        const [datagram, from] = await socket.receive(new Uint8Array(512));
        const { hostname } = from as Deno.NetAddr;
        oneByOne.push(received(datagram, hostname.replace(/^::ffff:(?=\d+\.)/, "")));
      }
      assert.deepEqual(batch, oneByOne);
      assert.deepEqual(new Set(batch.map(({ source }) => source)), new Set(hostnames));
    },
  });
}

Deno.test({
  name: titled(
    "batchReader() takes no more than it is asked for, and goes on when memory was collected",
  ),
  ignore: !LINUX,
  fn: async () => {
    using socket = listen("127.0.0.1");
    using sender = listen("127.0.0.1");
    using reader = readerOf(socket);
    const to = socket.addr as Deno.NetAddr;
    for (let round = 0; round < 200; round++) {
      const datagrams = Array.from({ length: 100 }, () => random(165));
      for (const datagram of datagrams) await sender.send(datagram, to);
      // Garbage of every size, so that memory without an owner is collected and used again.
      for (let i = 0; i < 50; i++) new Uint8Array(1 << (i % 18)).fill(0xff);
      const [first, second, rest] = [readAll(reader, 1), readAll(reader, 65), readAll(reader)];
      assert.deepEqual([first.length, second.length, rest.length], [1, 65, 34]);
      assert.deepEqual(
        [...first, ...second, ...rest].map(({ start }) => start),
        datagrams.map(bytesToHex),
      );
    }
  },
});

Deno.test({
  name: titled("the kernel keeps thousands of knocks while this process does something else"),
  ignore: !LINUX,
  fn: async () => {
    const port = freePort();
    const socket = await bindKnockSocket(port, runProgram);
    assert.equal(socket.takesBatches, true);
    using sender = listen("127.0.0.1");
    // Without the right to go beyond the system's limit it is what an administrator has set.
    const isRoot = Deno.uid() === 0;
    const count = isRoot ? 1500 : 50;
    for (let i = 0; i < count; i++) {
      await sender.send(random(165), { transport: "udp", hostname: "127.0.0.1", port });
    }
    const stop = new AbortController();
    let [taken, drained] = [0, 0];
    const listening = socket.listen({
      take: () => void taken++,
      drained: () => void drained++,
    }, stop.signal);
    await waitFor("all of them", () => taken === count, { everyMs: 5 });
    assert.equal(drained, 0, "they did not come alone");
    // Until one has come while the reader was not at it.
    await waitFor("one to come alone", async () => {
      await sender.send(random(165), { transport: "udp", hostname: "127.0.0.1", port });
      return drained > 0;
    }, { everyMs: 20 });
    assert.ok(taken > count);
    stop.abort();
    await listening;
    // The port is free again.
    (await bindKnockSocket(port, runProgram)).close();
  },
});

Deno.test("what the taker of datagrams throws ends listening, and does not pass for a failing socket", async () => {
  for (const nth of [1, 40]) {
    const port = freePort();
    const socket = await bindKnockSocket(port, runProgram);
    using sender = listen("127.0.0.1");
    const to: Deno.NetAddr = { transport: "udp", hostname: "127.0.0.1", port };
    for (let i = 0; i < 40; i++) await sender.send(random(165), to);
    let taken = 0;
    const take = () => {
      if (++taken === nth) throw new Error("as told");
    };
    const stop = new AbortController();
    const listening = socket.listen({ take }, stop.signal);
    try {
      await assert.rejects(within(listening, 5000, undefined), { message: "as told" });
    } finally {
      socket.close();
    }
  }
});

Deno.test({
  name: titled("batchReader() leaves a buffer alone that is larger than what it would ask for"),
  ignore: !LINUX || Deno.uid() !== 0,
  fn: () => {
    const SOCKET = { level: 1, rcvbuf: 8, rcvbufforce: 33 };
    using socket = listen("127.0.0.1");
    const { port } = socket.addr as Deno.NetAddr;
    const libc = Deno.dlopen("libc.so.6", {
      getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
      getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
      setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
    });
    try {
      const name = new Uint8Array(28);
      const isOurs = (descriptor: number) =>
        libc.symbols.getsockname(descriptor, name, Uint32Array.of(28)) === 0 && name[0] === 2 &&
        new DataView(name.buffer).getUint16(2) === port;
      const descriptor = must(Array.from({ length: 1024 }, (_, i) => i).find(isOurs));
      const size = () => {
        const value = new Int32Array(1);
        const { level, rcvbuf } = SOCKET;
        libc.symbols.getsockopt(descriptor, level, rcvbuf, value, Uint32Array.of(4));
        return value[0]!;
      };
      batchReader(socket)!.close();
      const usual = size();
      const { level, rcvbufforce } = SOCKET;
      const large = Int32Array.of(16 * 1024 * 1024);
      if (libc.symbols.setsockopt(descriptor, level, rcvbufforce, large, 4) !== 0) return; // not root enough
      const before = size();
      assert.ok(before > usual);
      batchReader(socket)!.close();
      assert.equal(size(), before);
    } finally {
      libc.close();
    }
  },
});

Deno.test("bindKnockSocket() says that another program has the port", async () => {
  const port = freePort();
  const first = await bindKnockSocket(port, runProgram);
  await assert.rejects(bindKnockSocket(port, runProgram), {
    message: `cannot listen on UDP port ${port}: another program has it`,
  });
  first.close();
});

function freePort(): number {
  using socket = listen("::");
  return (socket.addr as Deno.NetAddr).port;
}
