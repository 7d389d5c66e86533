/**
 * The sender of `bench_latency.ts`, in the server's namespace: starts the server, sends one knock after the other, and
 * waits until the kernel tells of its rule, and until the server's log does. Prints the times as a JSON array. It
 * sends by libc and blocks while it waits, so that no event loop of its own is in the times.
 */

/** What it is told. */
export interface Task {
  /** A folder for the log's pipe. */
  readonly dir: string;
  readonly serve: readonly string[];
  readonly port: number;
  readonly apartMs: number;
  /** Knocks, in hex, with their clients and the addresses that they open the ports to. */
  readonly knocks: readonly {
    readonly client: string;
    readonly address: readonly number[];
    readonly hex: string;
  }[];
}

/** Since a knock was sent, ms. */
export interface Times {
  /** Until the kernel had its rule. */
  readonly rule: number;
  /** Until the server had logged that. */
  readonly told: number;
}

/** A server that has just started does other things. */
const START_MS = 3000;
/** The log has lines for so many knocks a second. */
const IN_A_ROW = 20;
const REST_MS = 1100;
const AF_INET = 2;
const SOCK_DGRAM = 2;
const AF_NETLINK = 16;
const SOCK_RAW = 3;
const NETLINK_NETFILTER = 12;
/** The group that hears of every transaction of nf_tables: 7, as a bit. */
const NFTABLES_GROUP = 1 << 7 - 1;
const MSG_DONTWAIT = 0x40;

if (import.meta.main) {
  const task = JSON.parse(await Deno.readTextFile(Deno.args[0]!)) as Task;
  const pipe = `${task.dir}/log`;
  await new Deno.Command("mkfifo", { args: [pipe] }).output();
  const server = new Deno.Command("sh", {
    args: ["-c", 'exec "$@" 2>"$0"', pipe, ...task.serve],
    stdin: "null",
    stdout: "null",
  }).spawn();
  using log = Deno.openSync(pipe);
  const libc = Deno.dlopen("libc.so.6", {
    socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
    bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
    recv: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
    sendto: { parameters: ["i32", "buffer", "usize", "i32", "buffer", "u32"], result: "isize" },
  }).symbols;
  const [buffer, decoder] = [new Uint8Array(65_536), new TextDecoder()];
  let heard = "";
  /** Reads on until the server has said this. */
  const hear = (text: string) => {
    while (!heard.includes(text)) {
      const size = log.readSync(buffer);
      if (size === null) throw new Error(`the server ended before it said ${text}: ${heard}`);
      heard += decoder.decode(buffer.subarray(0, size));
    }
  };
  const transactions = libc.socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
  /** struct sockaddr_nl. */
  const group = Uint32Array.of(AF_NETLINK, 0, NFTABLES_GROUP);
  if (libc.bind(transactions, group, group.byteLength) !== 0) {
    throw new Error("cannot listen to nf_tables");
  }
  const nextTransaction = (flags: number) => {
    const size = Number(libc.recv(transactions, buffer, BigInt(buffer.length), flags));
    return size > 0 ? buffer.subarray(0, size) : undefined;
  };
  /** When the kernel first told of the transaction that names this address. */
  const untilRule = (address: readonly number[]) => {
    while (true) {
      let message = nextTransaction(0);
      const atMs = performance.now();
      // To look at a message takes longer than to make the rule: only once its time is known.
      for (; message; message = nextTransaction(MSG_DONTWAIT)) {
        if (includes(message, address)) return atMs;
      }
    }
  };
  /** struct sockaddr_in. */
  const to = new Uint8Array(16);
  to.set([AF_INET, 0, task.port >> 8, task.port & 255, 127, 0, 0, 1]);
  const descriptor = libc.socket(AF_INET, SOCK_DGRAM, 0);
  hear("event=listening");
  await pause(START_MS);
  const times: Times[] = [];
  for (const [i, { client, address, hex }] of task.knocks.entries()) {
    await pause(i % IN_A_ROW === 0 ? REST_MS : task.apartMs);
    const datagram = Uint8Array.fromHex(hex);
    heard = "";
    while (nextTransaction(MSG_DONTWAIT));
    const startMs = performance.now();
    libc.sendto(descriptor, datagram, BigInt(datagram.length), 0, to, to.length);
    const rule = untilRule(address) - startMs;
    hear(`event=granted client=${client} `);
    times.push({ rule, told: performance.now() - startMs });
  }
  server.kill("SIGTERM");
  await server.status;
  // deno-lint-ignore no-console
  console.log(JSON.stringify(times));
  Deno.exit();
}

function includes(bytes: Uint8Array, part: readonly number[]): boolean {
  return bytes.some((_, start) => part.every((byte, i) => bytes[start + i] === byte));
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
