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
const UDP = 17;
const IPV6_HEADER_SIZE = 40;
const IPV6_NEXT_HEADER = 6;
const IPV4_PROTOCOL = 9;

/** A datagram of one's own to this port (discard, RFC 863) on the loopback marks the end of all that came before. */
const MARKER_PORT = 9;

const libc = Deno.dlopen("libc.so.6", {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  recv: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize", nonblocking: true },
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

async function main(port: number): Promise<void> {
  // Bound to no interface: all of them. The protocol is given in network byte order.
  const socket = libc.symbols.socket(AF_PACKET, SOCK_DGRAM, ETH_P_ALL << 8);
  if (socket < 0) throw new Error("no packet socket: CAP_NET_RAW is missing");
  sendMarkerAtEnd();
  print("ready");
  const buffer = new Uint8Array(65_536);
  while (true) {
    const size = Number(await libc.symbols.recv(socket, buffer, BigInt(buffer.length), 0));
    const packet = new DataView(buffer.buffer, 0, Math.max(0, size));
    const ports = udpPorts(packet);
    if (!ports) continue;
    const [source, destination] = ports;
    if (source === port || destination === port) print(`datagram ${source} > ${destination}`);
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
