/** Edits of one client among others: its own lines go or come, and every other byte stays. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { clientLinesOf } from "../../lib/config/client_lines.ts";
import { insertEntry, keepGuarded, removeClient } from "../../lib/config/edit_server.ts";
import { parseYaml } from "../../lib/config/yaml.ts";
import { ranges } from "../firewall/support.ts";

const CLIENTS = {
  first: `  alice:
    ed25519_pubkey: a # her key
    # deeper than the name
`,
  second: `  "bob":   # at bob
      allowed_ports:
      - ssh
      - 'web'
      expires:
      # the end of bob
`,
  third: `  carol: {allowed_ports: [ssh]}
`,
};
const BEFORE = `# Jürgen's \u2028 server
server: {host: a} # x
clients: # all of them
  # above alice
`;
const BETWEEN = `
  # team B

  # above bob
`;
const AFTER = `  # below carol

ports:
  # one
  ssh: [22/tcp]
`;
const { first, second, third } = CLIENTS;
const FILE = `${BEFORE}${first}${BETWEEN}${second}${third}${AFTER}`;

Deno.test("clientLinesOf() finds each client with what is indented below its name", () => {
  const found = clientLinesOf(FILE)?.map(({ name, from, to }) => [name, FILE.slice(from, to)]);
  assert.deepEqual(found, [["alice", first], ["bob", second], ["carol", third]]);
  assert.deepEqual(clientLinesOf("server: {host: a}\n"), []);
  assert.deepEqual(clientLinesOf("clients: {a: {}}\n"), []);
  assert.equal(clientLinesOf(FILE.replace("[ssh]", "&x [ssh]")), undefined);
});

Deno.test("removeClient() takes the client's own lines, and leaves every other byte", () => {
  assert.equal(removeClient(FILE, "alice"), `${BEFORE}${BETWEEN}${second}${third}${AFTER}`);
  assert.equal(removeClient(FILE, "bob"), `${BEFORE}${first}${BETWEEN}${third}${AFTER}`);
  assert.equal(removeClient(FILE, "carol"), `${BEFORE}${first}${BETWEEN}${second}${AFTER}`);
  const endless = `clients:\n${first}${third}`.trimEnd();
  assert.equal(removeClient(endless, "carol"), `clients:\n${first}`);
});

Deno.test("removeClient() of the only client leaves an empty map", () => {
  assert.equal(removeClient("clients:\n  alice: {}\n", "alice"), "clients: {}\n");
});

Deno.test("a client or a group is put into a file of many clients as lines", () => {
  assert.equal(
    insertEntry(FILE, "clients", "dave", { allowed_ports: ["ssh"] }),
    FILE.replace(third, `${third}  dave:\n    allowed_ports: [ssh]\n`),
  );
  const kept = keepGuarded(FILE, ranges("80/tcp"));
  assert.equal(kept.text, `${FILE}  guarded: [80/tcp]\n`);
  const ports = FILE.slice(FILE.indexOf("ports:\n  # one"));
  const portsFirst = ports + FILE.replace(ports, "");
  assert.equal(
    keepGuarded(portsFirst, ranges("80/tcp")).text,
    portsFirst.replace(ports, `${ports}  guarded: [80/tcp]\n`),
  );
});

Deno.test("without a client the file means the same without it, however it is written", () => {
  const lines = FILE.split("\n");
  const place = fc.nat({ max: lines.length - 1 });
  const name = fc.constantFrom("alice", "bob", "carol");
  let removed = 0;
  fc.assert(
    fc.property(place, place, fc.integer({ min: -4, max: 4 }), name, (from, to, by, name) => {
      const line = lines[from]!;
      const indent = Math.max(0, line.length - line.trimStart().length + by);
      const moved = lines.toSpliced(from, 1);
      const text = moved.toSpliced(to, 0, " ".repeat(indent) + line.trimStart()).join("\n");
      const own = clientLinesOf(text)?.find((each) => each.name === name);
      if (!own) return;
      removed++;
      const expected = parseYaml(text) as Map<string, unknown>;
      const clients = expected.get("clients") as Map<string, unknown>;
      assert.ok(clients.delete(name), text);
      assert.deepEqual(parseYaml(removeClient(text, name)), expected, text);
    }),
    { numRuns: 2000 },
  );
  assert.ok(removed > 100);
});
