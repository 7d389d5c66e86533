/** What the tests of the firewall share: plans, openings, and text that is pinned in files. */

import type { HostChain } from "../../lib/firewall/host/chain.ts";
import { type HostTable, parseHostTable } from "../../lib/firewall/host/read_iptables.ts";
import assert from "node:assert/strict";
import fc from "fast-check";
import type { Address } from "../../lib/values/address.ts";
import type { ClientOpenings } from "../../lib/firewall/backend.ts";
import type { GuardPlan } from "../../lib/firewall/plan.ts";
import type { Opening } from "../../lib/values/openings.ts";
import { expandPortSpec, parsePortSpec, type PortRange } from "../../lib/values/ports.ts";
import { DEFAULT_MARK } from "../../lib/config/firewall.ts";
import { address, anyAddress, must, network } from "../support/knocks.ts";

/** The ranges that texts such as `22/tcp` mean. */
export function ranges(...texts: string[]): PortRange[] {
  return texts.flatMap((text) => expandPortSpec(must(parsePortSpec(text))));
}

/** A plan with what a test wants otherwise. */
export function planOf(plan: Partial<GuardPlan> = {}): GuardPlan {
  return {
    knockPort: 54154,
    guardedPorts: ranges("22/tcp", "8080-8090/tcp", "54154/tcp", "53/udp"),
    forwardedPorts: [],
    dropPorts: true,
    closedAs: "drop",
    openKnockPort: true,
    onlyStampedKnocks: false,
    interface: undefined,
    mark: DEFAULT_MARK,
    prefixes: [],
    lifetimeMs: 30_000,
    ...plan,
  };
}

/** What an address may reach, each for its time in ms. */
export function openings(at: string, ports: Readonly<Record<string, number>>): ClientOpenings {
  return {
    clients: ["alice"],
    address: network(at),
    openings: Object.entries(ports).flatMap(([text, timeoutMs]) =>
      ranges(text).map((range): Opening => ({ ...range, timeoutMs }))
    ),
  };
}

/** Compares a text with the file that pins it; with `OPENME_GOLDEN=write` writes the file instead. */
export async function assertGolden(name: string, text: string): Promise<void> {
  const path = new URL(`./golden/${name}`, import.meta.url);
  if (Deno.env.get("OPENME_GOLDEN") === "write") return await Deno.writeTextFile(path, text);
  assert.equal(text, await Deno.readTextFile(path), `differs from tests/firewall/golden/${name}`);
}

/** Some addresses, of which some are the same. */
export const fewAddresses: fc.Arbitrary<Address> = fc.oneof(
  fc.constantFrom("198.51.100.20", "10.0.0.1", "2001:db8::7", "fe80::1").map(address),
  anyAddress,
);

/** Any range of ports of one protocol. */
export const anyRange: fc.Arbitrary<PortRange> = fc.record({
  protocol: fc.constantFrom("tcp" as const, "udp" as const),
  a: fc.integer({ min: 1, max: 65535 }),
  size: fc.oneof(fc.constant(0), fc.nat(20), fc.nat(65535)),
}).map(({ protocol, a, size }) => ({ protocol, first: a, last: Math.min(65535, a + size) }));

/** The chains of what `iptables -t TABLE -S` prints. */
export function parseTable(family: "ip" | "ip6", table: HostTable, listing: string): HostChain[] {
  return parseHostTable("iptables", { family, table }, listing);
}

export function parseFilterChains(family: "ip" | "ip6", listing: string): HostChain[] {
  return parseTable(family, "filter", listing);
}
