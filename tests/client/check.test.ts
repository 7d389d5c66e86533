/** `knockAndAsk()` beside a server that answers as the test says: what it takes for an answer, and for how long it asks. */

import assert from "node:assert/strict";
import { type Asked, knockAndAsk } from "../../lib/client/check.ts";
import { knockId } from "../../lib/crypto/keys.ts";
import { unsealKnock } from "../../lib/packet.ts";
import { pause } from "../../lib/system/clock.ts";
import { type RecentKnock, reportToJson } from "../../lib/values/health_report.ts";
import { agreeAsServer, ALICE_PROFILE } from "../support/knocks.ts";
import "../support/loopback.ts";

/** Of the knocks that the server has, the oldest first. */
type States = RecentKnock["state"][];

/** A server's two ports: it takes every knock, and reports of them what the test says. */
class FakeServer implements AsyncDisposable {
  readonly knocks: string[] = [];
  questions = 0;
  readonly #socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  readonly #health: Deno.HttpServer<Deno.NetAddr>;

  constructor(states: (server: FakeServer) => States | Promise<States>) {
    this.#health = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async () => {
      this.questions++;
      const knocks = (await states(this)).map((state, i) => ({ id: this.knocks[i]!, state }));
      const nowMs = Date.now();
      const times = { openedAtMs: nowMs, expiresAtMs: nowMs + 9000, leftMs: 9000 };
      const grant = { client: "alice", fingerprint: "0123456789abcdef", ports: ["22/tcp"] };
      const grants = [{ ...grant, ...times, knocks }];
      return Response.json(reportToJson({ address: "127.0.0.1", nowMs, grants }));
    });
    this.#receive();
  }

  async #receive(): Promise<void> {
    for await (const [datagram] of this.#socket) {
      const unsealed = unsealKnock(datagram, agreeAsServer);
      assert.ok(typeof unsealed === "object", "a good knock");
      this.knocks.push(await knockId(Uint8Array.from(unsealed.randomNonce)));
    }
  }

  ask(timeoutMs: number): Promise<Asked> {
    const profile = {
      ...ALICE_PROFILE,
      name: "home",
      serverHost: "127.0.0.1",
      serverUdpPort: (this.#socket.addr as Deno.NetAddr).port,
      healthPort: this.#health.addr.port,
      bind: undefined,
      postKnock: undefined,
    };
    const port = profile.healthPort;
    const options = { port, host: undefined, target: undefined, family: undefined, timeoutMs };
    return knockAndAsk(profile, options);
  }

  /** Closes the health port. */
  close(): void {
    this.#health.shutdown();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.close();
    await this.#health.shutdown();
  }
}

const outcomeOf = (asked: Asked) => asked.kind === "answered" ? asked.outcome : asked.kind;

Deno.test("a knock that is pending when the time is over is pending, though it opens right after", async () => {
  const timeoutMs = 2000;
  let endMs = Infinity;
  await using server = new FakeServer(async ({ questions }) => {
    if (questions > 1) return ["open"];
    await pause(endMs - 50 - performance.now());
    return ["pending"];
  });
  endMs = performance.now() + timeoutMs;
  assert.equal(outcomeOf(await server.ask(timeoutMs)), "pending");
  assert.equal(server.questions, 1);
});

Deno.test("a knock that opens in time is open, and none is sent while it is pending", async () => {
  const startMs = performance.now();
  await using server = new FakeServer(() => [
    performance.now() < startMs + 1500 ? "pending" : "open",
  ]);
  assert.equal(outcomeOf(await server.ask(10_000)), "open");
  assert.equal(server.knocks.length, 1);
  assert.ok(server.questions > 2);
});

Deno.test("a knock that the firewall refused is refused at once", async () => {
  await using server = new FakeServer(() => ["refused"]);
  assert.equal(outcomeOf(await server.ask(10_000)), "refused");
  assert.equal(server.questions, 1);
});

Deno.test("a port that is open for others is asked until a knock of this client is open", async () => {
  await using server = new FakeServer(({ knocks }) => knocks.length < 2 ? [] : ["pending", "open"]);
  assert.equal(outcomeOf(await server.ask(10_000)), "open");
  assert.equal(server.knocks.length, 2);
});

Deno.test("a port that closes while a knock is pending leaves it pending", async () => {
  await using server = new FakeServer(({ questions }) => {
    if (questions === 2) server.close();
    return ["pending"];
  });
  assert.equal(outcomeOf(await server.ask(3000)), "pending");
  assert.equal(server.knocks.length, 1);
});
