/** The pf backend against a stand-in: what it says to pfctl, to the letter, and what it refuses. */

import assert from "node:assert/strict";
import { DEFAULT_MARK } from "../../../lib/config/firewall.ts";
import type { ClientOpenings } from "../../../lib/firewall/backend.ts";
import type { GuardPlan } from "../../../lib/firewall/plan.ts";
import { createPfBackend } from "../../../lib/firewall/pf/backend.ts";
import type { PortRange } from "../../../lib/values/ports.ts";
import { type RunProgram, runProgram } from "../../../lib/system/run_program.ts";
import { createPfStandIn, type PfStandIn } from "../../e2e/pf_stand_in.ts";
import { waitFor } from "../../support/wait.ts";
import { network } from "../../support/knocks.ts";

const SSH: PortRange = { protocol: "tcp", first: 22, last: 22 };
const WEB: PortRange = { protocol: "tcp", first: 8080, last: 8090 };
const DNS: PortRange = { protocol: "udp", first: 53, last: 53 };

const PLAN: GuardPlan = {
  knockPort: 54154,
  guardedPorts: [SSH, WEB, DNS],
  forwardedPorts: [],
  dropPorts: true,
  closedAs: "drop",
  openKnockPort: true,
  onlyStampedKnocks: false,
  interface: undefined,
  mark: DEFAULT_MARK,
  prefixes: [],
  lifetimeMs: 30_000,
};

function opening(address: string, timeoutMs: number, ...ranges: PortRange[]): ClientOpenings {
  return {
    address: network(address),
    openings: ranges.map((range) => ({ ...range, timeoutMs })),
    clients: ["alice"],
  };
}

async function withPf(
  body: (pf: PfStandIn, run: RunProgram) => Promise<void>,
): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "openme-pf-" });
  const pf = createPfStandIn(dir);
  try {
    await body(pf, (call) => runProgram({ ...call, program: pf.path }));
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const test = (name: string, fn: () => Promise<void>) => {
  Deno.test({ name, ignore: Deno.build.os === "windows", fn });
};

test("the pf backend loads anchor, tables and rules in one go, and then only changes tables", () =>
  withPf(async (pf, run) => {
    const backend = createPfBackend(PLAN, run);
    await backend.install([
      opening("192.0.2.7", 60_000, SSH, WEB),
      opening("2001:db8::7", 60_000, SSH),
    ]);
    await backend.apply([opening("198.51.100.9", 60_000, SSH)]);
    await backend.apply([opening("192.0.2.7", 60_000, SSH)]);
    await backend.remove();
    assert.deepEqual(pf.calls(), [
      "-s info\n",
      "-s rules\n",
      `-a openme -f -
  table <openme_tcp_22_22> persist { 192.0.2.7, 2001:db8::7 }
  table <openme_tcp_8080_8090> persist { 192.0.2.7 }
  pass in quick on ! lo0 proto udp from any to (self) port 54154 no state
  pass in quick on ! lo0 proto tcp from <openme_tcp_22_22> to (self) port 22 flags S/SA keep state
  pass in quick on ! lo0 proto tcp from <openme_tcp_8080_8090> to (self) port 8080:8090 flags S/SA keep state
  block drop in quick on ! lo0 proto tcp from any to (self) port 22
  block drop in quick on ! lo0 proto tcp from any to (self) port 8080:8090
  block drop in quick on ! lo0 proto udp from any to (self) port 53
`,
      "-a openme -s rules\n",
      "-a openme -s Tables\n",
      "-a openme -t openme_tcp_22_22 -T add 198.51.100.9\n",
      "-a openme -t openme_tcp_8080_8090 -T delete 192.0.2.7\n",
      "-a openme -F rules\n",
      "-a openme -s Tables\n",
      "-a openme -t openme_tcp_22_22 -T kill\n",
      "-a openme -t openme_tcp_8080_8090 -T kill\n",
    ]);
  }));

test("the pf backend keeps to an interface, refuses as closed ports do, and guards what is forwarded", () =>
  withPf(async (pf, run) => {
    const backend = createPfBackend({
      ...PLAN,
      guardedPorts: [SSH, DNS],
      forwardedPorts: [DNS],
      closedAs: "reject",
      openKnockPort: false,
      interface: "em0",
    }, run);
    await backend.install([opening("192.0.2.7", 60_000, SSH, DNS)]);
    await backend.leave();
    const loads = pf.calls().filter((call) => call.startsWith("-a openme -f -"));
    assert.deepEqual(loads, [
      `-a openme -f -
  table <openme_tcp_22_22> persist { 192.0.2.7 }
  table <openme_udp_53_53> persist { 192.0.2.7 }
  pass in quick on em0 proto tcp from <openme_tcp_22_22> to (self) port 22 flags S/SA keep state
  pass in quick on em0 proto udp from <openme_udp_53_53> to any port 53 keep state
  block return in quick on em0 proto tcp from any to (self) port 22
  block return in quick on em0 proto udp from any to (self) port 53
  block return in quick on em0 proto udp from any to ! (self) port 53
`,
      `-a openme -f -
  block return in quick on em0 proto tcp from any to (self) port 22
  block return in quick on em0 proto udp from any to (self) port 53
  block return in quick on em0 proto udp from any to ! (self) port 53
`,
    ]);
  }));

test("the pf backend never guards the knock port", () =>
  withPf(async (pf, run) => {
    const wide: PortRange = { protocol: "udp", first: 54000, last: 55000 };
    await createPfBackend({ ...PLAN, guardedPorts: [wide], openKnockPort: false }, run).install([]);
    const load = pf.calls().find((call) => call.startsWith("-a openme -f -"));
    assert.equal(
      load,
      `-a openme -f -
  block drop in quick on ! lo0 proto udp from any to (self) port 54000:54153
  block drop in quick on ! lo0 proto udp from any to (self) port 54155:55000
`,
    );
    assert.ok(pf.passes({ protocol: "udp", from: "192.0.2.7", port: 54154 }));
  }));

test("the pf backend ends openings by its own timers", () =>
  withPf(async (pf, run) => {
    const backend = createPfBackend(PLAN, run);
    await backend.install([]);
    await backend.apply([opening("192.0.2.7", 1500, SSH)]);
    const packet = { protocol: "tcp", from: "192.0.2.7", port: 22 } as const;
    assert.ok(pf.passes(packet));
    await waitFor("the opening to end", () => !pf.passes(packet));
    assert.ok(await backend.isIntact());
    assert.deepEqual(await backend.list(), []);
  }));

test("the pf backend says which line pf.conf lacks, and that pf is not enabled", () =>
  withPf(async (pf, run) => {
    pf.setMachine({ rules: 'anchor "com.apple/*" all\npass all\n' });
    await assert.rejects(createPfBackend(PLAN, run).install([]), {
      code: "FIREWALL",
      message: 'pf.conf does not call the anchor "openme"',
      hint:
        'add the line anchor "openme" to pf.conf before your own filter rules, then: pfctl -f /etc/pf.conf',
    });
    pf.setMachine({ info: "Status: Disabled for 0 days\n" });
    await assert.rejects(createPfBackend(PLAN, run).install([]), {
      code: "FIREWALL",
      message: "pf is not enabled, and guards nothing",
    });
    assert.ok(!pf.calls().some((call) => call.includes("-f -")), "nothing was loaded");
  }));

test("the pf backend sees that its rules, or the call to its anchor, are gone", () =>
  withPf(async (pf, run) => {
    const backend = createPfBackend(PLAN, run);
    await backend.install([]);
    assert.ok(await backend.isIntact());
    pf.setMachine({ rules: "pass all\n" });
    assert.equal(await backend.isIntact(), false);
  }));
