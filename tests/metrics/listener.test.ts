/** Who is answered what over HTTP, and what clients can make the listener hold. */

import assert from "node:assert/strict";
import { bindMetrics, METRICS_LIMITS, serveMetrics } from "../../lib/metrics/listener.ts";
import { ask, closeAll, readToEnd, trickle } from "../support/hostile_clients.ts";
import { Folder } from "../support/folder.ts";
import "../support/loopback.ts";

const GET = "GET /metrics HTTP/1.1\r\n\r\n";

Deno.test("GET /metrics is answered with the text, and nothing else is", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  let text: string | undefined = "openme_x 1\n";
  const listening = serveMetrics([listener], () => Promise.resolve(text));
  const { port } = listener.addr as Deno.NetAddr;
  const request = async (head: string) => {
    using connection = await Deno.connect({ port });
    return await ask(connection, head) ?? "";
  };
  const good = await request(GET);
  assert.match(good, /^HTTP\/1\.1 200 OK\r\n/);
  assert.match(good, /\r\nContent-Type: text\/plain; version=0\.0\.4; charset=utf-8\r\n/);
  assert.ok(good.endsWith("\r\n\r\nopenme_x 1\n"));
  const rows: [line: string, status: string][] = [
    ["POST /metrics HTTP/1.1", "405 Method Not Allowed"],
    ["HEAD /metrics HTTP/1.1", "405 Method Not Allowed"],
    ["GET / HTTP/1.1", "404 Not Found"],
    ["GET /metrics/../etc HTTP/1.1", "404 Not Found"],
    ["\x16\x03\x01", "400 Bad Request"],
  ];
  for (const [line, status] of rows) {
    const answer = await request(`${line}\r\n\r\n`);
    assert.ok(answer.startsWith(`HTTP/1.1 ${status}\r\n`), answer);
    assert.doesNotMatch(answer, /openme_x/);
  }
  text = undefined;
  assert.match(await request(GET), /^HTTP\/1\.1 503 /);
  listening.close();
});

Deno.test("a Unix socket is for its owner and group, and replaces only the one of a dead server", async () => {
  await using folder = await Folder.create();
  const path = folder.file("metrics.sock");
  await Deno.writeTextFile(path, "somebody's");
  await assert.rejects(bindMetrics({ transport: "unix", path }), Deno.errors.AddrInUse);
  assert.equal(await Deno.readTextFile(path), "somebody's");
  await Deno.remove(path);
  const living = Deno.listen({ transport: "unix", path });
  await assert.rejects(bindMetrics({ transport: "unix", path }), Deno.errors.AddrInUse);
  living.close();
  const listener = await bindMetrics({ transport: "unix", path });
  assert.equal((await Deno.stat(path)).mode! & 0o777, 0o660);
  const listening = serveMetrics([listener], () => Promise.resolve("openme_x 1\n"));
  using connection = await Deno.connect({ transport: "unix", path });
  assert.match(await ask(connection, GET) ?? "", /200 OK[^]*openme_x 1/);
  listening.close();
});

Deno.test("an address that a server which ends still has is waited for", async () => {
  const former = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = former.addr as Deno.NetAddr;
  setTimeout(() => former.close(), 200);
  (await bindMetrics({ transport: "tcp", hostname: "127.0.0.1", port })).close();
});

Deno.test("clients that are many, slow or wordy hold nothing up", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const limits = { ...METRICS_LIMITS, connectionMs: 400 };
  const listening = serveMetrics([listener], () => Promise.resolve("openme_x 1\n"), limits);
  const { port } = listener.addr as Deno.NetAddr;
  const connect = () => Deno.connect({ port });
  const silent = await Promise.all(Array.from({ length: limits.perAddress }, connect));
  const tooMany = await connect();
  assert.equal(await readToEnd(tooMany, 300), "", "one more is closed at once");
  const ends = await Promise.all(silent.map((each) => readToEnd(each, 2000)));
  assert.deepEqual(ends, silent.map(() => ""));
  const slow = await connect();
  assert.ok(await trickle(slow, 2000) < 1500);
  const wordy = await connect();
  assert.equal(await ask(wordy, "x".repeat(20_000)), "");
  const next = await connect();
  assert.match(await ask(next, GET) ?? "", /^HTTP\/1\.1 200 OK/);
  closeAll([...silent, tooMany, slow, wordy, next]);
  listening.close();
});
