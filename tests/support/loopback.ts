/** Turns the loopback on where it is off: in the namespace of a test run without root. Imported for that alone. */

try {
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  try {
    await socket.send(new Uint8Array(1), socket.addr);
  } finally {
    socket.close();
  }
} catch (error) {
  if (!(error instanceof Deno.errors.NetworkUnreachable)) throw error;
  await new Deno.Command("ip", { args: ["link", "set", "lo", "up"] }).output();
}
