/**
 * IP addresses: parsed strictly, printed canonically (RFC 5952), and judged by whether a remote client can hold them. An
 * IPv4-mapped IPv6 address becomes the IPv4 address: a dual-stack socket reports IPv4 peers so.
 */

/** An IPv4 (4 bytes) or IPv6 (16 bytes) address, network byte order. Never an IPv4-mapped one. */
export interface Address {
  readonly family: 4 | 6;
  readonly bytes: Uint8Array;
  /** The interface that reaches a link-local address. Only a client has one; it is never sent. */
  readonly zone?: string;
}

const MAPPED_PREFIX = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff); // RFC 4291 section 2.5.5.2

/**
 * Reads an IPv4 address in dotted decimal or an IPv6 address (RFC 4291 section 2.2); no zone, no prefix length, no
 * white space, no octal. Returns `undefined` for anything else.
 *
 * @example
 * ```ts
 * import { formatAddress, parseAddress } from "./address.ts";
 * const address = parseAddress("2001:DB8:0::1");
 * if (!address || formatAddress(address) !== "2001:db8::1") throw new Error("unexpected");
 * ```
 */
export function parseAddress(text: string): Address | undefined {
  const v4 = parseV4(text);
  if (v4) return { family: 4, bytes: v4 };
  const v6 = parseV6(text);
  return v6 && addressFromBytes16(v6);
}

/** Reads a link-local IPv6 address with its zone (RFC 4007 section 11), such as `fe80::1%eth0`, and nothing else. */
export function parseZonedAddress(text: string): Address | undefined {
  const [, plain, zone] = /^([^%]+)%([A-Za-z0-9._-]{1,15})$/.exec(text) ?? [];
  const address = plain === undefined ? undefined : parseAddress(plain);
  return address && isLinkLocal(address) ? { ...address, zone: zone! } : undefined;
}

/** Whether this is in `fe80::/10`: reachable only with a zone. */
export function isLinkLocal({ family, bytes }: Address): boolean {
  return family === 6 && bytes[0] === 0xfe && (bytes[1]! & 0xc0) === 0x80;
}

/** The first of these source addresses that reaches the target: of its family and, for link-local ones, its zone. */
export function sourceFor(target: Address, from: readonly Address[]): Address | undefined {
  return from.find(({ family, zone }) => family === target.family && zone === target.zone);
}

/** The canonical text: dotted decimal, or RFC 5952, with the zone where there is one. */
export function formatAddress({ family, bytes, zone }: Address): string {
  const text = formatBytes(family, bytes);
  return zone === undefined ? text : `${text}%${zone}`;
}

function formatBytes(family: 4 | 6, bytes: Uint8Array): string {
  if (family === 4) return bytes.join(".");
  const groups = Array.from({ length: 8 }, (_, i) => bytes[2 * i]! << 8 | bytes[2 * i + 1]!);
  const gap = longestZeroRun(groups);
  const hex = groups.map((group) => group.toString(16));
  if (gap.length < 2) return hex.join(":");
  return hex.slice(0, gap.start).join(":") + "::" + hex.slice(gap.start + gap.length).join(":");
}

/** The address in a 16-byte field; `::ffff:a.b.c.d` becomes IPv4. The bytes are copied. */
export function addressFromBytes16(bytes: Uint8Array): Address {
  if (bytes.length !== 16) throw new RangeError(`"bytes" expected 16 bytes, got ${bytes.length}`);
  const mapped = MAPPED_PREFIX.every((byte, i) => bytes[i] === byte);
  return mapped ? { family: 4, bytes: bytes.slice(12) } : { family: 6, bytes: bytes.slice() };
}

/** The 16-byte field for an address; IPv4 as `::ffff:a.b.c.d`. */
export function addressToBytes16({ family, bytes }: Address): Uint8Array {
  return family === 4 ? Uint8Array.of(...MAPPED_PREFIX, ...bytes) : bytes.slice();
}

/** Whether two addresses are the same. */
export function sameAddress(a: Address, b: Address): boolean {
  return a.family === b.family && a.bytes.every((byte, i) => byte === b.bytes[i]);
}

/** Whether this is `0.0.0.0` or `::`. */
export function isUnspecified({ bytes }: Address): boolean {
  return bytes.every((byte) => byte === 0);
}

/**
 * Whether a remote client can hold the address. Private, link-local and carrier-NAT addresses can be held; multicast,
 * broadcast, loopback, `0.0.0.0/8`, `240.0.0.0/4` and `::/96` (unspecified, loopback, IPv4-compatible) cannot.
 */
export function isHoldable({ family, bytes }: Address): boolean {
  const first = bytes[0]!;
  if (family === 4) return first !== 0 && first !== 127 && first < 224;
  return first !== 0xff && bytes.subarray(0, 12).some((byte) => byte !== 0);
}

function parseV4(text: string): Uint8Array | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (!match) return undefined;
  const parts = match.slice(1);
  if (parts.some((part) => Number(part) > 255 || (part.length > 1 && part[0] === "0"))) {
    return undefined;
  }
  return Uint8Array.from(parts, Number);
}

function parseV6(text: string): Uint8Array | undefined {
  if (text.length > 45 || !/^[0-9a-fA-F:.]+$/.test(text)) return undefined;
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const head = parseGroups(halves[0]!, halves.length === 1);
  const tail = halves.length === 2 ? parseGroups(halves[1]!, true) : [];
  if (!head || !tail) return undefined;
  const missing = 16 - head.length - tail.length;
  // RFC 4291: "::" stands for one or more groups of zeros.
  if (halves.length === 2 ? missing < 2 : missing !== 0) return undefined;
  return Uint8Array.from([...head, ...new Array<number>(missing).fill(0), ...tail]);
}

/** The bytes of colon-separated groups; a dotted-decimal end only where it is the end of the address. */
function parseGroups(text: string, atEnd: boolean): number[] | undefined {
  if (text === "") return [];
  const bytes: number[] = [];
  const groups = text.split(":");
  for (const [i, group] of groups.entries()) {
    if (/^[0-9a-fA-F]{1,4}$/.test(group)) {
      const value = parseInt(group, 16);
      bytes.push(value >> 8, value & 0xff);
      continue;
    }
    const v4 = atEnd && i === groups.length - 1 ? parseV4(group) : undefined;
    if (!v4) return undefined;
    bytes.push(...v4);
  }
  return bytes;
}

function longestZeroRun(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  for (let start = 0; start < groups.length; start++) {
    let end = start;
    while (end < groups.length && groups[end] === 0) end++;
    if (end - start > best.length) best = { start, length: end - start };
    start = end;
  }
  return best;
}
