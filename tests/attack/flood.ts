/**
 * A flood, and good knocks beside it: `deno run -A flood.ts '{…}'` in the sender's namespace prints how much it sent.
 * It writes whole IPv4 packets by way of libc's sendmmsg, so that their sources can be anybody's. Only ever to be
 * pointed at an address in a namespace that the caller made.
 */

/** What to send. Times in seconds, rates in datagrams a second. */
export interface Flood {
  readonly target: string;
  readonly port: number;
  /** Junk; 0 for none. */
  readonly rate: number;
  /** How many sources it claims to come from, from 10.64.0.0 on; 1 is one address. */
  readonly sources: number;
  readonly seconds: number;
  /** Good knocks, in hex: spread over the time, the first after a tenth of it. From `goodSource`. */
  readonly good: readonly string[];
  readonly goodSource: string;
  /** What the junk is: random bytes of the right size, or these bytes and then random ones. */
  readonly prefix?: string;
}

export interface Flooded {
  readonly junk: number;
  readonly good: number;
  readonly seconds: number;
}

const BATCH = 32;
const KNOCK_SIZE = 165;
const PACKET_SIZE = 20 + 8 + KNOCK_SIZE;
/** Different bodies; each goes out again and again from every source. */
const BODIES = 4096;

const AF_INET = 2;
const SOCK_RAW = 3;
const IPPROTO_RAW = 255;

function sender(target: string) {
  const libc = Deno.dlopen("libc.so.6", {
    socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
    connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
    sendmmsg: { parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
    usleep: { parameters: ["u32"], result: "i32" },
  }).symbols;
  const socket = libc.socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
  const address = new Uint8Array(16);
  new DataView(address.buffer).setUint16(0, AF_INET, true);
  address.set(target.split(".").map(Number), 4);
  if (socket < 0 || libc.connect(socket, address, 16) < 0) throw new Error("no raw socket");
  const headers = new BigUint64Array(BATCH * 8); // struct mmsghdr: 64 bytes
  const vectors = new BigUint64Array(BATCH * 2); // struct iovec: 16 bytes
  const addressOf = (buffer: ArrayBufferView) =>
    Deno.UnsafePointer.value(Deno.UnsafePointer.of(buffer as Uint8Array<ArrayBuffer>));
  for (let i = 0; i < BATCH; i++) {
    headers[i * 8 + 2] = BigInt(addressOf(vectors)) + BigInt(i * 16);
    headers[i * 8 + 3] = 1n;
    vectors[i * 2 + 1] = BigInt(PACKET_SIZE);
  }
  return {
    send: (packets: Uint8Array, indexes: readonly number[]) => {
      const base = BigInt(addressOf(packets));
      for (const [i, index] of indexes.entries()) {
        vectors[i * 2] = base + BigInt(index * PACKET_SIZE);
      }
      return Math.max(0, libc.sendmmsg(socket, headers, indexes.length, 0));
    },
    pause: (us: number) => libc.usleep(us),
  };
}

/** An IPv4 packet with a UDP datagram; the kernel fills in the header's checksum, UDP may go without. */
function writePacket(
  into: Uint8Array,
  { source, target, port, body }: {
    source: readonly number[];
    target: string;
    port: number;
    body: Uint8Array;
  },
): void {
  const view = new DataView(into.buffer, into.byteOffset);
  into.set([0x45, 0, 0, PACKET_SIZE, 0, 0, 0, 0, 64, 17, 0, 0, ...source], 0);
  into.set(target.split(".").map(Number), 16);
  view.setUint16(20, 40_000);
  view.setUint16(22, port);
  view.setUint16(24, 8 + KNOCK_SIZE);
  into.set(body, 28);
}

function run(
  { target, port, rate, sources, seconds, good, goodSource, prefix = "01" }: Flood,
): Flooded {
  const { send, pause } = sender(target);
  const count = Math.max(sources, BODIES);
  const junk = new Uint8Array(count * PACKET_SIZE);
  const head = bytesOf(prefix);
  for (let i = 0; i < count; i++) {
    const body = crypto.getRandomValues(new Uint8Array(KNOCK_SIZE));
    body.set(head);
    const host = i % sources;
    const source = [10, 64 + (host >> 16), (host >> 8) & 255, host & 255];
    writePacket(junk.subarray(i * PACKET_SIZE), { source, target, port, body });
  }
  const knocks = new Uint8Array(Math.max(1, good.length) * PACKET_SIZE);
  for (const [i, hex] of good.entries()) {
    const source = goodSource.split(".").map(Number);
    writePacket(knocks.subarray(i * PACKET_SIZE), { source, target, port, body: bytesOf(hex) });
  }
  const start = performance.now();
  let [sent, skipped, sentGood, next] = [0, 0, 0, 0];
  for (;;) {
    const elapsed = (performance.now() - start) / 1000;
    if (elapsed >= seconds) {
      while (sentGood < good.length) send(knocks, [sentGood++]); // on a machine that was slow
      return { junk: sent, good: sentGood, seconds: elapsed };
    }
    const dueGood = Math.floor(good.length * (elapsed / seconds - 0.1) / 0.8);
    while (sentGood < Math.min(good.length, dueGood)) send(knocks, [sentGood++]);
    // What could not be sent in time is not made up for: that would be a burst, not a rate.
    const late = Math.floor(elapsed * rate) - sent - skipped;
    const due = Math.min(late, Math.ceil(rate / 20));
    skipped += late - due;
    if (due <= 0) pause(rate > 0 ? 100 : 1000);
    else {
      const size = Math.min(BATCH, due);
      const gone = send(junk, Array.from({ length: size }, (_, i) => (next + i) % count));
      next = (next + gone) % count;
      sent += gone;
    }
  }
}

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

if (import.meta.main) {
  const flood = JSON.parse(await Deno.readTextFile(Deno.args[0]!)) as Flood;
  // deno-lint-ignore no-console
  console.log(JSON.stringify(run(flood)));
}
