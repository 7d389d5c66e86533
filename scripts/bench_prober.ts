/**
 * From the start of a client's process to the first connection that comes about, in milliseconds: run in the client's
 * namespace with `HOST PORT COMMAND…`. A connection is tried every 2 ms, since a dropped SYN is only sent again after 1 s.
 */

const [host = "", port = "", program = "", ...args] = Deno.args;
const start = performance.now();
const client = new Deno.Command(program, { args, stdout: "null", stderr: "null" }).spawn();
const open = Promise.withResolvers<number>();
const timer = setInterval(() => {
  Deno.connect({ hostname: host, port: Number(port) }).then((connection) => {
    open.resolve(performance.now() - start);
    connection.close();
  }, () => {});
}, 2);
setTimeout(() => open.resolve(NaN), 3000);
const ms = await open.promise;
clearInterval(timer);
await client.status;
// deno-lint-ignore no-console
console.log(ms);
Deno.exit();
