/**
 * The sender of `bench_latency.ts`, in the server's namespace: starts the server, sends one knock after the other, and
 * waits for the line that says that the firewall has it. Prints the times in ms as a JSON array.
 */

interface Task {
  readonly serve: readonly string[];
  readonly port: number;
  readonly knocks: readonly { readonly client: string; readonly hex: string }[];
}

/** One by one, as people knock; and the log has lines for so many a second. */
const APART_MS = 60;

const task = JSON.parse(await Deno.readTextFile(Deno.args[0]!)) as Task;
const server = new Deno.Command(task.serve[0]!, {
  args: task.serve.slice(1),
  stdin: "null",
  stdout: "null",
  stderr: "piped",
}).spawn();
const lines = server.stderr.pipeThrough(new TextDecoderStream()).getReader();
let heard = "";

/** Reads on until the server has said this. */
async function hear(text: string): Promise<void> {
  while (!heard.includes(text)) {
    const { done, value } = await lines.read();
    if (done) throw new Error(`the server ended before it said ${text}: ${heard}`);
    heard += value;
  }
}

const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
const to: Deno.NetAddr = { transport: "udp", hostname: "127.0.0.1", port: task.port };
await hear("event=listening");
const times: number[] = [];
for (const { client, hex } of task.knocks) {
  const datagram = Uint8Array.fromHex(hex);
  const startMs = performance.now();
  await socket.send(datagram, to);
  await hear(`event=granted client=${client} `);
  times.push(performance.now() - startMs);
  await new Promise((resolve) => setTimeout(resolve, APART_MS));
}
server.kill("SIGTERM");
await lines.cancel();
await server.status;
// deno-lint-ignore no-console
console.log(JSON.stringify(times));
Deno.exit();
