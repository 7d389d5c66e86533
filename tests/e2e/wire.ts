/**
 * Watches every interface of the namespace it runs in for UDP datagrams to and from one port: a packet socket
 * (packet(7)) through libc, which sees what the network card sees, before any firewall rule on the way in and after
 * them on the way out. It is not tcpdump because that insists on giving up root, which a user namespace refuses.
 *
 * Prints `ready`, then a line for each datagram; when its standard input ends, `end` with the number of packets that
 * the kernel could not deliver to it.
 */

const AF_PACKET = 17;
const SOCK_DGRAM = 2; // without the link-level header
const ETH_P_ALL = 0x0003;
const SOL_PACKET = 263;
const PACKET_STATISTICS = 6;
const SOL_SOCKET = 1;
const SO_ATTACH_FILTER = 26;
const SO_RCVBUFFORCE = 33;
const PACKET_TYPE = 10; // in struct sockaddr_ll
const PACKET_OUTGOING = 4;
const UDP = 17;
const IPV6_HEADER_SIZE = 40;
const IPV6_NEXT_HEADER = 6;
const IPV4_PROTOCOL = 9;

/** A datagram of one's own to this port (discard, RFC 863) on the loopback marks the end of all that came before. */
const MARKER_PORT = 9;

const libc = Deno.dlopen("libc.so.6", {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  recvfrom: {
    parameters: ["i32", "buffer", "usize", "i32", "buffer", "buffer"],
    result: "isize",
    nonblocking: true,
  },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
});

/** Source and destination port of an IP packet that carries UDP and is no later fragment. */
function udpPorts(packet: DataView): [source: number, destination: number] | undefined {
  if (packet.byteLength < 20) return undefined;
  const version = packet.getUint8(0) >> 4;
  const protocol = packet.getUint8(version === 4 ? IPV4_PROTOCOL : IPV6_NEXT_HEADER);
  const headerSize = version === 4 ? (packet.getUint8(0) & 0x0f) * 4 : IPV6_HEADER_SIZE;
  if (protocol !== UDP || packet.byteLength < headerSize + 8) return undefined;
  if (version === 4 && (packet.getUint16(6) & 0x1fff) !== 0) return undefined;
  return [packet.getUint16(headerSize), packet.getUint16(headerSize + 2)];
}

/**
 * Only UDP reaches the socket (a BPF program, socket(7)): a test that carries megabytes over TCP would fill its buffer.
 * The packet begins with the IP header: its version, then the protocol where that version has it.
 */
function takeOnlyUdp(socket: number): void {
  const program: [code: number, whenTrue: number, whenFalse: number, value: number][] = [
    [0x30, 0, 0, 0], // load the byte at 0
    [0x54, 0, 0, 0xf0], // the version's bits
    [0x15, 0, 2, 0x40], // IPv4?
    [0x30, 0, 0, IPV4_PROTOCOL],
    [0x05, 0, 0, 1], // go on two below
    [0x30, 0, 0, IPV6_NEXT_HEADER],
    [0x15, 0, 1, UDP],
    [0x06, 0, 0, 0x40000], // take it
    [0x06, 0, 0, 0], // leave it
  ];
  const filter = new DataView(new ArrayBuffer(8 * program.length));
  for (const [i, [code, whenTrue, whenFalse, value]] of program.entries()) {
    filter.setUint16(8 * i, code, true);
    filter.setUint8(8 * i + 2, whenTrue);
    filter.setUint8(8 * i + 3, whenFalse);
    filter.setUint32(8 * i + 4, value, true);
  }
  const bytes = new Uint8Array(filter.buffer);
  const header = new DataView(new ArrayBuffer(16)); // struct sock_fprog
  header.setUint16(0, program.length, true);
  header.setBigUint64(8, Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes)), true);
  const set = (option: number, value: Uint8Array<ArrayBuffer>) =>
    libc.symbols.setsockopt(socket, SOL_SOCKET, option, value, value.length);
  if (set(SO_ATTACH_FILTER, new Uint8Array(header.buffer)) !== 0) {
    throw new Error("the packet socket takes no filter");
  }
  set(SO_RCVBUFFORCE, new Uint8Array(Uint32Array.of(16 << 20).buffer)); // not in a user namespace
}

async function main(port: number): Promise<void> {
  // Bound to no interface: all of them. The protocol is given in network byte order.
  const socket = libc.symbols.socket(AF_PACKET, SOCK_DGRAM, ETH_P_ALL << 8);
  if (socket < 0) throw new Error("no packet socket: CAP_NET_RAW is missing");
  takeOnlyUdp(socket);
  sendMarkerAtEnd();
  print("ready");
  const buffer = new Uint8Array(65_536);
  const address = new Uint8Array(20); // struct sockaddr_ll
  while (true) {
    const addressSize = Uint32Array.of(address.length);
    const size = Number(
      await libc.symbols.recvfrom(
        socket,
        buffer,
        BigInt(buffer.length),
        0,
        address,
        new Uint8Array(addressSize.buffer),
      ),
    );
    const packet = new DataView(buffer.buffer, 0, Math.max(0, size));
    const ports = udpPorts(packet);
    if (!ports) continue;
    const [source, destination] = ports;
    // A client's own port may be of the same number: what counts is what leaves this host from it.
    if (source === port && address[PACKET_TYPE] === PACKET_OUTGOING) print("datagram from port");
    if (destination === port) print("datagram to port");
    if (destination === MARKER_PORT) break;
  }
  const statistics = new Uint32Array(2); // packets, drops (struct tpacket_stats)
  libc.symbols.getsockopt(
    socket,
    SOL_PACKET,
    PACKET_STATISTICS,
    new Uint8Array(statistics.buffer),
    Uint32Array.of(statistics.byteLength),
  );
  print(`end ${statistics[1]}`);
}

async function sendMarkerAtEnd(): Promise<void> {
  for await (const _ of Deno.stdin.readable); // until it is closed
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  await socket.send(new Uint8Array(1), {
    transport: "udp",
    hostname: "127.0.0.1",
    port: MARKER_PORT,
  });
}

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

if (import.meta.main) {
  await main(Number(Deno.args[0]));
  Deno.exit();
}
