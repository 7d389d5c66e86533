/**
 * From the start of a client's process, or from datagrams that are ready, to the first connection that comes about, in
 * milliseconds: run in the client's namespace with a {@linkcode Probe} as JSON. A connection is tried every millisecond,
 * since a dropped SYN is only sent again after a second.
 */

/** What lets the client in, and where that shows. */
export interface Probe {
  readonly host: string;
  readonly port: number;
  /** A client's command line. */
  readonly command?: readonly string[];
  /** Or datagrams to send, in hex. */
  readonly datagrams?: readonly { readonly port: number; readonly hex: string }[];
}

const LONGEST_MS = 3000;

if (import.meta.main) {
  const { host, port, command, datagrams = [] } = JSON.parse(Deno.args[0]!) as Probe;
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "0.0.0.0", port: 0 });
  const packets = datagrams.map(({ port, hex }) => ({ port, bytes: Uint8Array.fromHex(hex) }));
  const start = performance.now();
  const client = command &&
    new Deno.Command(command[0]!, { args: command.slice(1), stdout: "null", stderr: "null" })
      .spawn();
  for (const { port, bytes } of packets) {
    await socket.send(bytes, { transport: "udp", hostname: host, port });
  }
  const open = Promise.withResolvers<number>();
  const timer = setInterval(() => {
    Deno.connect({ hostname: host, port }).then((connection) => {
      open.resolve(performance.now() - start);
      connection.close();
    }, () => {});
  }, 1);
  setTimeout(() => open.resolve(NaN), LONGEST_MS);
  const ms = await open.promise;
  clearInterval(timer);
  await client?.status;
  // deno-lint-ignore no-console
  console.log(ms);
  Deno.exit();
}
