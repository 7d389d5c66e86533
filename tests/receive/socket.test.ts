/** The knock port's socket: gives every datagram with its source, and does not hide what fails. */

import assert from "node:assert/strict";
import { bytesToHex } from "../../lib/crypto/keys.ts";
import { runProgram } from "../../lib/system/run_program.ts";
import { bindKnockSocket, wildcards } from "../../lib/receive/socket.ts";
import { enlargeReceiveBuffer } from "../../lib/receive/receive_buffer.ts";
import { must } from "../support/knocks.ts";
import { ONE_USER } from "../support/one_user.ts";
import { waitFor, within } from "../support/wait.ts";

const LINUX = Deno.build.os === "linux";
/** To more than the system gives everyone: what only the machine's own root may. */
const MAY_ENLARGE = LINUX && Deno.uid() === 0 && !ONE_USER;
/** Opened for the buffer, until the process ends. */
const LIBC_STAYS = { sanitizeResources: false };
const titled = (title: string) => LINUX ? title : `${title} [skipped: needs Linux]`;
const random = (size: number) => crypto.getRandomValues(new Uint8Array(size));

/** A socket on a free port, closed at the end of its block. */
function listen(hostname: string): Deno.DatagramConn & Disposable {
  const socket = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
  return Object.assign(socket, { [Symbol.dispose]: () => socket.close() });
}

Deno.test(
  "bindKnockSocket() gives datagrams of every size with their sources, and frees the port",
  LIBC_STAYS,
  async () => {
    const port = freePort();
    const socket = bindKnockSocket(port, await wildcards(runProgram));
    const sizes = [0, 1, 44, 45, 101, 164, 165, 166, 511, 512, 513, 1400, 9000];
    const datagrams = sizes.map(random);
    const [taken, sent]: string[][] = [[], []];
    const stop = new AbortController();
    const listening = socket.listen((datagram, from) => {
      // A longer one is seen to be longer; its end is not.
      taken!.push(
        `${from} ${Math.min(datagram.length, 166)} ${bytesToHex(datagram.slice(0, 165))}`,
      );
    }, stop.signal);
    for (const [hostname, from] of [["127.0.0.1", "::ffff:127.0.0.1"], ["::1", "::1"]] as const) {
      using sender = listen(hostname);
      for (const each of datagrams) {
        await sender.send(each, { transport: "udp", hostname, port });
        sent!.push(`${from} ${Math.min(each.length, 166)} ${bytesToHex(each.slice(0, 165))}`);
      }
    }
    await waitFor("all of them", () => taken!.length >= sent!.length, { everyMs: 5 });
    assert.deepEqual(taken, sent);
    stop.abort();
    await listening;
    bindKnockSocket(port, await wildcards(runProgram)).close();
  },
);

Deno.test({
  ...LIBC_STAYS,
  name: titled("the kernel keeps thousands of knocks while this process does something else"),
  ignore: !MAY_ENLARGE,
  fn: async () => {
    const port = freePort();
    const socket = bindKnockSocket(port, await wildcards(runProgram));
    using sender = listen("127.0.0.1");
    for (let i = 0; i < 1500; i++) {
      await sender.send(random(165), { transport: "udp", hostname: "127.0.0.1", port });
    }
    let taken = 0;
    const stop = new AbortController();
    const listening = socket.listen(() => void taken++, stop.signal);
    await waitFor("all of them", () => taken === 1500, { everyMs: 5 });
    stop.abort();
    await listening;
  },
});

Deno.test(
  "what the taker of datagrams throws ends listening, and does not pass for a failing socket",
  LIBC_STAYS,
  async () => {
    for (const nth of [1, 40]) {
      const port = freePort();
      const socket = bindKnockSocket(port, await wildcards(runProgram));
      using sender = listen("127.0.0.1");
      const to: Deno.NetAddr = { transport: "udp", hostname: "127.0.0.1", port };
      for (let i = 0; i < 40; i++) await sender.send(random(165), to);
      let taken = 0;
      const take = () => {
        if (++taken === nth) throw new Error("as told");
      };
      const stop = new AbortController();
      const listening = socket.listen(take, stop.signal);
      try {
        await assert.rejects(within(listening, 5000, undefined), { message: "as told" });
      } finally {
        socket.close();
      }
    }
  },
);

Deno.test({
  ...LIBC_STAYS,
  name: titled(
    "enlargeReceiveBuffer() leaves a buffer alone that is larger than what it would ask for",
  ),
  ignore: !MAY_ENLARGE,
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
      enlargeReceiveBuffer(socket);
      const usual = size();
      const { level, rcvbufforce } = SOCKET;
      const large = Int32Array.of(16 * 1024 * 1024);
      if (libc.symbols.setsockopt(descriptor, level, rcvbufforce, large, 4) !== 0) return; // no such capability
      const before = size();
      assert.ok(before > usual);
      enlargeReceiveBuffer(socket);
      assert.equal(size(), before);
    } finally {
      libc.close();
    }
  },
});

Deno.test("bindKnockSocket() says that another program has the port", LIBC_STAYS, async () => {
  const port = freePort();
  const first = bindKnockSocket(port, await wildcards(runProgram));
  await assert.rejects(async () => bindKnockSocket(port, await wildcards(runProgram)), {
    message: `cannot listen on UDP port ${port}: another program has it`,
  });
  first.close();
});

function freePort(): number {
  using socket = listen("::");
  return (socket.addr as Deno.NetAddr).port;
}
