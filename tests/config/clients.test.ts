/** Bad server files: the groups of ports and the clients. Each with the whole error. */

import assert from "node:assert/strict";
import { parseServerConfig } from "../../lib/config/server.ts";
import {
  ALICE_PUBLIC,
  aliceFile,
  BOB_PUBLIC,
  file,
  inAlice,
  NAME_EXPECTED as NAME,
  type Row,
  SERVER_PUBLIC,
  serverFile,
  testRefused,
} from "./support.ts";

const PORT_SPEC = `a port such as "22/tcp"`;
const PORT_OR_GROUP = `a port such as "22/tcp" or a group name`;
const EXPIRY = `a date such as "2027-12-31" or a time such as "2027-12-31T18:00:00Z"`;
const HOURS = `hours such as "Mon-Fri 08:00-18:00 Europe/Berlin"`;
const HOURS_HINT =
  "days such as Mon-Fri or Sat,Sun (none: every day), from and to in 24 hours, and a time zone such as Europe/Berlin or UTC";
const CLIENT_KEY = "the client's Ed25519 public key";

/** Alice with another key. */
function aliceWith(key: string): string {
  return aliceFile().replace(ALICE_PUBLIC, key);
}

const ROWS: readonly Row[] = [
  file("groups in a list", serverFile("ports: [ssh]"), "ports: expected a map, got a list"),
  file(
    "a group without ports",
    serverFile("ports:", "  ssh: []"),
    `ports.ssh: expected a list with ${PORT_SPEC}, got nothing`,
  ),
  file(
    "a group of nothing",
    serverFile("ports:", "  ssh:"),
    `ports.ssh: expected a list with ${PORT_SPEC}, got nothing`,
  ),
  file(
    "a group that is a number",
    serverFile("ports:", "  ssh: 22"),
    "ports.ssh: expected a list, got 22",
  ),
  file(
    "a backward range",
    serverFile("ports:", "  ssh: [22-21]"),
    `ports.ssh[0]: expected ${PORT_OR_GROUP}, got "22-21"`,
    'the lower port goes first: "21-22"',
  ),
  file(
    "a group that there is not in a group",
    serverFile("ports:", "  a: [22]", "  b: [c]"),
    `ports.b[0]: expected ${PORT_OR_GROUP}, got "c"`,
  ),
  file(
    "a group named by a number",
    serverFile("ports:", "  22: [22]"),
    "ports: expected keys that are text, got 22",
  ),
  file(
    "a group with a space",
    serverFile("ports:", "  a b: [22]"),
    `ports: expected ${NAME}, got "a b"`,
  ),

  inAlice(
    "hours without a time zone",
    "hours: Mon-Fri 08:00-18:00",
    `hours: expected ${HOURS}, got "Mon-Fri 08:00-18:00"`,
    HOURS_HINT,
  ),
  inAlice(
    "hours in a list, with a zone that there is not",
    "hours: [Mon 08:00-18:00 UTC, Tue 08:00-18:00 Europe/Atlantis]",
    `hours[1]: expected ${HOURS}, got "Tue 08:00-18:00 Europe/Atlantis"`,
    HOURS_HINT,
  ),
  inAlice(
    "no hours at all",
    "hours: []",
    "hours: expected at least one, got an empty list",
    "leave the key out for no such rule",
  ),
  inAlice(
    "a network with host bits",
    "from: 203.0.113.7/24",
    `from: expected an address or a network such as "203.0.113.0/24", got "203.0.113.7/24"`,
    `did you mean "203.0.113.0/24"?`,
  ),
  inAlice(
    "a network that is a name",
    "from: [office]",
    `from[0]: expected an address or a network such as "203.0.113.0/24", got "office"`,
  ),
  inAlice(
    "a client who needs itself",
    "needs: [bob, alice]",
    `needs[1]: expected another client's name, got "alice"`,
    "nobody is two people",
  ),
  inAlice(
    "a name that no client can have",
    "needs: 7",
    `needs: expected ${NAME}, got 7`,
  ),
  inAlice(
    "no use at all",
    "uses: 0",
    "uses: expected a number of uses from 1 to 1000000, got 0",
  ),
  inAlice(
    "a lifetime of more than a day",
    "lifetime: 25h",
    `lifetime: expected a duration from 1s to 24h0m0s, such as "30s", got "25h"`,
  ),
  inAlice(
    "an unknown key",
    "allowed_port: [22]",
    "allowed_port: unknown key",
    `did you mean "allowed_ports"?`,
  ),
  inAlice(
    "an unknown key three letters from a known one",
    "expi: 2027-12-31",
    "expi: unknown key",
    "the keys here are ed25519_pubkey, allowed_ports, expires, disable_health_port, previous_pubkey, " +
      "previous_until, prefix, hours, from, uses, totp, needs, lifetime, extend_while_used",
  ),
  inAlice(
    "a merge key",
    "<<: {expires: 2027-12-31}",
    `"<<": unknown key`,
    "the keys here are ed25519_pubkey, allowed_ports, expires, disable_health_port, previous_pubkey, " +
      "previous_until, prefix, hours, from, uses, totp, needs, lifetime, extend_while_used",
  ),
  inAlice(
    "a misspelt protocol",
    "allowed_ports: [ssh/tpc]",
    `allowed_ports[0]: expected ${PORT_OR_GROUP}, got "ssh/tpc"`,
  ),
  inAlice(
    "an unknown group",
    "allowed_ports: [22/tcp, web]",
    `allowed_ports[1]: expected ${PORT_OR_GROUP}, got "web"`,
  ),
  inAlice(
    "__proto__ as a group",
    "allowed_ports: [__proto__]",
    `allowed_ports[0]: expected ${PORT_OR_GROUP}, got "__proto__"`,
  ),
  inAlice("port 0", "allowed_ports: [0]", `allowed_ports[0]: expected ${PORT_OR_GROUP}, got 0`),
  inAlice(
    "half a port",
    "allowed_ports: [80.5]",
    `allowed_ports[0]: expected ${PORT_OR_GROUP}, got 80.5`,
  ),
  inAlice(
    "a list of lists",
    "allowed_ports: [[22]]",
    `allowed_ports[0]: expected ${PORT_OR_GROUP}, got a list`,
  ),
  inAlice(
    "one port and no list",
    "allowed_ports: 22/tcp",
    `allowed_ports: expected a list, got "22/tcp"`,
  ),
  inAlice(
    "nft syntax in a port",
    `allowed_ports: ["22; drop"]`,
    `allowed_ports[0]: expected ${PORT_OR_GROUP}, got "22; drop"`,
  ),
  inAlice(
    "a day that is not there",
    "expires: 2027-02-30",
    `expires: expected ${EXPIRY}, got "2027-02-30"`,
  ),
  inAlice("a word as a date", "expires: soon", `expires: expected ${EXPIRY}, got "soon"`),
  inAlice("a number as a date", "expires: 20271231", `expires: expected ${EXPIRY}, got 20271231`),
  inAlice(
    "a time without a zone",
    "expires: 2027-12-31T18:00:00",
    `expires: expected ${EXPIRY}, got "2027-12-31T18:00:00"`,
  ),
  inAlice(
    "a flag that is text",
    `disable_health_port: "no"`,
    `disable_health_port: expected true or false, got "no"`,
  ),

  file("clients in a list", serverFile("clients: [alice]"), "clients: expected a map, got a list"),
  file(
    "a client that is a list",
    serverFile("clients:", "  bob: [1]"),
    "clients.bob: expected a map, got a list",
  ),
  file(
    "a client of nothing",
    serverFile("clients:", "  bob:"),
    "clients.bob: expected a map, got nothing",
  ),
  file(
    "a client with a space",
    serverFile("clients:", "  a b: {}"),
    `clients: expected ${NAME}, got "a b"`,
  ),
  file(
    "a client for the shell",
    serverFile("clients:", "  $(id): {}"),
    `clients: expected ${NAME}, got "$(id)"`,
  ),
  file(
    "a client named __proto__",
    serverFile("clients:", "  __proto__: {}"),
    `clients: expected ${NAME}, got "__proto__"`,
  ),
  file(
    "a client with a long name",
    serverFile("clients:", `  ${"a.".repeat(33)}: {}`),
    `clients: expected ${NAME}, got "${"a.".repeat(33)}"`,
  ),
  file(
    "a client without a key",
    serverFile("clients:", "  bob: {expires: 2027-12-31}"),
    `clients.bob.ed25519_pubkey: expected ${CLIENT_KEY} (32 bytes in base64), got nothing`,
  ),
  file(
    "a client with a short key",
    aliceWith("AAAA"),
    `clients.alice.ed25519_pubkey: expected ${CLIENT_KEY} (32 bytes in base64), got 3 bytes`,
  ),
  file(
    "a client with a private key",
    aliceWith("A".repeat(86) + "=="),
    `clients.alice.ed25519_pubkey: expected ${CLIENT_KEY} (32 bytes in base64), got 64 bytes`,
  ),
  file(
    "two clients with one key",
    aliceFile() + `  bob:\n    ed25519_pubkey: ${ALICE_PUBLIC}\n`,
    `clients.bob.ed25519_pubkey: expected a key of its own, got the key of "alice" (730a5edc28c2f8da)`,
    "a knock could not tell the two apart: give each client its own key",
  ),
  file(
    "a client whose old key is another's",
    aliceFile() +
      `  bob:\n    ed25519_pubkey: ${BOB_PUBLIC}\n    previous_pubkey: ${ALICE_PUBLIC}\n` +
      "    previous_until: 2027-12-31\n",
    `clients.bob.previous_pubkey: expected a key of its own, got the key of "alice" (730a5edc28c2f8da)`,
    "a knock could not tell the two apart: give each client its own key",
  ),
  inAlice(
    "an old key without an end",
    `previous_pubkey: ${BOB_PUBLIC}`,
    `previous_until: expected a date such as "2027-12-31" or a time such as "2027-12-31T18:00:00Z", got nothing`,
  ),
  inAlice("one prefix for both", "prefix: 24", "prefix: expected a map, got 24"),
  inAlice(
    "prefixes in a list",
    "prefix: [24, 64]",
    "prefix: expected a map, got a list",
  ),
  inAlice(
    "a prefix of another family",
    "prefix: {ipv4: 24}",
    "prefix.ipv4: unknown key",
    "the keys here are v4, v6",
  ),
  ...[
    ["v4", "15", "a length in bits from 16 to 32", "15"],
    ["v4", "33", "a length in bits from 16 to 32", "33"],
    ["v4", "24.5", "a length in bits from 16 to 32", "24.5"],
    ["v4", `"24"`, "a length in bits from 16 to 32", `"24"`],
    ["v4", "/24", "a length in bits from 16 to 32", `"/24"`],
    ["v4", "-24", "a length in bits from 16 to 32", "-24"],
    ["v6", "47", "a length in bits from 48 to 128", "47"],
    ["v6", "129", "a length in bits from 48 to 128", "129"],
    ["v6", "true", "a length in bits from 48 to 128", "true"],
  ].map(([key, value, expected, found]) =>
    inAlice(
      `${key}: ${value}`,
      `prefix: {${key}: ${value}}`,
      `prefix.${key}: expected ${expected}, got ${found}`,
    )
  ),
  inAlice(
    "an old key of small order",
    `previous_pubkey: ${"A".repeat(43)}=`,
    `previous_pubkey: expected ${CLIENT_KEY}, got a point of small order, under which anyone can sign`,
  ),
  ...[
    ["0", "A".repeat(43) + "="],
    ["1", "AQ" + "A".repeat(41) + "="],
    ["p - 1", "7P///////////////////////////////////////38="],
    ["p, which is 0 again", "7f///////////////////////////////////////38="],
    ["order 8", "JuiVj8KyJ7BFw/SJ8u+Y8NXfrAXTxjM5sTgCiG1T/AU="],
    ["order 8, the other sign", "JuiVj8KyJ7BFw/SJ8u+Y8NXfrAXTxjM5sTgCiG1T/IU="],
  ].map(([why, key]) =>
    file(
      `a client's key of small order: ${why}`,
      aliceWith(key ?? ""),
      `clients.alice.ed25519_pubkey: expected ${CLIENT_KEY}, got a point of small order, ` +
        "under which anyone can sign",
    )
  ),
  file(
    "a client's key that is not canonical",
    aliceWith("8P///////////////////////////////////////38="),
    `clients.alice.ed25519_pubkey: expected ${CLIENT_KEY}, got an encoding that is not canonical`,
  ),
  file(
    "a client's key that is not on the curve",
    aliceWith("Ag" + "A".repeat(41) + "="),
    `clients.alice.ed25519_pubkey: expected ${CLIENT_KEY}, got bytes that are not a point of the curve`,
  ),
];

testRefused(ROWS);

Deno.test("the keys of the table are those that it takes them for", () => {
  assert.notEqual(ALICE_PUBLIC, BOB_PUBLIC);
  parseServerConfig(serverFile(`  public_key: ${SERVER_PUBLIC}`), "x");
  parseServerConfig(aliceFile(), "x");
  parseServerConfig(aliceWith(BOB_PUBLIC), "x");
});
