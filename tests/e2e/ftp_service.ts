/**
 * As much of FTP as connection tracking's helper reads: a service that names an address and the port 22 for its data,
 * and with an address as its argument a client that asks for that.
 */

const [address] = Deno.args;
const encode = (line: string) => new TextEncoder().encode(`${line}\r\n`);

async function read(connection: Deno.TcpConn): Promise<string> {
  const buffer = new Uint8Array(200);
  return new TextDecoder().decode(buffer.subarray(0, await connection.read(buffer) ?? 0));
}

if (address === undefined) {
  for await (const connection of Deno.listen({ hostname: "0.0.0.0", port: 21 })) {
    await connection.write(encode("220 ready"));
    if (await read(connection) === "") continue;
    const { hostname } = connection.localAddr;
    await connection.write(
      encode(`227 Entering Passive Mode (${hostname.replaceAll(".", ",")},0,22)`),
    );
  }
} else {
  const connection = await Deno.connect({ hostname: address, port: 21 });
  await read(connection);
  await connection.write(encode("PASV"));
  await Deno.stdout.write(encode((await read(connection)).trim()));
  await read(connection);
}
