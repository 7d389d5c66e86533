/**
 * Two services that only a right half-close satisfies. On port 23 one reads to the end and then says how much it was; on
 * port 24 one says something, ends its side, and prints how much it still was given.
 */

async function countToEnd(connection: Deno.TcpConn): Promise<number> {
  const buffer = new Uint8Array(64 * 1024);
  let total = 0;
  for (let size = await connection.read(buffer); size !== null;) {
    total += size;
    size = await connection.read(buffer);
  }
  return total;
}

function serve(port: number, answer: (connection: Deno.TcpConn) => Promise<void>): void {
  const listener = Deno.listen({ hostname: "::", port });
  (async () => {
    for await (const connection of listener) answer(connection);
  })();
}

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(line + "\n"));
}

serve(23, async (connection) => {
  const total = await countToEnd(connection);
  await connection.write(new TextEncoder().encode(`was given ${total}\n`));
  connection.close();
});
serve(24, async (connection) => {
  await connection.write(new TextEncoder().encode("that is all\n"));
  await connection.closeWrite();
  print(`was given ${await countToEnd(connection)}`);
  connection.close();
});
print("ready");
