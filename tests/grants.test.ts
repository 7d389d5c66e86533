/** Grants: opening, renewing, ending, caps; and what an address may reach, against a model port by port. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { type Address, formatAddress } from "../lib/values/address.ts";
import { type Grant, GRANT_CAPS, Grants } from "../lib/grants.ts";
import { formatNetwork, networkOf } from "../lib/values/network.ts";
import type { Opening } from "../lib/values/openings.ts";
import {
  expandPortSpec,
  formatPortRange,
  parsePortSpec,
  type PortRange,
} from "../lib/values/ports.ts";
import { address, moment, must, permission, SOURCE, START_MS } from "./support/knocks.ts";

const ELSEWHERE = address("2001:db8::7");

function textsOf(ports: readonly PortRange[]): string[] {
  return ports.map(formatPortRange);
}

function shown(openings: readonly Opening[]): string[] {
  return openings.map((opening) => `${formatPortRange(opening)} ${opening.timeoutMs}`);
}

Deno.test("Grants.open() opens the permitted ports for the lifetime", () => {
  const grants = new Grants();
  const { grant, renewed } = grants.open(SOURCE, permission("alice", ["22/tcp", "53"]), moment(0));
  assert.equal(renewed, false);
  assert.deepEqual({ ...grant, ports: textsOf(grant.ports) }, {
    client: "alice",
    key: "key of alice",
    address: networkOf(SOURCE),
    ports: ["22/tcp", "53/tcp", "53/udp"].sort(),
    openedAtMs: START_MS,
    expiresAtMs: START_MS + 30_000,
    endsSteadyMs: moment(30_000).steadyMs,
  });
  assert.deepEqual([...grants.list()], [grant]);
  assert.equal(grants.size, 1);
});

Deno.test("Grants.open() makes a grant's ports disjoint", () => {
  const { grant } = new Grants().open(
    SOURCE,
    permission("alice", ["20-30/tcp", "25-40/tcp", "41/tcp"]),
    moment(0),
  );
  assert.deepEqual(textsOf(grant.ports), ["20-41/tcp"]);
});

Deno.test("Grants.open() restarts the time of a grant that is in force", () => {
  const grants = new Grants();
  grants.open(SOURCE, permission("alice", ["22/tcp"]), moment(0));
  const { grant, renewed } = grants.open(SOURCE, permission("alice", ["80/tcp"]), moment(29_999));
  assert.equal(renewed, true);
  assert.equal(grant.openedAtMs, START_MS);
  assert.equal(grant.expiresAtMs, START_MS + 59_999);
  assert.equal(grant.endsSteadyMs, moment(59_999).steadyMs);
  assert.deepEqual(textsOf(grant.ports), ["80/tcp"], "the ports are those of the newer knock");
  assert.deepEqual([...grants.list()], [grant]);
});

Deno.test("Grants.open() starts anew where the old grant has ended, swept or not", () => {
  const grants = new Grants();
  grants.open(SOURCE, permission("alice", ["22/tcp"]), moment(0));
  const { grant, renewed } = grants.open(SOURCE, permission("alice", ["22/tcp"]), moment(30_000));
  assert.equal(renewed, false);
  assert.equal(grant.openedAtMs, START_MS + 30_000);
  assert.equal(grants.size, 1);
});

Deno.test("Grants.open() lets no grant outlast its client's key", () => {
  const expiring = permission("alice", ["22/tcp"], { expiresAtMs: START_MS + 12_345 });
  const { grant } = new Grants().open(SOURCE, expiring, moment(0));
  assert.equal(grant.expiresAtMs, START_MS + 12_345);
  assert.equal(grant.endsSteadyMs, moment(12_345).steadyMs);
  const later = permission("alice", ["22/tcp"], { expiresAtMs: START_MS + 99_999 });
  assert.equal(new Grants().open(SOURCE, later, moment(0)).grant.expiresAtMs, START_MS + 30_000);
});

Deno.test("Grants.open() keeps clients and addresses apart, an IPv4-mapped one being the IPv4 one", () => {
  const grants = new Grants();
  const open = (client: string, where: Address) =>
    grants.open(where, permission(client, ["22/tcp"]), moment(0)).renewed;
  assert.equal(open("alice", SOURCE), false);
  assert.equal(open("bob", SOURCE), false);
  assert.equal(open("alice", ELSEWHERE), false);
  assert.equal(open("alice", address(`::ffff:${formatAddress(SOURCE)}`)), true);
  assert.equal(grants.size, 3);
});

Deno.test("Grants.takeExpired() takes a grant from the very moment it ends, once", () => {
  const grants = new Grants();
  const { grant } = grants.open(SOURCE, permission("alice", ["22/tcp"]), moment(0));
  const longer = permission("bob", ["22/tcp"], { lifetimeMs: 60_000 });
  grants.open(SOURCE, longer, moment(0));
  assert.deepEqual(grants.takeExpired(moment(29_999)), []);
  assert.deepEqual(grants.takeExpired(moment(30_000)), [grant]);
  assert.deepEqual(grants.takeExpired(moment(30_000)), []);
  assert.deepEqual([...grants.list()].map(({ client }) => client), ["bob"]);
});

Deno.test("a step of the wall clock neither ends nor lengthens a grant", () => {
  const grants = new Grants();
  grants.open(SOURCE, permission("alice", ["22/tcp"]), moment(0));
  const { steadyMs } = moment(29_999);
  for (const { wallNs } of [moment(86_400_000), moment(-86_400_000)]) {
    assert.deepEqual(grants.takeExpired({ wallNs, steadyMs }), []);
    assert.deepEqual(shown(grants.openingsOf(networkOf(SOURCE), { wallNs, steadyMs }).openings), [
      "22/tcp 1",
    ]);
  }
  const stuck = { wallNs: moment(0).wallNs, steadyMs: steadyMs + 1 };
  assert.deepEqual(grants.openingsOf(networkOf(SOURCE), stuck).openings, []);
  assert.equal(grants.takeExpired(stuck).length, 1);
});

Deno.test("Grants.withdraw() takes what is picked and nothing else", () => {
  const grants = new Grants();
  for (
    const [client, where] of [["alice", SOURCE], ["bob", SOURCE], ["alice", ELSEWHERE]] as const
  ) {
    grants.open(where, permission(client, ["22/tcp"]), moment(0));
  }
  const taken = grants.withdraw(({ client }) => client === "alice");
  assert.deepEqual(taken.map((each) => formatNetwork(each.address)).sort(), [
    "198.51.100.20",
    "2001:db8::7",
  ]);
  assert.deepEqual([...grants.list()].map(({ client }) => client), ["bob"]);
  assert.deepEqual(grants.openingsOf(networkOf(ELSEWHERE), moment(0)), {
    address: networkOf(ELSEWHERE),
    openings: [],
  });
  assert.deepEqual(shown(grants.openingsOf(networkOf(SOURCE), moment(0)).openings), [
    "22/tcp 30000",
  ]);
});

Deno.test("Grants.put() replaces a grant and counts it once", () => {
  const grants = new Grants({ total: 2, perClient: 2, perAddress: 2 });
  const { grant } = grants.open(SOURCE, permission("alice", ["22/tcp"]), moment(0));
  const put: Grant = { ...grant, endsSteadyMs: grant.endsSteadyMs + 5 };
  grants.put(put);
  grants.put(put);
  assert.deepEqual([...grants.list()], [put]);
  assert.equal(grants.size, 1);
  assert.equal(grants.hasRoom("alice", ELSEWHERE), true);
});

Deno.test("the caps are 65,536 in all, 256 a client and 256 an address", () => {
  assert.deepEqual(GRANT_CAPS, { total: 65_536, perClient: 256, perAddress: 256 });
  const grants = new Grants();
  for (let i = 0; i < 256; i++) {
    assert.equal(grants.hasRoom("alice", address(`10.0.0.${i}`)), true);
    grants.open(address(`10.0.0.${i}`), permission("alice", ["22/tcp"]), moment(0));
  }
  assert.equal(grants.hasRoom("alice", address("10.0.1.0")), false);
  assert.equal(grants.hasRoom("bob", address("10.0.1.0")), true);
});

Deno.test("Grants.hasRoom() holds each cap by itself; a renewal always fits", () => {
  const three = [["alice", SOURCE], ["bob", SOURCE], ["alice", ELSEWHERE]] as const;
  const roomy = { total: 9, perClient: 9, perAddress: 9 };
  const third = address("203.0.113.3");
  const rows = [
    { caps: roomy, client: "carol", where: SOURCE, expected: true },
    { caps: { ...roomy, total: 3 }, client: "carol", where: third, expected: false },
    { caps: { ...roomy, total: 3 }, client: "bob", where: SOURCE, expected: true },
    { caps: { ...roomy, total: 4 }, client: "carol", where: third, expected: true },
    { caps: { ...roomy, perClient: 2 }, client: "alice", where: third, expected: false },
    { caps: { ...roomy, perClient: 2 }, client: "alice", where: ELSEWHERE, expected: true },
    { caps: { ...roomy, perClient: 2 }, client: "bob", where: third, expected: true },
    { caps: { ...roomy, perAddress: 2 }, client: "carol", where: SOURCE, expected: false },
    { caps: { ...roomy, perAddress: 2 }, client: "bob", where: SOURCE, expected: true },
    { caps: { ...roomy, perAddress: 2 }, client: "carol", where: ELSEWHERE, expected: true },
  ];
  for (const [i, { caps, client, where, expected }] of rows.entries()) {
    const grants = new Grants(caps);
    for (const [each, at] of three) grants.open(at, permission(each, ["22/tcp"]), moment(0));
    assert.equal(grants.hasRoom(client, where), expected, `row ${i + 1}`);
  }
});

Deno.test("what has ended or was withdrawn makes room", () => {
  const grants = new Grants({ total: 1, perClient: 1, perAddress: 1 });
  grants.open(SOURCE, permission("alice", ["22/tcp"]), moment(0));
  assert.equal(grants.hasRoom("bob", ELSEWHERE), false);
  grants.takeExpired(moment(30_000));
  assert.equal(grants.hasRoom("bob", ELSEWHERE), true);
  grants.open(ELSEWHERE, permission("bob", ["22/tcp"]), moment(30_000));
  assert.equal(grants.hasRoom("bob", SOURCE), false);
  grants.withdraw(() => true);
  assert.equal(grants.hasRoom("bob", SOURCE), true);
  assert.equal(grants.size, 0);
});

Deno.test("Grants counts as a plain list would", () => {
  const caps = { total: 5, perClient: 3, perAddress: 2 };
  const steps = fc.array(
    fc.record({
      kind: fc.constantFrom("open", "open", "open", "expire", "withdraw"),
      client: fc.constantFrom("alice", "bob", "carol"),
      where: fc.constantFrom("192.0.2.1", "192.0.2.2", "2001:db8::1"),
      afterMs: fc.nat(15_000),
    }),
    { maxLength: 30, size: "max" },
  );
  fc.assert(fc.property(steps, (all) => {
    const grants = new Grants(caps);
    let model: { client: string; where: string; endsMs: number }[] = [];
    let nowMs = 0;
    for (const { kind, client, where, afterMs } of all) {
      nowMs += afterMs;
      const isSame = (each: typeof model[number]) => each.client === client && each.where === where;
      const room = model.some(isSame) ||
        model.length < 5 && model.filter((each) => each.client === client).length < 3 &&
          model.filter((each) => each.where === where).length < 2;
      assert.equal(grants.hasRoom(client, address(where)), room);
      if (kind === "open" && room) {
        grants.open(address(where), permission(client, ["22/tcp"]), moment(nowMs));
        model = [...model.filter((each) => !isSame(each)), {
          client,
          where,
          endsMs: nowMs + 30_000,
        }];
      } else if (kind === "expire") {
        const expected = model.filter((each) => each.endsMs <= nowMs).length;
        assert.equal(grants.takeExpired(moment(nowMs)).length, expected);
        model = model.filter((each) => each.endsMs > nowMs);
      } else if (kind === "withdraw") {
        grants.withdraw((each) => each.client === client);
        model = model.filter((each) => each.client !== client);
      }
      assert.equal(grants.size, model.length);
      const listed = [...grants.list()].map((each) =>
        `${each.client} ${formatNetwork(each.address)}`
      );
      assert.deepEqual(listed.sort(), model.map((each) => `${each.client} ${each.where}`).sort());
    }
  }));
});

Deno.test("openingsOf() keeps a port open as long as the longest grant that covers it", () => {
  const grants = new Grants();
  grants.open(SOURCE, permission("alice", ["22/tcp", "1-65535/udp"]), moment(0));
  grants.open(SOURCE, permission("bob", ["20-25/tcp", "65535/udp"]), moment(10_000));
  grants.open(ELSEWHERE, permission("bob", ["1-65535/tcp"]), moment(10_000));
  const rows = [
    {
      atMs: 10_000,
      expected: ["20-25/tcp 30000", "1-65534/udp 20000", "65535/udp 30000"],
    },
    { atMs: 30_000, expected: ["20-25/tcp 10000", "65535/udp 10000"] },
    { atMs: 39_999, expected: ["20-25/tcp 1", "65535/udp 1"] },
    { atMs: 40_000, expected: [] },
  ];
  for (const { atMs, expected } of rows) {
    assert.deepEqual(shown(grants.openingsOf(networkOf(SOURCE), moment(atMs)).openings), expected);
  }
  grants.withdraw(({ client }) => client === "bob");
  assert.deepEqual(shown(grants.openingsOf(networkOf(SOURCE), moment(10_000)).openings), [
    "22/tcp 20000",
    "1-65535/udp 20000",
  ]);
});

Deno.test("openingsOf() and allOpenings() agree with a model that looks at every port", () => {
  const port = fc.integer({ min: 1, max: 12 });
  const anySpec = fc.tuple(port, port, fc.constantFrom("", "/tcp", "/udp")).map(([a, b, suffix]) =>
    `${Math.min(a, b)}-${Math.max(a, b)}${suffix}`
  );
  const anyGrant = fc.record({
    client: fc.constantFrom("alice", "bob", "carol", "dave"),
    ports: fc.array(anySpec, { minLength: 1, maxLength: 3 }),
    where: fc.constantFrom(SOURCE, SOURCE, SOURCE, ELSEWHERE),
    lifetimeMs: fc.integer({ min: 1, max: 6 }),
    atMs: fc.nat(4),
  });
  fc.assert(
    fc.property(
      fc.array(anyGrant, { maxLength: 6 }),
      fc.integer({ min: 4, max: 8 }),
      (all, nowMs) => {
        const grants = new Grants();
        const model = new Map<string, { ports: PortRange[]; where: Address; endsMs: number }>();
        for (const { client, ports, where, lifetimeMs, atMs } of all) {
          grants.open(where, permission(client, ports, { lifetimeMs }), moment(atMs));
          model.set(`${client} ${formatAddress(where)}`, {
            ports: ports.flatMap((text) => expandPortSpec(must(parsePortSpec(text)))),
            where,
            endsMs: atMs + lifetimeMs,
          });
        }
        const everywhere = new Map(
          grants.allOpenings(moment(nowMs)).map((each) => [formatNetwork(each.address), each]),
        );
        for (const where of [SOURCE, ELSEWHERE]) {
          const found = grants.openingsOf(networkOf(where), moment(nowMs));
          assertDisjointAndJoined(found.openings);
          const here = [...model.values()].filter((each) => each.where === where);
          for (const protocol of ["tcp", "udp"] as const) {
            for (let number = 1; number <= 13; number++) {
              const covers = (each: PortRange) =>
                each.protocol === protocol && each.first <= number && number <= each.last;
              const left = here.filter(({ ports }) => ports.some(covers))
                .map(({ endsMs }) => endsMs - nowMs);
              const opening = found.openings.find(covers);
              assert.equal(opening?.timeoutMs ?? 0, Math.max(0, ...left), `${number}/${protocol}`);
            }
          }
          const alsoFound = everywhere.get(formatAddress(where));
          assert.deepEqual(alsoFound, found.openings.length > 0 ? found : undefined);
        }
      },
    ),
    { numRuns: 500 },
  );
});

const WIDE = { prefix: { v4: 24, v6: 64 } };

Deno.test("Grants.open() opens the network around the address where the client has a prefix", () => {
  const grants = new Grants();
  const { grant } = grants.open(SOURCE, permission("alice", ["22/tcp"], WIDE), moment(0));
  assert.equal(formatNetwork(grant.address), "198.51.100.0/24");
  const neighbour = address("198.51.100.99");
  const again = grants.open(neighbour, permission("alice", ["22/tcp"], WIDE), moment(10_000));
  assert.equal(again.renewed, true, "the same network from another address");
  assert.equal(grants.size, 1);
  const { grant: other } = grants.open(
    address("2001:db8::7"),
    permission("alice", ["22/tcp"], WIDE),
    moment(0),
  );
  assert.equal(formatNetwork(other.address), "2001:db8::/64");
});

Deno.test("Grants.at() finds the grants of every network that the address lies in", () => {
  const grants = new Grants();
  const open = (client: string, v4: number) =>
    grants.open(SOURCE, permission(client, ["22/tcp"], { prefix: { v4, v6: 64 } }), moment(0));
  for (const [client, v4] of [["alice", 32], ["bob", 24], ["carol", 28]] as const) open(client, v4);
  const at = (text: string) => grants.at(address(text)).map(({ client }) => client).sort();
  assert.deepEqual(at("198.51.100.20"), ["alice", "bob", "carol"]);
  assert.deepEqual(at("198.51.100.21"), ["bob", "carol"]);
  assert.deepEqual(at("198.51.100.99"), ["bob"]);
  assert.deepEqual(at("198.51.101.20"), []);
  assert.deepEqual(at("2001:db8::7"), []);
  grants.withdraw(({ client }) => client === "carol");
  assert.deepEqual(at("198.51.100.21"), ["bob"]);
});

Deno.test("an address and a network around it are apart: openings, ends and caps", () => {
  const grants = new Grants({ total: 9, perClient: 9, perAddress: 1 });
  grants.open(SOURCE, permission("alice", ["22/tcp"], WIDE), moment(0));
  assert.equal(grants.hasRoom("bob", SOURCE), true);
  assert.equal(grants.hasRoom("bob", SOURCE, WIDE.prefix), false, "one for this network");
  assert.equal(grants.hasRoom("alice", address("198.51.100.99"), WIDE.prefix), true, "a renewal");
  assert.equal(grants.hasRoom("alice", address("198.51.101.1"), WIDE.prefix), true);
  grants.open(SOURCE, permission("bob", ["80/tcp"]), moment(10_000));
  const all = grants.allOpenings(moment(10_000)).map((each) =>
    `${formatNetwork(each.address)} ${shown(each.openings)}`
  );
  assert.deepEqual(all.sort(), ["198.51.100.0/24 22/tcp 20000", "198.51.100.20 80/tcp 30000"]);
  grants.takeExpired(moment(30_000));
  assert.deepEqual([...grants.list()].map(({ client }) => client), ["bob"]);
});

Deno.test("a network's knocks are counted: the first since it was closed, and the latest", () => {
  const grants = new Grants();
  const knock = (client: string, atMs: number) => {
    const { grant } = grants.open(SOURCE, permission(client, ["22/tcp"], WIDE), moment(atMs));
    return grants.openingsOf(grant.address, moment(atMs)).knocks;
  };
  assert.deepEqual(knock("alice", 0), { first: 1, latest: 1 });
  assert.deepEqual(knock("alice", 10_000), { first: 1, latest: 2 });
  assert.deepEqual(knock("bob", 20_000), { first: 1, latest: 3 });
  grants.withdraw(({ client }) => client === "bob");
  const place = networkOf(SOURCE, 24);
  assert.deepEqual(grants.openingsOf(place, moment(20_000)).knocks, { first: 1, latest: 3 });
  assert.deepEqual(knock("alice", 40_000), { first: 4, latest: 4 }, "ended, though not swept");
  const [grant] = grants.withdraw(() => true);
  assert.deepEqual(knock("alice", 40_001), { first: 5, latest: 5 });

  const resumed = new Grants();
  resumed.put(must(grant));
  assert.deepEqual(resumed.openingsOf(place, moment(40_000)).knocks, { first: 0, latest: 0 });
  resumed.open(SOURCE, permission("alice", ["22/tcp"], WIDE), moment(40_000));
  assert.deepEqual(resumed.openingsOf(place, moment(40_000)).knocks, { first: 0, latest: 1 });
  assert.equal(grants.openingsOf(networkOf(SOURCE), moment(0)).knocks, undefined);
});

/** Sorted, disjoint, and no two neighbours that could be one. */
function assertDisjointAndJoined(openings: readonly Opening[]): void {
  for (const [i, opening] of openings.entries()) {
    assert.ok(opening.first <= opening.last && opening.timeoutMs > 0);
    const next = openings[i + 1];
    if (next === undefined) continue;
    if (next.protocol !== opening.protocol) {
      assert.ok(opening.protocol < next.protocol, "tcp first");
      continue;
    }
    assert.ok(next.first > opening.last, "disjoint and sorted");
    assert.ok(next.first > opening.last + 1 || next.timeoutMs !== opening.timeoutMs, "joined");
  }
}
