/** The hosts of a profile: one after another is knocked at until one opens, each time with a fresh knock. */

import assert from "node:assert/strict";
import { knockAndAsk } from "../../lib/client/check.ts";
import { knockAtEach, takeTurns, withFirstHost } from "../../lib/client/hosts.ts";
import { knockUntilOpen } from "../../lib/client/wait.ts";
import { OpenmeError } from "../../lib/values/errors.ts";
import { ALICE_PROFILE } from "../support/knocks.ts";
import "../support/loopback.ts";

const [A, B, C] = ["127.0.0.1", "127.0.0.2", "127.0.0.3"] as const;

/** Sockets on the same UDP port of several addresses, with what they were sent. */
class Hosts implements Disposable {
  readonly received: { host: string; datagram: string }[] = [];
  readonly port: number;
  readonly #sockets: Deno.DatagramConn[] = [];

  constructor(hosts: readonly string[]) {
    let port = 0;
    for (const host of hosts) {
      const socket = Deno.listenDatagram({ transport: "udp", hostname: host, port });
      port = (socket.addr as Deno.NetAddr).port;
      this.#sockets.push(socket);
      (async () => {
        for await (const [datagram] of socket) {
          this.received.push({ host, datagram: datagram.toString() });
        }
      })();
    }
    this.port = port;
  }

  get knockedAt(): string[] {
    return [...new Set(this.received.map(({ host }) => host))];
  }

  [Symbol.dispose](): void {
    this.#sockets.forEach((socket) => socket.close());
  }
}

function profileOf(hosts: readonly string[], port: number) {
  const [serverHost, ...otherHosts] = hosts;
  return {
    ...ALICE_PROFILE,
    ...{ name: "prod", serverHost: serverHost!, otherHosts, bind: undefined, postKnock: undefined },
    ...{ serverUdpPort: port, healthPort: port },
  };
}

const ANY = { host: undefined, target: undefined, family: undefined };

/** A service at one address; gives its port. */
function serviceAt(hostname: string): Deno.TcpListener {
  const listener = Deno.listen({ hostname, port: 0 });
  (async () => {
    for await (const connection of listener) connection.close();
  })();
  return listener;
}

Deno.test("the first host that opens is enough: no other is knocked at", async () => {
  using hosts = new Hosts([A, B]);
  using service = serviceAt(A);
  const { port } = service.addr;
  const waited = await knockUntilOpen(profileOf([A, B], hosts.port), {
    ...{ ...ANY, port, timeoutMs: 3000 },
  });
  assert.equal(waited.kind, "open");
  if (waited.kind === "open") waited.connection.close();
  assert.deepEqual(hosts.knockedAt, [A]);
});

Deno.test("where the first does not open, the next is knocked at with a knock of its own", async () => {
  using hosts = new Hosts([A, B]);
  using service = serviceAt(B);
  const { port } = service.addr;
  const profile = profileOf(["no-such-host.invalid", A, B], hosts.port);
  const waited = await knockUntilOpen(profile, { ...ANY, port, timeoutMs: 10_000 });
  assert.equal(waited.kind, "open");
  if (waited.kind === "open") waited.connection.close();
  assert.equal(waited.door?.dialledHost, B);
  assert.deepEqual(waited.sent.map(({ host }) => host), [A, B]);
  assert.deepEqual(hosts.knockedAt, [A, B]);
  assert.equal(new Set(hosts.received.map(({ datagram }) => datagram)).size, waited.knocks);
});

Deno.test("the host that is asked for is dialled, whichever was knocked at; it is knocked at first", async () => {
  using hosts = new Hosts([A, B, C]);
  const profile = profileOf([A, B, C], hosts.port);
  const tried: [string, string][] = [];
  await takeTurns(profile, { host: B, family: undefined, timeoutMs: 5000 }, (door) => {
    tried.push([door.host, door.dialledHost]);
    assert.equal(door.dial.length, 1);
    return Promise.resolve({ kind: "tried" });
  }, () => tried.length === 3);
  assert.deepEqual(tried, [[B, B], [A, B], [C, B]]);
  assert.equal(withFirstHost(profile, "127.0.0.9"), undefined);
});

Deno.test("closed says every host that was knocked at, and --timeout holds", async () => {
  using hosts = new Hosts([A, B]);
  const startMs = performance.now();
  const options = { ...ANY, port: 1, timeoutMs: 2600 };
  const waited = await knockUntilOpen(profileOf([A, B], hosts.port), options);
  const tookMs = performance.now() - startMs;
  assert.ok(2000 < tookMs && tookMs < 4500, `${tookMs} ms`);
  assert.equal(waited.kind, "closed");
  assert.deepEqual(waited.sent.map(({ host }) => host), [A, B]);
  assert.equal(waited.kind === "closed" && waited.tried.length, 2);
});

Deno.test("without a look at what opens every host gets a knock, each another", async () => {
  using hosts = new Hosts([A, B]);
  const profile = profileOf([A, "no-such-host.invalid", B], hosts.port);
  const sent = await knockAtEach(profile, ANY);
  assert.deepEqual(sent.map(({ failure }) => failure === undefined), [true, false, true]);
  while (hosts.received.length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.deepEqual(hosts.knockedAt.sort(), [A, B]);
  assert.equal(new Set(hosts.received.map(({ datagram }) => datagram)).size, 2);
});

Deno.test("where no host can be knocked at, the error names each", async () => {
  const profile = profileOf(["one.invalid", "two.invalid"], 9);
  const isClear = (error: unknown) =>
    error instanceof OpenmeError && error.code === "SOCKET" &&
    /^cannot knock at any host of prod: .*one\.invalid.*; .*two\.invalid/.test(error.message);
  await assert.rejects(knockAtEach(profile, ANY), isClear);
  await assert.rejects(knockUntilOpen(profile, { ...ANY, port: 1, timeoutMs: 2000 }), isClear);
  await assert.rejects(knockAndAsk(profile, { ...ANY, port: 1, timeoutMs: 2000 }), isClear);
});
