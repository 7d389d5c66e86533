/**
 * A flood, and good knocks beside it: `deno run -A flood.ts '{…}'` in the sender's namespace prints how much it sent.
 * It writes whole IP packets by way of libc's sendmmsg, so that their sources can be anybody's. Only ever to be
 * pointed at an address in a namespace that the caller made.
 */

/** What to send. Times in seconds, rates in datagrams a second. */
export interface Flood {
  /** IPv4 or IPv6. */
  readonly target: string;
  readonly port: number;
  /** Junk; 0 for none. */
  readonly rate: number;
  /** How many sources it claims to come from, from 10.64.0.0 on, or fd00:64::; 1 is one address. */
  readonly sources: number;
  /** Whether each of these is in an IPv6 network (/64) of its own, or all are in one. */
  readonly networks?: "one" | "each its own";
  readonly seconds: number;
  /** Good knocks, in hex: spread over the time, the first after a tenth of it. From `goodSource`. */
  readonly good: readonly string[];
  readonly goodSource: string;
  /** What the junk is: random bytes of the right size, or these bytes and then random ones, in hex. */
  readonly prefix?: string;
  /** The first bytes of its AEAD nonce, in hex. */
  readonly stamp?: string | undefined;
}

export interface Flooded {
  readonly junk: number;
  readonly good: number;
  readonly seconds: number;
}

const BATCH = 32;
const KNOCK_SIZE = 165;
const OFFSET_AEAD_NONCE = 33;
const UDP_SIZE = 8 + KNOCK_SIZE;
/** Different bodies; each goes out again and again from every source. */
const BODIES = 4096;

const SOCK_RAW = 3;
/** As the protocol of a raw socket: the packets bring their own header, in either family. */
const IPPROTO_RAW = 255;
const UDP = 17;

/** What differs between the families. */
interface Family {
  readonly number: number;
  readonly headerSize: number;
  /** Where in struct sockaddr the address is, and its size. */
  readonly socketAddress: readonly [offset: number, size: number];
  readonly parse: (text: string) => Uint8Array;
  readonly header: (source: Uint8Array, target: Uint8Array) => Uint8Array;
  readonly nth: (i: number, networks: "one" | "each its own") => Uint8Array;
}

const V4: Family = {
  number: 2,
  headerSize: 20,
  socketAddress: [4, 16],
  parse: (text) => Uint8Array.from(text.split("."), Number),
  // The kernel fills in the header's checksum.
  header: (source, target) =>
    Uint8Array.of(0x45, 0, 0, 20 + UDP_SIZE, 0, 0, 0, 0, 64, UDP, 0, 0, ...source, ...target),
  nth: (i) => Uint8Array.of(10, 64 + (i >> 16), (i >> 8) & 255, i & 255),
};

const V6: Family = {
  number: 10,
  headerSize: 40,
  socketAddress: [8, 28],
  parse: parseIPv6,
  header: (source, target) =>
    Uint8Array.of(0x60, 0, 0, 0, 0, UDP_SIZE, UDP, 64, ...source, ...target),
  nth: (i, networks) => {
    const address = parseIPv6("fd00:64::1");
    const place = networks === "one" ? 12 : 4; // inside of the last 64 bits, or before them
    new DataView(address.buffer).setUint32(place, i + 1);
    return address;
  },
};

function parseIPv6(text: string): Uint8Array<ArrayBuffer> {
  const [head = "", tail] = text.split("::");
  const groups = (part: string) =>
    part.split(":").filter(Boolean).map((each) => parseInt(each, 16));
  const [first, last] = [groups(head), groups(tail ?? "")];
  const address = new Uint8Array(16);
  const view = new DataView(address.buffer);
  for (const [i, group] of first.entries()) view.setUint16(2 * i, group);
  for (const [i, group] of last.entries()) view.setUint16(2 * (8 - last.length + i), group);
  return address;
}

function familyOf(address: string): Family {
  return address.includes(":") ? V6 : V4;
}

function sender(target: string) {
  const family = familyOf(target);
  const packetSize = family.headerSize + UDP_SIZE;
  const libc = Deno.dlopen("libc.so.6", {
    socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
    connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
    sendmmsg: { parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
    usleep: { parameters: ["u32"], result: "i32" },
  }).symbols;
  const socket = libc.socket(family.number, SOCK_RAW, IPPROTO_RAW);
  const [offset, size] = family.socketAddress;
  const address = new Uint8Array(size);
  new DataView(address.buffer).setUint16(0, family.number, true);
  address.set(family.parse(target), offset);
  if (socket < 0 || libc.connect(socket, address, size) < 0) throw new Error("no raw socket");
  const headers = new BigUint64Array(BATCH * 8); // struct mmsghdr: 64 bytes
  const vectors = new BigUint64Array(BATCH * 2); // struct iovec: 16 bytes
  const addressOf = (buffer: ArrayBufferView) =>
    Deno.UnsafePointer.value(Deno.UnsafePointer.of(buffer as Uint8Array<ArrayBuffer>));
  for (let i = 0; i < BATCH; i++) {
    headers[i * 8 + 2] = BigInt(addressOf(vectors)) + BigInt(i * 16);
    headers[i * 8 + 3] = 1n;
    vectors[i * 2 + 1] = BigInt(packetSize);
  }
  return {
    send: (packets: Uint8Array, indexes: readonly number[]) => {
      const base = BigInt(addressOf(packets));
      for (const [i, index] of indexes.entries()) {
        vectors[i * 2] = base + BigInt(index * packetSize);
      }
      return Math.max(0, libc.sendmmsg(socket, headers, indexes.length, 0));
    },
    pause: (us: number) => libc.usleep(us),
  };
}

/** An IP packet with a UDP datagram. */
function packetOf(
  family: Family,
  { source, target, port, body }: {
    source: Uint8Array;
    target: Uint8Array;
    port: number;
    body: Uint8Array;
  },
): Uint8Array {
  const { headerSize } = family;
  const packet = new Uint8Array(headerSize + UDP_SIZE);
  const udp = new DataView(packet.buffer, headerSize);
  packet.set(family.header(source, target));
  udp.setUint16(0, 40_000);
  udp.setUint16(2, port);
  udp.setUint16(4, UDP_SIZE);
  packet.set(body, headerSize + 8);
  // Over IPv4 it may be left out; over IPv6 not (RFC 8200 section 8.1).
  if (family === V6) udp.setUint16(6, udpChecksum(packet));
  return packet;
}

/** Over the addresses, the length, the protocol and all of the datagram; 0 is written as its complement. */
function udpChecksum(packet: Uint8Array): number {
  let sum = UDP_SIZE + UDP;
  for (let i = 8; i < packet.length; i += 2) sum += (packet[i]! << 8) | (packet[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return (~sum & 0xffff) || 0xffff;
}

function run(
  {
    target,
    port,
    rate,
    sources,
    networks = "one",
    seconds,
    good,
    goodSource,
    prefix = "01",
    stamp = "",
  }: Flood,
): Flooded {
  const { send, pause } = sender(target);
  const family = familyOf(target);
  const count = Math.max(sources, BODIES);
  const size = family.headerSize + UDP_SIZE;
  const to = family.parse(target);
  const junk = new Uint8Array(count * size);
  const head = bytesOf(prefix);
  for (let i = 0; i < count; i++) {
    const body = crypto.getRandomValues(new Uint8Array(KNOCK_SIZE));
    body.set(head);
    body.set(bytesOf(stamp), OFFSET_AEAD_NONCE);
    const source = family.nth(i % sources, networks);
    junk.set(packetOf(family, { source, target: to, port, body }), i * size);
  }
  const knocks = new Uint8Array(Math.max(1, good.length) * size);
  for (const [i, hex] of good.entries()) {
    const source = family.parse(goodSource);
    const packet = packetOf(family, { source, target: to, port, body: bytesOf(hex) });
    knocks.set(packet, i * size);
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
