/** The published points that no key and no signature may have: X25519's and Ed25519's, canonical or not. */

import { bytesToHex, hexToBytes } from "../../lib/crypto/keys.ts";
import { littleEndian } from "../support/knocks.ts";

const P = 2n ** 255n - 19n;
const SIGN = 2n ** 255n;

/** u of every X25519 point of low order, canonical or not (RFC 7748 section 7, and Wycheproof's list). */
export const LOW_ORDER_KEYS: readonly string[] = (() => {
  const points = [
    0n,
    1n,
    325606250916557431795983626356110631294008115727848805560023387167927233504n,
    39382357235489614581723060781553021112529911719440698176882885853963445705823n,
  ];
  const values = [...points, P - 1n, P, P + 1n, ...points.slice(2).map((each) => each + P)];
  return values.filter((each) => each < SIGN)
    .flatMap((each) => [littleEndian(each), littleEndian(each + SIGN)]);
})();

/** Every encoding of u from p to 2^255 - 1, with the ignored bit and without: each stands for u - p. */
export const NON_CANONICAL_KEYS: readonly { hex: string; isLowOrder: boolean }[] = Array.from(
  { length: 19 },
  (_, i) =>
    [P + BigInt(i), P + BigInt(i) + SIGN].map(littleEndian)
      .map((hex) => ({ hex, isLowOrder: i < 2 })),
).flat();

/** Ed25519 points of small order, canonical and not (RFC 8032 section 5.1.3), with either sign. */
export const SMALL_ORDER_POINTS: readonly string[] = (() => {
  const torsion = ["00".repeat(32), "01" + "00".repeat(31), "ec" + "ff".repeat(30) + "7f"];
  const eighth = [
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  ];
  const beyond = ["ed" + "ff".repeat(30) + "7f", "ee" + "ff".repeat(30) + "7f"];
  return [...torsion, ...eighth, ...beyond].flatMap((hex) => {
    const signed = hexToBytes(hex);
    signed[31]! |= 0x80;
    return [hex, bytesToHex(signed)];
  });
})();

/** Encodings of Ed25519 points with y from p to 2^255 - 1, with either sign: whether there is such a point or not. */
export const NON_CANONICAL_POINTS: readonly string[] = Array.from(
  { length: 19 },
  (_, i) => [littleEndian(P + BigInt(i)), littleEndian(P + BigInt(i) + SIGN)],
).flat();
