/** Ports that only a client names are kept in a group: `keepGuarded()`, and which ports stay guarded without clients. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { isGuardedGroup, keepGuarded, removeClient } from "../../lib/config/edit_server.ts";
import { lastingPorts, parseServerConfig } from "../../lib/config/server.ts";
import { formatPortRange, includesPortRanges, subtractPortRanges } from "../../lib/values/ports.ts";
import { ALICE_PUBLIC, OTHER_PUBLIC, serverYaml } from "../support/server_yaml.ts";
import { anyRange, ranges } from "../firewall/support.ts";

const clients = (alice: string) =>
  `clients: # who\n  alice:\n    ed25519_pubkey: ${ALICE_PUBLIC}\n    allowed_ports: ${alice} # hers`;

interface Row {
  readonly why: string;
  readonly ports: string;
  readonly alice?: string;
  /** What becomes of the lines in `ports`; the rest of the file stays to the byte. */
  readonly after: string;
  readonly group?: string;
}

const ROWS: readonly Row[] = [
  {
    why: "beside other groups, with their comments",
    ports: "ports:   # some\n  ssh: [ 22/tcp ]   # one\n  # below ssh",
    after:
      "ports:   # some\n  ssh: [ 22/tcp ]   # one\n  guarded: [8080/tcp, 53/udp]\n  # below ssh",
  },
  {
    why: "at the end of the group that is there",
    ports: "ports:\n  guarded: [ '80/tcp',  443/tcp ]   # kept\n  ssh: [22/tcp]",
    after: "ports:\n  guarded: [ '80/tcp',  443/tcp, 8080/tcp, 53/udp ]   # kept\n  ssh: [22/tcp]",
  },
  {
    why: "instead of an empty map",
    ports: "ports: {} # none",
    after: "ports: # none\n  guarded: [8080/tcp, 53/udp]",
  },
  {
    why: "in another group where a client has that one",
    ports: "ports:\n  guarded: [80/tcp]",
    alice: "[guarded]",
    after: "ports:\n  guarded: [80/tcp]\n  guarded-2: [8080/tcp, 53/udp]",
    group: "guarded-2",
  },
  {
    why: "in another group where that one is guarded in forwarded traffic",
    ports: "ports:\n  guarded: {ports: [80/tcp], guard: {forward: true}}",
    after:
      "ports:\n  guarded: {ports: [80/tcp], guard: {forward: true}}\n  guarded-2: [8080/tcp, 53/udp]",
    group: "guarded-2",
  },
];

for (const { why, ports, alice = "[8080/tcp, 53/udp]", after, group = "guarded" } of ROWS) {
  Deno.test(`keepGuarded() puts ports ${why}, and leaves every other byte alone`, () => {
    const before = serverYaml({ rest: `${ports}\n\n# clients\n${clients(alice)}\n# the end` });
    assert.deepEqual(keepGuarded(before, ranges("8080/tcp", "53/udp")), {
      group,
      text: before.replace(ports, after),
    });
    assert.ok(isGuardedGroup(group));
  });
}

Deno.test("keepGuarded() makes the section, and adds to a list in lines", () => {
  const without = serverYaml({ rest: clients("[8080/tcp]") });
  const { text } = keepGuarded(without, ranges("8080/tcp"));
  assert.equal(text, `${without}ports:\n  guarded: [8080/tcp]\n`);
  const lines = without + "ports:\n  guarded:\n    - 80/tcp # one\n    # two\n";
  const added = keepGuarded(lines, ranges("8080/tcp")).text;
  assert.match(added, /- 80\/tcp # one\n {4}- 8080\/tcp\n/);
  assert.match(added, /# two/);
});

Deno.test("keepGuarded() looks through aliases for clients that have the group", () => {
  const text = serverYaml({
    rest: `ports:\n  guarded: [80/tcp]\n${clients("&both [guarded]")}
  bob: {ed25519_pubkey: ${OTHER_PUBLIC}, allowed_ports: *both}`,
  });
  assert.equal(keepGuarded(text, ranges("8080/tcp")).group, "guarded-2");
});

Deno.test("what keepGuarded() has kept stays guarded when the last client goes, and no client gets it", () => {
  fc.assert(
    fc.property(fc.array(anyRange, { minLength: 1, maxLength: 4 }), (wanted) => {
      const specs = wanted.map(formatPortRange).join(", ");
      const before = serverYaml({
        rest: `ports:\n  ssh: [22/tcp]\n${clients(`[${specs}]`)}
  bob: {ed25519_pubkey: ${OTHER_PUBLIC}, allowed_ports: [ssh]}`,
      });
      const config = parseServerConfig(before, "");
      const left = subtractPortRanges(config.guardedPorts, lastingPorts(config));
      if (left.length === 0) return;
      const kept = keepGuarded(before, left).text;
      const after = parseServerConfig(removeClient(kept, "alice"), "");
      assert.ok(includesPortRanges(after.guardedPorts, config.guardedPorts));
      assert.deepEqual(
        parseServerConfig(kept, "").clients.map(({ ports }) => ports),
        config.clients.map(({ ports }) => ports),
      );
    }),
    { numRuns: 100 },
  );
});
