/**
 * The sender of `bench_latency.ts`, in the server's namespace: starts the server, sends one knock after the other, and
 * waits for the line that says that the firewall has it. Prints the times in ms as a JSON array. It sends by libc and
 * blocks on the log, so that no event loop of its own is in the times.
 */

/** What it is told. */
export interface Task {
  /** A folder for the log's pipe. */
  readonly dir: string;
  readonly serve: readonly string[];
  readonly port: number;
  readonly apartMs: number;
  /** Knocks, in hex, and the clients whose they are. */
  readonly knocks: readonly { readonly client: string; readonly hex: string }[];
}

/** A server that has just started does other things. */
const START_MS = 3000;
/** The log has lines for so many knocks a second. */
const IN_A_ROW = 20;
const REST_MS = 1100;
const AF_INET = 2;
const SOCK_DGRAM = 2;

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
  /** struct sockaddr_in. */
  const to = new Uint8Array(16);
  to.set([AF_INET, 0, task.port >> 8, task.port & 255, 127, 0, 0, 1]);
  const descriptor = libc.socket(AF_INET, SOCK_DGRAM, 0);
  hear("event=listening");
  await pause(START_MS);
  const times: number[] = [];
  for (const [i, { client, hex }] of task.knocks.entries()) {
    await pause(i % IN_A_ROW === 0 ? REST_MS : task.apartMs);
    const datagram = Uint8Array.fromHex(hex);
    heard = "";
    const startMs = performance.now();
    libc.sendto(descriptor, datagram, BigInt(datagram.length), 0, to, to.length);
    hear(`event=granted client=${client} `);
    times.push(performance.now() - startMs);
  }
  server.kill("SIGTERM");
  await server.status;
  // deno-lint-ignore no-console
  console.log(JSON.stringify(times));
  Deno.exit();
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
