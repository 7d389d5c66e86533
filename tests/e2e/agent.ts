/**
 * A program that runs in a namespace for as long as its standard input is open: one JSON request a line comes in, one
 * JSON line `{"number":…,"value":…}` or `{"number":…,"error":…}` goes out for each, in the order in which they finish.
 */

import { within, withinTurns } from "../support/wait.ts";

/** What became of an attempt to connect. */
export type Reachability = "open" | "refused" | "timeout" | "unreachable";

/** What an agent can be asked. Connections are named by the value that `hold` gives. */
export type Request =
  | { op: "ping" }
  | { op: "listen"; tcp: number[]; udp: number[]; groups: string[] }
  | { op: "connect"; host: string; port: number; timeoutMs: number }
  | { op: "hold"; host: string; port: number; timeoutMs: number }
  | { op: "echo"; id: number; text: string; timeoutMs: number }
  | { op: "close"; id: number }
  | { op: "udp"; host: string; port: number; timeoutMs: number }
  | {
    op: "send";
    hex: string;
    host: string;
    port: number;
    bind: { address?: string; port?: number };
  };

const held: Deno.Conn[] = [];

async function handle(request: Request): Promise<unknown> {
  switch (request.op) {
    case "ping":
      return true;
    case "listen":
      request.tcp.forEach(echoTcp);
      for (const port of request.udp) await echoUdp(port, request.groups);
      return true;
    case "connect":
      return await tryToConnect(request.host, request.port, request.timeoutMs);
    case "hold": {
      const { host: hostname, port, timeoutMs } = request;
      const connection = await within(Deno.connect({ hostname, port }), timeoutMs, undefined);
      if (!connection) throw new Error("no connection");
      return held.push(connection) - 1;
    }
    case "echo":
      return await within(echoes(connectionOf(request.id), request.text), request.timeoutMs, false);
    case "close":
      connectionOf(request.id).close();
      return true;
    case "udp":
      return await probeUdp(request.host, request.port, request.timeoutMs);
    case "send":
      return await sendOnce(request);
  }
}

function connectionOf(id: number): Deno.Conn {
  const connection = held[id];
  if (!connection) throw new Error(`no connection ${id}`);
  return connection;
}

async function tryToConnect(
  hostname: string,
  port: number,
  timeoutMs: number,
): Promise<Reachability> {
  const attempt = Deno.connect({ hostname, port }).then((connection): Reachability => {
    connection.close(); // also where it comes about after the time is over
    return "open";
  }).catch((error): Reachability => {
    if (error instanceof Deno.errors.ConnectionRefused) return "refused";
    if (error instanceof Deno.errors.TimedOut) return "timeout";
    return "unreachable";
  });
  return await withinTurns(attempt, timeoutMs, "timeout");
}

async function echoes(connection: Deno.Conn, text: string): Promise<boolean> {
  const sent = new TextEncoder().encode(text);
  const buffer = new Uint8Array(sent.length);
  let received = "";
  await connection.write(sent);
  while (!received.endsWith(text)) {
    const size = await connection.read(buffer);
    if (size === null) return false;
    received += new TextDecoder().decode(buffer.subarray(0, size));
  }
  return true;
}

function echoTcp(port: number): void {
  const listener = Deno.listen({ hostname: "::", port }); // takes IPv4 too
  (async () => {
    for await (const connection of listener) {
      connection.readable.pipeTo(connection.writable).catch(() => {});
    }
  })();
}

/** Echoes from the wildcard address, which broadcast and multicast datagrams reach too. */
async function echoUdp(port: number, groups: readonly string[]): Promise<void> {
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "::", port });
  for (const group of groups) {
    if (group.includes(":")) await socket.joinMulticastV6(group, interfaceIndex("eth0"));
    else await socket.joinMulticastV4(group, interfaceAddress("eth0"));
  }
  (async () => {
    for await (const [bytes, from] of socket) await socket.send(bytes, from).catch(() => {});
  })();
}

async function probeUdp(hostname: string, port: number, timeoutMs: number): Promise<boolean> {
  const socket = Deno.listenDatagram({
    transport: "udp",
    hostname: wildcardFor(hostname),
    port: 0,
  });
  const probe = crypto.getRandomValues(new Uint8Array(8));
  const answered = (async () => {
    for await (const [bytes] of socket) if (String(bytes) === String(probe)) return true;
    return false;
  })();
  try {
    await socket.send(probe, { transport: "udp", hostname, port });
    return await withinTurns(answered, timeoutMs, false);
  } finally {
    socket.close();
  }
}

async function sendOnce({ hex, host, port, bind }: Extract<Request, { op: "send" }>) {
  const bytes = Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
  const socket = Deno.listenDatagram({
    transport: "udp",
    hostname: bind.address ?? wildcardFor(host),
    port: bind.port ?? 0,
  });
  try {
    return await socket.send(bytes, { transport: "udp", hostname: host, port });
  } finally {
    socket.close();
  }
}

function wildcardFor(host: string): string {
  return host.includes(":") ? "::" : "0.0.0.0";
}

function interfaceAddress(name: string): string {
  const found = Deno.networkInterfaces().find((each) =>
    each.name === name && each.family === "IPv4"
  );
  if (!found) throw new Error(`no IPv4 address on ${name}`);
  return found.address;
}

function interfaceIndex(name: string): number {
  return Number(Deno.readTextFileSync(`/sys/class/net/${name}/ifindex`));
}

async function answer(line: string): Promise<void> {
  const { number, ...request } = JSON.parse(line) as Request & { number: number };
  let reply;
  try {
    reply = { number, value: await handle(request as Request) };
  } catch (error) {
    reply = { number, error: String(error) };
  }
  Deno.stdout.writeSync(new TextEncoder().encode(JSON.stringify(reply) + "\n"));
}

if (import.meta.main) {
  let rest = "";
  for await (const chunk of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) answer(line);
  }
  Deno.exit();
}
