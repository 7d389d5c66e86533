/**
 * What a process sends that strangers have taken over in the place of the taker: lines that are no messages, and messages
 * that lie. docs/threat-model.md cites the tests that use it.
 */

import fc from "fast-check";
import { bytesToHex } from "../../lib/crypto/keys.ts";
import type { KnocksRole } from "../../lib/separate/messages.ts";
import { address } from "../support/knocks.ts";
import { isHoldable } from "../../lib/values/address.ts";

const encoder = new TextEncoder();
const line = (text: string) => encoder.encode(`${text}\n`);

/** A message that says: this client has signed a knock. Every part may be wrong in every way. */
export interface Claim {
  readonly signed: unknown;
  readonly source: unknown;
  readonly nonce: unknown;
  readonly time: unknown;
  readonly target?: unknown;
}

/** A nonce that nobody else has. */
export function freshNonce(): string {
  return bytesToHex(crypto.getRandomValues(new Uint8Array(16)));
}

/** A knock that was never sent, as good as a real one. */
export function claim(key: string, target: string, wallNs: bigint, more: Partial<Claim> = {}) {
  const whole: Claim = {
    ...{ signed: key, source: "198.51.100.20", nonce: freshNonce() },
    ...{ time: String(wallNs), target },
  };
  return { ...whole, ...more };
}

/**
 * A process in the taker's place that never receives: once it may, it invents knocks as fast as they are read, for the
 * clients and their number that the keeper told it, with what is no message in between.
 */
export async function flood(namespace: string): Promise<void> {
  const write = (bytes: Uint8Array) => {
    for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
  };
  const say = (message: object) => write(line(JSON.stringify(message)));
  const chunks = Deno.stdin.readable.pipeThrough(new TextDecoderStream())[Symbol.asyncIterator]();
  let heard = "";
  const hear = async (what: string) => {
    while (!heard.includes(what)) heard += (await chunks.next()).value ?? Deno.exit(0);
  };
  await hear("\n");
  const { config: { clientKeys } } = JSON.parse(heard.split("\n")[0]!) as KnocksRole;
  say({ bound: namespace });
  await hear('"take"');
  const nowNs = () => BigInt(Date.now()) * 1_000_000n;
  // These two once, to see that they end in time whatever follows.
  for (const key of clientKeys.slice(0, 2)) say(claim(key, "192.0.2.1", nowNs()));
  const garbage = Object.values(GARBAGE);
  for (let n = 0;; n++) {
    const key = clientKeys[2 + n % (clientKeys.length - 2)]!;
    const place = Math.floor(n / clientKeys.length) % 400; // more than a client may hold
    say(claim(key, `10.${n % clientKeys.length}.${place >> 8}.${place & 255}`, nowNs()));
    if (n % 500 === 0) write(garbage[n / 500 % garbage.length]!());
  }
}

/** Addresses that no remote client can hold, as text that can be parsed. */
export const UNHOLDABLE = [
  ...["127.0.0.1", "0.0.0.0", "0.1.2.3", "224.0.0.1", "239.255.255.250", "240.0.0.1"],
  ...[
    "255.255.255.255",
    "::",
    "::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:224.0.0.1",
    "::7f00:1",
  ],
].filter((text) => {
  if (isHoldable(address(text))) throw new Error(`${text} can be held`);
  return true;
});

/** What is no address. */
export const NO_ADDRESSES = [
  ...["", " ", "10.0.0.1/8", "0.0.0.0/0", "10.0.0.1 ", "010.0.0.1", "fe80::1%eth0", "localhost"],
  ...["10.0.0.1\n", "10.0.0.1 . tcp . 22", "any", "10.0.0.1-10.0.0.9", "10.0.0.1; flush ruleset"],
  ...[
    1,
    -1,
    0,
    true,
    null,
    {},
    [],
    ["10.0.0.1"],
    { family: 4, bytes: [10, 0, 0, 1] },
    "1".repeat(600),
  ],
];

/** Lines that are no message at all, by why. */
export const GARBAGE: Readonly<Record<string, () => Uint8Array>> = {
  "random bytes": () => crypto.getRandomValues(new Uint8Array(4096)),
  "a long line": () => line(`"${"x".repeat(60_000)}"`),
  "zeros": () => new Uint8Array(4096),
  "empty lines": () => encoder.encode("\n".repeat(100)),
  "deep JSON": () => line("[".repeat(500) + "]".repeat(500)),
  "deep objects": () => line('{"signed":'.repeat(80) + "1" + "}".repeat(80)),
  "huge numbers": () => line(`{"signed":1e999,"time":${"9".repeat(400)}}`),
  "a prototype": () =>
    line('{"__proto__":{"signed":"","failed":"x"},"constructor":{"prototype":{"bound":"x"}}}'),
  "a prototype of counts": () => line('{"droppedMore":{"__proto__":5,"constructor":1}}'),
  "broken UTF-8": () => Uint8Array.of(0x22, 0xff, 0xfe, 0xc0, 0x22, 10),
  "a byte order mark": () => line('\ufeff{"bound":"net:[1]"}'),
  "other values": () =>
    encoder.encode('null\ntrue\n1\n"signed"\n[]\n{}\n{"take":true}\n{"config":{}}\n'),
  "begun again": () =>
    encoder.encode('{"bound":"net:[1]"}\n{"failed":"no\\u001b[31m","hint":"\\n"}\n'),
  "wrong counts": () =>
    encoder.encode(
      ['{"decrypt":-1}', '{"decrypt":0.5}', '{"decrypt":1e300}', '{"no such reason":1}', "[1]", "1"]
        .map((counts) => `{"droppedMore":${counts}}\n`).join(""),
    ),
  "wrong drops": () =>
    encoder.encode(
      '{"dropped":"replay","source":"10.0.0.1"}\n{"dropped":"decrypt","source":"x"}\n{"dropped":["decrypt"],"source":"10.0.0.1"}\n',
    ),
};

/** Any claim about these keys: from nearly right to nonsense, the same nonces and times again and again. */
export function anyClaim(keys: readonly string[], wallNs: bigint): fc.Arbitrary<object> {
  const nearNs = fc.bigInt({ min: -130_000_000_000n, max: 130_000_000_000n });
  const good = fc.record({
    signed: fc.constantFrom(...keys),
    source: fc.ipV4(),
    nonce: fc.oneof(
      fc.constantFrom("0".repeat(32), "f".repeat(32)),
      fc.uint8Array({ minLength: 16, maxLength: 16 }).map(bytesToHex),
    ),
    time: nearNs.map((ns) => String(wallNs + ns)),
    target: fc.oneof(fc.ipV4(), fc.ipV6(), fc.constantFrom("10.0.0.7", "192.0.2.1", ...UNHOLDABLE)),
  }, { requiredKeys: ["signed", "source", "nonce", "time"] });
  const wrong: Record<string, fc.Arbitrary<unknown>> = {
    signed: fc.oneof(
      fc.string(),
      fc.jsonValue(),
      fc.constantFrom(...keys).map((key) => key.toUpperCase()),
    ),
    source: fc.oneof(fc.constantFrom(...NO_ADDRESSES), fc.jsonValue()),
    nonce: fc.oneof(fc.string(), fc.jsonValue()),
    time: fc.oneof(
      fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }).map(String),
      fc.constantFrom("", "-", "1e9", "0x10", " 1", "9223372036854775807", "-9223372036854775808"),
      fc.jsonValue(),
    ),
    target: fc.oneof(fc.constantFrom(...NO_ADDRESSES), fc.jsonValue()),
    extra: fc.jsonValue(),
  };
  const oneWrong = fc.tuple(good, fc.constantFrom(...Object.keys(wrong))).chain(([claim, field]) =>
    wrong[field]!.map((value) => ({ ...claim, [field]: value }))
  );
  return fc.oneof({ arbitrary: good, weight: 3 }, { arbitrary: oneWrong, weight: 2 });
}

/** A message, or anything else, as bytes. */
export function anyLine(keys: readonly string[], wallNs: bigint): fc.Arbitrary<Uint8Array> {
  return fc.oneof(
    { arbitrary: anyClaim(keys, wallNs).map((claim) => line(JSON.stringify(claim))), weight: 6 },
    { arbitrary: fc.constantFrom(...Object.values(GARBAGE)).map((make) => make()), weight: 1 },
    { arbitrary: fc.uint8Array({ maxLength: 300 }), weight: 1 },
    { arbitrary: fc.json().map(line), weight: 1 },
    {
      arbitrary: fc.record({
        dropped: fc.constantFrom("decrypt", "overload", "tag", "limit"),
        source: fc.oneof(fc.ipV6(), fc.string()),
      }).map((drop) => line(JSON.stringify(drop))),
      weight: 1,
    },
  );
}
