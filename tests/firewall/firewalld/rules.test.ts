/** What the backend for firewalld reads in firewalld's table. */

import assert from "node:assert/strict";
import { handlesInTable } from "../../../lib/firewall/firewalld/rules.ts";
import { network } from "../../support/knocks.ts";
import { ranges } from "../support.ts";

const LISTING = `table inet firewalld { # handle 1
	chain filter_IN_public { # handle 60
		ip saddr 192.0.2.7 tcp dport 22 accept # handle 170
	}

	chain filter_IN_public_post { # handle 64
		ip saddr 192.0.2.7 tcp dport 22 accept # handle 191
		ip saddr 192.0.2.70 tcp dport 22 accept # handle 176
		ip saddr 192.0.2.7 tcp dport 22 accept # handle 175
		ip6 saddr 2001:db8::/64 udp dport 8080-8090 accept # handle 177
		ip saddr 192.0.2.7 tcp dport 22 drop # handle 178
	}

	chain filter_IN_internal_post { # handle 65
		ip saddr 192.0.2.7 tcp dport 22 accept # handle 179
	}
}
`;

Deno.test("handlesInTable() finds the rules of one zone, one source and its ports", () => {
  const find = (zone: string, source: string, port: string) =>
    handlesInTable(LISTING, { zone, source: network(source), ports: ranges(port)[0]! });
  assert.deepEqual(find("public", "192.0.2.7", "22/tcp"), [175, 191]);
  assert.deepEqual(find("internal", "192.0.2.7", "22/tcp"), [179]);
  assert.deepEqual(find("public", "2001:db8::/64", "8080-8090/udp"), [177]);
  assert.deepEqual(find("public", "192.0.2.7", "22/udp"), []);
  assert.deepEqual(find("dmz", "192.0.2.7", "22/tcp"), []);
});
