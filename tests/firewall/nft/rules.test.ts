/** The rule text: pinned to the byte, taken by the real nft, and nothing but what its values can print. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { type GuardPlan, INTERFACE_PATTERN, type Prefix } from "../../../lib/firewall/plan.ts";
import type { Connection } from "../../../lib/firewall/host/sockets.ts";
import {
  type NetworkNotes,
  renderForgetting,
  renderNetworks,
} from "../../../lib/firewall/nft/prefix_rules.ts";
import {
  parseGranted,
  parseKnockCounters,
  parseOwner,
  parsePortSet,
  renderRemoval,
  renderTable,
} from "../../../lib/firewall/nft/rules.ts";
import { elementsBySet, openingSets, renderContents } from "../../../lib/firewall/nft/sets.ts";
import { renderExtending } from "../../../lib/firewall/nft/extending.ts";
import type { ClientOpenings } from "../../../lib/firewall/backend.ts";
import { renderStamps } from "../../../lib/firewall/nft/stamps.ts";
import type { AddressOpenings } from "../../../lib/grants.ts";
import { formatNetwork, networkOf } from "../../../lib/values/network.ts";
import { mergePortRanges, type PortRange } from "../../../lib/values/ports.ts";
import { address, network } from "../../support/knocks.ts";
import { namespaceTest } from "../namespace.ts";
import { anyRange, assertGolden, fewAddresses, openings, planOf, ranges } from "../support.ts";

const NOTHING = { openings: [], kept: [], hole: false };

function connection(
  remote: string,
  remotePort: number,
  local: string,
  localPort: number,
): Connection {
  return { remote: address(remote), remotePort, local: address(local), localPort };
}

const GRANTED = [
  openings("198.51.100.20", { "22/tcp": 30_000, "8080-8090/tcp": 12_345.9, "53/udp": 0.4 }),
  openings("2001:db8::7", { "1-65535/udp": 86_400_000 }),
  openings("10.0.0.1", { "22/tcp": 1000 }),
];
const STAMPS = [{ word: 0x8c17cd4b, timeoutMs: 93_000 }, { word: 7, timeoutMs: 1 }];
const NETWORKS = [
  openings("198.51.100.0/24", { "22/tcp": 30_000 }),
  openings("198.51.96.0/20", { "22/tcp": 20_000, "8080-8090/tcp": 20_000 }),
  openings("2001:db8::/64", { "53/udp": 30_000 }),
];
const KEPT = [
  connection("198.51.100.20", 50_000, "192.0.2.1", 22),
  connection("198.51.100.21", 1, "192.0.2.1", 8080),
  connection("2001:db8::7", 65_535, "2001:db8::1", 22),
];

const EXTENDING = planOf({ activeMs: 30_000, prefixes: [{ family: 6, length: 64 }] });
const EXTENDED = [
  openings("198.51.100.20", { "22/tcp": 30_000 }),
  extended("198.51.100.20", { "22/tcp": 28_800_000, "8080-8090/tcp": 28_800_000 }),
  extended("2001:db8::/64", { "53/udp": 3_600_000 }),
];

/** What an address may reach while it is active. */
function extended(at: string, ports: Readonly<Record<string, number>>): ClientOpenings {
  const { openings: all, ...rest } = openings(at, ports);
  return { ...rest, openings: all.map((opening) => ({ ...opening, whileActive: true as const })) };
}

/** The table with its part for networks. */
function tableFor(
  plan: GuardPlan,
  state: Parameters<typeof renderTable>[1],
  notes: readonly NetworkNotes[] = [],
): string {
  return renderTable(plan, { ...state, further: renderNetworks(plan, state.openings, notes) });
}

/** Each file in golden/ and what renders it. */
const TEXTS: Record<string, string> = {
  "drop_ports.nft": renderTable(planOf(), NOTHING),
  "host_firewall.nft": renderTable(planOf({ dropPorts: false }), { ...NOTHING, hole: true }),
  "both.nft": renderTable(planOf({ openKnockPort: false }), { ...NOTHING, hole: true }),
  "everything.nft": renderTable(planOf({ interface: "br-0.5@x:1" }), {
    openings: GRANTED,
    kept: KEPT,
    hole: true,
    owner: { pid: 4_194_304, startTicks: "18446744073709551615" },
  }),
  "changes.nft": renderTable(planOf(), { ...NOTHING, openings: GRANTED }) +
    contents([
      openings("198.51.100.20", { "22/tcp": 30_000, "8000-9000/tcp": 30_000 }),
      openings("203.0.113.9", { "22/tcp": 5000 }),
    ], openingSets(4)) + contents([], openingSets(6)),
  "prefixes.nft": tableFor(
    planOf({ prefixes: [{ family: 4, length: 24 }, { family: 6, length: 64 }] }),
    {
      openings: [...GRANTED, ...NETWORKS],
      kept: [],
      hole: true,
    },
    [
      { network: network("198.51.100.0/24"), claimed: true, noted: [address("198.51.100.9")] },
      { network: network("2001:db8::/64"), claimed: false, noted: [] },
    ],
  ) +
    renderForgetting([network("198.51.100.0/24"), network("2001:db8::/64")], [
      {
        network: network("2001:db8::/64"),
        noted: [address("2001:db8::9"), address("2001:db8::a")],
      },
    ]) +
    contents([
      openings("198.51.100.0/24", { "22/tcp": 30_000 }),
      openings("2001:db8::/64", { "22/tcp": 30_000 }),
    ], ["prefix4_24", "prefix4_20", "prefix4_20_ranges", "prefix6_64"]),
  "stamps.nft": renderTable(planOf(), { ...NOTHING, stamps: STAMPS }) + renderStamps(STAMPS) +
    renderStamps([]),
  "only_stamped.nft": renderTable(planOf({ onlyStampedKnocks: true }), {
    ...NOTHING,
    stamps: STAMPS,
  }),
  "extended.nft": renderTable(EXTENDING, {
    ...NOTHING,
    hole: true,
    openings: EXTENDED,
    further: renderExtending(EXTENDING, {
      openings: EXTENDED,
      active: new Map([["198.51.100.20", 12_345.6], ["2001:db8::/64", 1000], ["192.0.2.7", 1]]),
      networks: renderNetworks(EXTENDING, EXTENDED, []),
    }),
  }),
  "removal.nft": renderRemoval(),
};

function contents(open: readonly AddressOpenings[], sets: readonly string[]): string {
  return renderContents(sets, elementsBySet(open));
}

for (const [name, text] of Object.entries(TEXTS)) {
  Deno.test(`the rules of ${name} are those of the file`, () => assertGolden(name, text));
}

namespaceTest("nft takes every text, and its table is what was meant", async (namespace) => {
  for (const [name, text] of Object.entries(TEXTS)) {
    await namespace.nft(["-c", "-f", "-"], text);
    await namespace.nft(["-f", "-"], text);
    await namespace.nft(["-f", "-"], text); // once more, over what is there
    const tables = await namespace.nft(["list", "tables"]);
    assert.equal(tables, name === "removal.nft" ? "" : "table inet openme\n", name);
  }
  await namespace.nft(["-f", "-"], TEXTS["everything.nft"]!);
  const listing = await namespace.nft([
    "--stateless",
    "--terse",
    "list",
    "table",
    "inet",
    "openme",
  ]);
  await namespace.nft(["-f", "-"], TEXTS["stamps.nft"]!);
  const counters = await namespace.nft(["list", "chain", "inet", "openme", "knock"]);
  assert.equal(counters.match(/counter packets 0 bytes 0 drop/g)?.length, 5);
  assert.deepEqual(parseKnockCounters(counters), { size: 0, version: 0, rate: 0, unstamped: 0 });
  const counted = (reason: RegExp) =>
    parseKnockCounters(
      counters.split("\n").map((line) =>
        reason.test(line) ? line.replace("packets 0", "packets 7") : line
      )
        .join("\n"),
    );
  assert.equal(counted(/udp length/).size, 7);
  assert.equal(counted(/@th,64,8/).version, 7);
  assert.equal(counted(/@knockers/).rate, 14);
  assert.equal(counted(/@th,328,32/).unstamped, 7);
  assert.deepEqual(parseOwner(listing), { pid: 4_194_304, startTicks: "18446744073709551615" });
  assert.match(listing, /^\t\tiifname != "br-0\.5@x:1" accept$/m);
  assert.match(listing, /^\t\tmeta mark set meta mark & 0xbfffffff$/m);
  assert.match(
    listing,
    /^\t\ttype filter hook prerouting priority (-110|dstnat - 10); policy accept;$/m,
  );
});

Deno.test("parseOwner() finds no owner where there is none", () => {
  for (
    const text of [
      "",
      "table inet openme {\n\tchain guard {\n\t}\n}",
      "chain owner_x_1 {",
      "owner_1_2",
    ]
  ) {
    assert.equal(parseOwner(text), undefined);
  }
});

// Everything that may stand between the braces of a set.
const NUMBER = String.raw`(?:0|[1-9]\d{0,4})`;
const V4 = String.raw`(?:\d{1,3}\.){3}\d{1,3}`;
const V6 = "[0-9a-f:]{2,39}";
const PORT = String.raw`(?:tcp|udp) \. ${NUMBER}`;
const PORTS = String.raw`(?:tcp|udp) \. ${NUMBER}(?:-${NUMBER})?`;
const TIMEOUT = String.raw`timeout [1-9]\d{0,8}ms`;
const list = (element: string) => `${element}(?:, ${element})*`;
const ELEMENTS: Record<string, RegExp> = {
  granted4: new RegExp(`^${list(String.raw`${V4} \. ${PORT} ${TIMEOUT}`)}$`),
  "granted4_ranges": new RegExp(`^${list(String.raw`${V4} \. ${PORTS} ${TIMEOUT}`)}$`),
  granted6: new RegExp(`^${list(String.raw`${V6} \. ${PORT} ${TIMEOUT}`)}$`),
  "granted6_ranges": new RegExp(`^${list(String.raw`${V6} \. ${PORTS} ${TIMEOUT}`)}$`),
  guarded: new RegExp(`^${list(PORTS)}$`),
  forwarded: new RegExp(`^${list(PORTS)}$`),
  kept4: new RegExp(`^${list(String.raw`${V4} \. ${NUMBER} \. ${V4} \. ${NUMBER}`)}$`),
  stamps: new RegExp(`^${list(String.raw`0x[0-9a-f]{1,8} ${TIMEOUT}`)}$`),
  kept6: new RegExp(`^${list(String.raw`${V6} \. ${NUMBER} \. ${V6} \. ${NUMBER}`)}$`),
};

const anyTimeoutMs = fc.oneof(
  fc.integer({ min: 1, max: 86_400_000 }),
  fc.double({ min: 0, max: 1, noNaN: true }),
);

const anyOpenings: fc.Arbitrary<AddressOpenings> = fc.record({
  address: fewAddresses.map((each) => networkOf(each)),
  openings: fc.array(fc.record({ range: anyRange, timeoutMs: anyTimeoutMs }), { maxLength: 4 })
    .map((each) => each.map(({ range, timeoutMs }) => ({ ...range, timeoutMs }))),
});

const anyConnection: fc.Arbitrary<Connection> = fc.tuple(fewAddresses, fewAddresses)
  .filter(([a, b]) => a.family === b.family)
  .chain(([remote, local]) =>
    fc.record({
      remote: fc.constant(remote),
      local: fc.constant(local),
      remotePort: fc.nat(65535),
      localPort: fc.nat(65535),
    })
  );

Deno.test("renderTable() adds nothing to its fixed text but elements of a closed grammar", () => {
  fc.assert(fc.property(
    fc.record({
      interface: fc.option(fc.stringMatching(INTERFACE_PATTERN), { nil: undefined }),
      guardedPorts: fc.array(anyRange, { maxLength: 5 }).map(mergePortRanges),
      forwardedPorts: fc.array(anyRange, { maxLength: 3 }).map(mergePortRanges),
      dropPorts: fc.boolean(),
      closedAs: fc.constantFrom("drop" as const, "reject" as const),
      openKnockPort: fc.boolean(),
      onlyStampedKnocks: fc.boolean(),
      knockPort: fc.integer({ min: 1, max: 65535 }),
      mark: fc.nat(31).map((bit) => (1 << bit) >>> 0),
      lifetimeMs: fc.constant(30_000),
      prefixes: fc.uniqueArray(
        fc.constantFrom<Prefix>(
          { family: 4, length: 24 },
          { family: 4, length: 16 },
          { family: 6, length: 64 },
        ),
        { selector: ({ family, length }) => `${family} ${length}` },
      ),
    }),
    fc.record({
      openings: fc.array(anyOpenings, { maxLength: 4 }),
      kept: fc.array(anyConnection, { maxLength: 3 }),
      hole: fc.boolean(),
      stamps: fc.array(fc.record({
        word: fc.integer({ min: 0, max: 0xffff_ffff }),
        timeoutMs: fc.integer({ min: 1, max: 7_300_000 }),
      })),
    }),
    (plan, state) => {
      const text = tableFor(plan, state);
      const elements: Record<string, string> = {};
      const rest = text.replaceAll(
        /^( {2}set (\w+) \{ type(?:of)? [^={}]*;) elements = \{ ([^{}]*) \} \}$/gm,
        (_, head: string, set: string, inside: string) => {
          elements[set] = inside;
          return head + " }";
        },
      );
      for (const [set, inside] of Object.entries(elements)) {
        assert.match(inside, ELEMENTS[set] ?? /^none$/, set);
      }
      // Without elements it is the text of an empty table; that differs in numbers and a quoted name at most.
      const empty = tableFor({ ...plan, guardedPorts: [], forwardedPorts: [] }, {
        ...state,
        openings: [],
        kept: [],
        stamps: [],
      });
      assert.equal(rest, empty);
      const named = plan.interface === undefined ? undefined : "eth0";
      const plain = tableFor({
        ...plan,
        guardedPorts: [],
        forwardedPorts: [],
        interface: named,
        knockPort: 7,
      }, {
        ...state,
        openings: [],
        kept: [],
        stamps: [],
      });
      assert.equal(
        empty.replaceAll(`iifname != "${plan.interface}" `, `iifname != "eth0" `)
          .replaceAll(`udp dport ${plan.knockPort} `, "udp dport 7 "),
        plain,
      );
    },
  ));
});

Deno.test("renderContents() gives each set all of its openings, and says nothing else", () => {
  const BLOCK = new RegExp(
    String
      .raw`^table inet openme \{ set (\w+) \{ type ipv([46])_addr \. inet_proto \. inet_service; ` +
      String.raw`flags (interval, )?timeout; elements = \{ (.+) \} \}; \}$`,
  );
  const SETS = [...openingSets(4), ...openingSets(6)];
  fc.assert(fc.property(
    fc.uniqueArray(anyOpenings, { maxLength: 4, selector: (each) => formatNetwork(each.address) }),
    (open) => {
      const lines = contents(open, SETS).split("\n").slice(0, -1);
      const flushed = lines.filter((line) => line.startsWith("flush"));
      assert.deepEqual(flushed, SETS.map((set) => `flush set inet openme ${set}`));
      const written: string[] = [];
      for (const [at, line] of lines.entries()) {
        if (line.startsWith("flush")) continue;
        const [, set, family, interval, inside] = BLOCK.exec(line) ?? assert.fail(line);
        assert.equal(lines[at - 1], `flush set inet openme ${set}`);
        assert.equal(set!.startsWith(`granted${family}`), true);
        assert.equal(set!.endsWith("_ranges"), interval !== undefined);
        assert.match(inside!, ELEMENTS[set!]!);
        written.push(...inside!.split(", "));
      }
      const print = ({ protocol, first, last }: PortRange) =>
        `${protocol} . ${first === last ? first : `${first}-${last}`}`;
      const expected = open.flatMap(({ address: each, openings: wanted }) =>
        wanted.map((opening) =>
          `${formatNetwork(each)} . ${print(opening)} timeout ${
            Math.max(1, Math.floor(opening.timeoutMs))
          }ms`
        )
      );
      assert.deepEqual(written.sort(), expected.sort());
    },
  ));
});

Deno.test("renderTable() keeps what is guarded apart from what is not", () => {
  const text = renderTable(planOf({ guardedPorts: ranges("22/tcp") }), NOTHING);
  assert.match(text, /set guarded \{ .* elements = \{ tcp \. 22 \} \}/);
  // With drop_ports the guard's last word is a drop; without, the host's firewall has it.
  assert.match(text, /counter drop\n {2}\}\n\}\n$/);
  const open = renderTable(planOf({ dropPorts: false }), { ...NOTHING, hole: true });
  assert.match(open, /counter accept\n {2}\}\n\}\n$/);
  // Without a hole no mark is touched.
  assert.ok(!text.includes("mark"));
});

Deno.test("ports are read by name, and by number as nft prints them without /etc/protocols", () => {
  const listing = (...concat: unknown[]) =>
    JSON.stringify({ nftables: [{ set: { elem: [{ concat }] } }] });
  for (const [tcp, udp] of [["tcp", "udp"], [6, 17]]) {
    const ports = { protocol: "tcp", first: 22, last: 25 };
    assert.deepEqual(parsePortSet(listing(tcp, { range: [22, 25] })), [ports]);
    assert.deepEqual(parseGranted(listing("192.0.2.1", udp, 53)), [
      { address: "192.0.2.1", ports: [{ protocol: "udp", first: 53, last: 53 }] },
    ]);
  }
  assert.deepEqual(parsePortSet(listing("sctp", 22)), []);
});
