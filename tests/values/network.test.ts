/** Networks: text and back, canonical, and what lies in them. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { formatAddress } from "../../lib/values/address.ts";
import {
  containsAddress,
  formatNetwork,
  fullLength,
  grantedNetwork,
  maskOf,
  type Network,
  networkOf,
  overlap,
  parseNetwork,
} from "../../lib/values/network.ts";
import { address, anyAddress, flipBit, must } from "../support/knocks.ts";

const anyNetwork: fc.Arbitrary<Network> = anyAddress.chain((each) =>
  fc.integer({ min: 0, max: fullLength(each.family) }).map((length) => networkOf(each, length))
);

Deno.test("parseNetwork() reads what formatNetwork() prints", () => {
  fc.assert(fc.property(anyNetwork, (network) => {
    assert.deepEqual(parseNetwork(formatNetwork(network)), network);
  }));
});

Deno.test("a network has one text", () => {
  const rows = [
    ["198.51.100.0/24", "198.51.100.0/24"],
    ["198.51.100.7", "198.51.100.7"],
    ["198.51.100.7/32", "198.51.100.7"],
    ["0.0.0.0/0", "0.0.0.0/0"],
    ["2001:DB8:0:0::/64", "2001:db8::/64"],
    ["2001:db8::7/128", "2001:db8::7"],
    ["::ffff:198.51.100.0/24", "198.51.100.0/24"],
  ];
  for (const [text, expected] of rows) {
    assert.equal(formatNetwork(must(parseNetwork(text!))), expected, text);
  }
});

Deno.test("parseNetwork() takes nothing else", () => {
  const wrong = [
    ...["", "/", "/24", "198.51.100.0/", "198.51.100.0/33", "198.51.100.0/024", "198.51.100.0/+24"],
    ...["198.51.100.0/2 4", "198.51.100.0/24\n", "198.51.100.0 /24", "198.51.100.0/24/24"],
    ...["198.51.100.0/255.255.255.0", "198.51.100/24", "198.51.100.0/1e1", "2001:db8::/129"],
    // Bits beyond the length: the same network would have many texts.
    ...["198.51.100.7/24", "198.51.100.128/24", "2001:db8::7/64", "128.0.0.0/0"],
  ];
  for (const text of wrong) assert.equal(parseNetwork(text), undefined, JSON.stringify(text));
});

Deno.test("a network contains the addresses that share its bits, and no others", () => {
  fc.assert(fc.property(anyAddress, fc.nat(128), fc.nat(127), (each, lengthBits, bit) => {
    const full = fullLength(each.family);
    const [length, flipped] = [lengthBits % (full + 1), bit % full];
    const network = networkOf(each, length);
    assert.ok(containsAddress(network, each));
    // Bit 0 of `flipBit` is the lowest of the first byte.
    const position = 8 * (flipped >> 3) + 7 - (flipped & 7);
    const other = { ...each, bytes: flipBit(each.bytes, flipped) };
    assert.equal(containsAddress(network, other), position >= length);
  }));
  assert.ok(!containsAddress(must(parseNetwork("0.0.0.0/0")), address("2001:db8::1")));
});

Deno.test("overlap() tells whether one network contains the other", () => {
  const rows: [string, string, boolean][] = [
    ["198.51.100.0/24", "198.51.100.7", true],
    ["198.51.100.0/24", "198.51.100.0/24", true],
    ["198.51.100.0/24", "198.51.100.64/28", true],
    ["198.51.100.0/28", "198.51.100.64/28", false],
    ["198.51.100.7", "198.51.100.8", false],
    ["2001:db8::/64", "2001:db8:0:0:1::", true],
    ["2001:db8::/64", "2001:db8:0:1::", false],
    ["0.0.0.0/0", "::/0", false],
  ];
  for (const [a, b, expected] of rows) {
    const [x, y] = [must(parseNetwork(a)), must(parseNetwork(b))];
    assert.deepEqual([overlap(x, y), overlap(y, x)], [expected, expected], `${a} ${b}`);
  }
});

Deno.test("grantedNetwork() takes the length of the address's family", () => {
  const granted = (at: string, lengths?: { v4: number; v6: number }) =>
    formatNetwork(grantedNetwork(address(at), lengths));
  assert.equal(granted("198.51.100.7"), "198.51.100.7");
  assert.equal(granted("198.51.100.7", { v4: 20, v6: 64 }), "198.51.96.0/20");
  assert.equal(granted("2001:db8::7", { v4: 20, v6: 64 }), "2001:db8::/64");
  assert.equal(granted("2001:db8::7", { v4: 20, v6: 128 }), "2001:db8::7");
});

Deno.test("maskOf() sets the first bits", () => {
  const rows: [4 | 6, number, string][] = [
    [4, 0, "0.0.0.0"],
    [4, 17, "255.255.128.0"],
    [4, 24, "255.255.255.0"],
    [4, 32, "255.255.255.255"],
    [6, 48, "ffff:ffff:ffff::"],
    [6, 63, "ffff:ffff:ffff:fffe::"],
    [6, 64, "ffff:ffff:ffff:ffff::"],
  ];
  for (const [family, length, expected] of rows) {
    assert.equal(formatAddress(maskOf(family, length)), expected);
  }
});
