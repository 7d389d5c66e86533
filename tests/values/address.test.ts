/** Addresses: what is one, how it is written (RFC 5952), and whether a remote client can hold it. */

import assert from "node:assert/strict";
import { BlockList, isIP } from "node:net";
import fc from "fast-check";
import {
  addressFromBytes16,
  addressToBytes16,
  formatAddress,
  isHoldable,
  isUnspecified,
  parseAddress,
  sameAddress,
} from "../../lib/values/address.ts";
import { bytesToHex, hexToBytes } from "../../lib/crypto/keys.ts";
import { address, anyAddress, anyBytes, filled } from "../support/knocks.ts";

Deno.test("parseAddress() reads an address, formatAddress() writes it canonically", () => {
  const rows = [
    { text: "1.2.3.4", canonical: "1.2.3.4" },
    { text: "0.0.0.0", canonical: "0.0.0.0" },
    { text: "255.255.255.255", canonical: "255.255.255.255" },
    { text: "::", canonical: "::" },
    { text: "::1", canonical: "::1" },
    { text: "1::", canonical: "1::" },
    { text: "0:0:0:0:0:0:0:0", canonical: "::" },
    { text: "::ffff:1.2.3.4", canonical: "1.2.3.4" },
    { text: "::FFFF:102:304", canonical: "1.2.3.4" },
    { text: "0:0:0:0:0:ffff:1.2.3.4", canonical: "1.2.3.4" },
    { text: "::1.2.3.4", canonical: "::102:304" },
    { text: "64:ff9b::192.0.2.33", canonical: "64:ff9b::c000:221" },
    { text: "::ffff:0:1.2.3.4", canonical: "::ffff:0:102:304" },
    { text: "1:2:3:4:5:6:1.2.3.4", canonical: "1:2:3:4:5:6:102:304" },
    { text: "1:2:3:4:5::1.2.3.4", canonical: "1:2:3:4:5:0:102:304" },
    { text: "1:2:3:4:5:6:7::", canonical: "1:2:3:4:5:6:7:0" },
    { text: "::2:3:4:5:6:7:8", canonical: "0:2:3:4:5:6:7:8" },
    // RFC 5952 section 2.2 and section 4, line by line.
    { text: "2001:0db8::0001", canonical: "2001:db8::1" }, // 4.1
    { text: "2001:db8:0:0:0:0:2:1", canonical: "2001:db8::2:1" }, // 4.2.1
    { text: "2001:db8::0:1", canonical: "2001:db8::1" },
    { text: "2001:db8:0:1:1:1:1:1", canonical: "2001:db8:0:1:1:1:1:1" }, // 4.2.2
    { text: "2001:db8::1:1:1:1:1", canonical: "2001:db8:0:1:1:1:1:1" },
    { text: "2001:0:0:1:0:0:0:1", canonical: "2001:0:0:1::1" }, // 4.2.3, the longest
    { text: "2001:db8:0:0:1:0:0:1", canonical: "2001:db8::1:0:0:1" }, // the first of two
    { text: "2001:DB8:AAAA::F", canonical: "2001:db8:aaaa::f" }, // 4.3
    { text: "1:0:0:4:0:0:0:0", canonical: "1:0:0:4::" },
    { text: "0:0:0:4:5:0:0:0", canonical: "::4:5:0:0:0" },
  ];
  for (const { text, canonical } of rows) {
    assert.equal(formatAddress(address(text)), canonical, text);
    assert.deepEqual(address(canonical), address(text), text);
    assert.equal(isIP(text) !== 0, true, `${text} is in this table by mistake`);
  }
});

Deno.test("parseAddress() refuses everything else", () => {
  const rows = [
    { text: "", why: "nothing" },
    { text: "1.2.3.4\n", why: "line break behind" },
    { text: "\n1.2.3.4", why: "line break before" },
    { text: "1.2.3.4\r", why: "carriage return" },
    { text: "1.2.3.4\0", why: "NUL behind" },
    { text: " 1.2.3.4", why: "space before" },
    { text: "1.2.3.4 ", why: "space behind" },
    { text: "::1; drop", why: "nft syntax behind" },
    { text: "::1\nflush ruleset", why: "a second line" },
    { text: "::1 # x", why: "a comment behind" },
    { text: "1.2.3.4/32", why: "prefix length" },
    { text: "::1/128", why: "prefix length" },
    { text: "1.2.3.4-1.2.3.9", why: "a range" },
    { text: "1.2.3.4,1.2.3.5", why: "a list" },
    { text: "0x7f.1", why: "hex, as inet_aton() takes it" },
    { text: "0x7f.0.0.1", why: "hex" },
    { text: "01.2.3.4", why: "octal, or is it decimal?" },
    { text: "1.2.3.04", why: "leading zero" },
    { text: "1.2.3.00", why: "two zeros" },
    { text: "127.1", why: "two parts" },
    { text: "1.2.3", why: "three parts" },
    { text: "1.2.3.4.5", why: "five parts" },
    { text: "1.2.3.", why: "an empty part" },
    { text: ".1.2.3.4", why: "a dot before" },
    { text: "1.2.3.4.", why: "a dot behind" },
    { text: "1.2.3.256", why: "a part above 255" },
    { text: "1.2.3.1000", why: "four digits" },
    { text: "1.2.3.-4", why: "a sign" },
    { text: "1.2.3.+4", why: "a sign" },
    { text: "2130706433", why: "one number" },
    { text: "1.2.3.\u0664", why: "a digit that is not ASCII" },
    { text: "\uff11.2.3.4", why: "a full-width digit" },
    { text: ":", why: "one colon" },
    { text: ":::", why: "three colons" },
    { text: "1:::2", why: "three colons" },
    { text: "1::2::3", why: "two gaps" },
    { text: "1:2:3:4:5:6:7:8::1::2", why: "two gaps of nothing" },
    { text: "1:2:3:4:5:6:7:8::", why: "a gap of nothing" },
    { text: ":1:2:3:4:5:6:7", why: "a colon before" },
    { text: "1:2:3:4:5:6:7:", why: "a colon behind" },
    { text: "1:2:3:4:5:6:7", why: "seven groups" },
    { text: "1:2:3:4:5:6:7:8:9", why: "nine groups" },
    { text: "1:2:3:4::5:6:7:8", why: "a gap of nothing" },
    { text: "::1:2:3:4:5:6:7:8", why: "a gap of nothing" },
    { text: "1:2:3:4:5:6::1.2.3.4", why: "a gap of nothing" },
    { text: "12345::", why: "five digits" },
    { text: "::00001", why: "five digits" },
    { text: "::g", why: "not a hex digit" },
    { text: "::-1", why: "a sign" },
    { text: "::0x1", why: "a hex prefix" },
    { text: "1.2.3.4::", why: "dotted decimal that is not the end" },
    { text: "::1.2.3.4:5", why: "dotted decimal that is not the end" },
    { text: "1.2.3.4:5::", why: "dotted decimal that is not the end" },
    { text: "1:2:3:4:5:6:7:1.2.3.4", why: "nine groups in effect" },
    { text: "::1.2.3", why: "three parts" },
    { text: "::01.2.3.4", why: "leading zero" },
    { text: "::1.2.3.256", why: "a part above 255" },
    { text: "fe80::1%eth0", why: "a zone" },
    { text: "fe80::1%25eth0", why: "a zone" },
    { text: "[::1]", why: "brackets" },
    { text: "[::1]:22", why: "brackets and a port" },
    { text: "1.2.3.4:22", why: "a port" },
    { text: "localhost", why: "a name" },
    { text: "::" + "0".repeat(5000), why: "long" },
    { text: "1:".repeat(5000), why: "long" },
  ];
  for (const { text, why } of rows) {
    assert.equal(parseAddress(text), undefined, `${JSON.stringify(text.slice(0, 60))}: ${why}`);
  }
});

Deno.test("parseAddress() accepts what node:net does, less zones", () => {
  const pieces = fc.constantFrom(
    ...[
      "::",
      "::",
      ":",
      ":",
      ":",
      ".",
      ".",
      "0",
      "1",
      "01",
      "9",
      "255",
      "256",
      "ffff",
      "ABCD",
      "00000",
    ],
    ...["1.2.3.4", "1.2.3", "1:2", "::1", "g", "%eth0", " ", "\n", "0x", "-"],
  );
  const nearlyAddresses = fc.array(pieces, { maxLength: 10 }).map((parts) => parts.join(""));
  const groups = fc.array(fc.constantFrom("0", "1", "ffff", "", "1.2.3.4"), { maxLength: 9 });
  const colons = groups.map((parts) => parts.join(":"));
  const octets = fc.array(fc.constantFrom("0", "7", "10", "255", "256", "00", "010", ""), {
    minLength: 3,
    maxLength: 5,
  });
  const dots = octets.map((parts) => parts.join("."));
  const texts = fc.oneof(nearlyAddresses, colons, dots, fc.ipV4(), fc.ipV6(), fc.ipV4Extended());
  fc.assert(
    fc.property(texts, (text) => {
      const expected = isIP(text) !== 0 && !text.includes("%");
      assert.equal(parseAddress(text) !== undefined, expected, JSON.stringify(text));
    }),
    { numRuns: 5000 },
  );
});

Deno.test("parseAddress() inverts formatAddress()", () => {
  fc.assert(fc.property(anyAddress, (each) => {
    const text = formatAddress(each);
    assert.deepEqual(parseAddress(text), each);
    assert.equal(isIP(text), each.family);
    assert.match(text, /^[0-9a-f.:]+$/);
  }));
});

Deno.test("formatAddress() compresses as the URL standard does, which is RFC 5952's way", () => {
  fc.assert(
    fc.property(anyAddress.filter(({ family }) => family === 6), (each) => {
      const groups = bytesToHex(each.bytes).replace(/....(?!$)/g, "$&:");
      assert.equal(`[${formatAddress(each)}]`, new URL(`http://[${groups}]/`).hostname);
    }),
    { numRuns: 500 },
  );
});

Deno.test("addressFromBytes16() inverts addressToBytes16(), and copies", () => {
  fc.assert(fc.property(anyAddress, (each) => {
    const bytes = addressToBytes16(each);
    assert.equal(bytes.length, 16);
    const again = addressFromBytes16(bytes);
    assert.deepEqual(again, each);
    bytes.fill(0x5a);
    assert.deepEqual(again, each);
  }));
});

Deno.test("addressFromBytes16() takes an IPv4-mapped address for the IPv4 address, and no other", () => {
  const rows = [
    { hex: "00000000000000000000ffff01020304", expected: "1.2.3.4" },
    { hex: "00000000000000000000fffe01020304", expected: "::fffe:102:304" },
    { hex: "00000000000000000001ffff01020304", expected: "::1:ffff:102:304" },
    { hex: "000000000000000000000000ffff0102", expected: "::ffff:102" },
  ];
  for (const { hex, expected } of rows) {
    assert.equal(formatAddress(addressFromBytes16(hexToBytes(hex))), expected);
  }
});

Deno.test("addressFromBytes16() throws for any other length", () => {
  for (const size of [0, 4, 15, 17]) {
    assert.throws(() => addressFromBytes16(filled(1, size)), RangeError, `${size} bytes`);
  }
});

Deno.test("sameAddress() is equality of bytes and family", () => {
  fc.assert(fc.property(anyAddress, anyAddress, (a, b) => {
    assert.equal(sameAddress(a, b), formatAddress(a) === formatAddress(b));
    assert.equal(sameAddress(a, { ...a, bytes: a.bytes.slice() }), true);
  }));
  assert.equal(sameAddress(address("0.0.0.0"), address("::")), false);
  assert.equal(sameAddress(address("::"), address("0.0.0.0")), false);
});

Deno.test("isUnspecified() holds for 0.0.0.0 and :: alone", () => {
  for (const text of ["0.0.0.0", "::", "::ffff:0.0.0.0"]) {
    assert.equal(isUnspecified(address(text)), true, text);
  }
  for (const text of ["0.0.0.1", "1.0.0.0", "::1", "1::", "::ffff:0:0:0"]) {
    assert.equal(isUnspecified(address(text)), false, text);
  }
});

Deno.test("isHoldable() is what a remote client can hold", () => {
  const rows = [
    { text: "8.8.8.8", holdable: true, why: "public" },
    { text: "1.0.0.0", holdable: true, why: "just above 0.0.0.0/8" },
    { text: "10.0.0.1", holdable: true, why: "private" },
    { text: "172.16.0.1", holdable: true, why: "private" },
    { text: "192.168.0.255", holdable: true, why: "private; .255 may be a host" },
    { text: "169.254.1.1", holdable: true, why: "link-local" },
    { text: "100.64.0.1", holdable: true, why: "carrier NAT" },
    { text: "126.255.255.255", holdable: true, why: "just below loopback" },
    { text: "128.0.0.0", holdable: true, why: "just above loopback" },
    { text: "223.255.255.255", holdable: true, why: "just below multicast" },
    { text: "2001:db8::1", holdable: true, why: "global" },
    { text: "fe80::1", holdable: true, why: "link-local" },
    { text: "fd00::1", holdable: true, why: "unique local" },
    { text: "feff::1", holdable: true, why: "just below multicast" },
    { text: "64:ff9b::1.2.3.4", holdable: true, why: "NAT64" },
    { text: "::1:0:0", holdable: true, why: "just above ::/96" },
    { text: "::ffff:10.0.0.1", holdable: true, why: "mapped: private" },
    { text: "0.0.0.0", holdable: false, why: "unspecified" },
    { text: "0.255.255.255", holdable: false, why: "0.0.0.0/8" },
    { text: "127.0.0.1", holdable: false, why: "loopback" },
    { text: "127.255.255.255", holdable: false, why: "loopback" },
    { text: "224.0.0.1", holdable: false, why: "multicast" },
    { text: "239.255.255.255", holdable: false, why: "multicast" },
    { text: "240.0.0.1", holdable: false, why: "240.0.0.0/4" },
    { text: "255.255.255.255", holdable: false, why: "broadcast" },
    { text: "::", holdable: false, why: "unspecified" },
    { text: "::1", holdable: false, why: "loopback" },
    { text: "::2", holdable: false, why: "::/96" },
    { text: "::127.0.0.1", holdable: false, why: "IPv4-compatible" },
    { text: "::8.8.8.8", holdable: false, why: "IPv4-compatible" },
    { text: "ff02::1", holdable: false, why: "multicast" },
    { text: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", holdable: false, why: "multicast" },
    { text: "::ffff:127.0.0.1", holdable: false, why: "mapped: loopback" },
    { text: "::ffff:224.0.0.1", holdable: false, why: "mapped: multicast" },
    { text: "::ffff:0.0.0.0", holdable: false, why: "mapped: unspecified" },
  ];
  for (const { text, holdable, why } of rows) {
    assert.equal(isHoldable(address(text)), holdable, `${text}: ${why}`);
  }
});

Deno.test("isHoldable() agrees with a list of networks", () => {
  const unholdable = new BlockList();
  for (const [network, bits] of [["0.0.0.0", 8], ["127.0.0.0", 8], ["224.0.0.0", 3]] as const) {
    unholdable.addSubnet(network, bits, "ipv4");
  }
  unholdable.addSubnet("ff00::", 8, "ipv6");
  unholdable.addSubnet("::", 96, "ipv6");
  const edges = fc.constantFrom(0, 1, 126, 127, 128, 223, 224, 240, 255);
  const v4 = fc.tuple(fc.oneof(edges, fc.nat(255)), anyBytes(3)).map(([first, rest]) =>
    address([first, ...rest].join("."))
  );
  fc.assert(
    fc.property(fc.oneof(v4, anyAddress), (each) => {
      const isListed = unholdable.check(formatAddress(each), each.family === 4 ? "ipv4" : "ipv6");
      assert.equal(isHoldable(each), !isListed);
    }),
    { numRuns: 2000 },
  );
});
