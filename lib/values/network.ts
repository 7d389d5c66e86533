/**
 * Networks: an address whose host bits are zero, and a prefix length. A single address is the network of full length,
 * and is printed as the address alone.
 */

import { type Address, formatAddress, parseAddress, sameAddress } from "./address.ts";

/** A network; every bit of `base` after the first `length` is zero. */
export interface Network {
  readonly base: Address;
  /** Bits: at most 32 in IPv4, 128 in IPv6. */
  readonly length: number;
}

/** The prefix lengths of a client's grants, in bits. */
export interface PrefixLengths {
  readonly v4: number;
  readonly v6: number;
}

/** Grants for a single address. */
export const SINGLE: PrefixLengths = { v4: 32, v6: 128 };

/** The number of bits in an address. */
export function fullLength(family: 4 | 6): 32 | 128 {
  return family === 4 ? 32 : 128;
}

/** The network of `length` bits around an address; without a length, the address alone. */
export function networkOf(address: Address, length: number = fullLength(address.family)): Network {
  const mask = maskOf(address.family, length).bytes;
  return {
    base: { family: address.family, bytes: address.bytes.map((byte, i) => byte & mask[i]!) },
    length,
  };
}

/** The network of a grant to an address, for a client with these lengths. */
export function grantedNetwork(address: Address, lengths: PrefixLengths = SINGLE): Network {
  return networkOf(address, address.family === 4 ? lengths.v4 : lengths.v6);
}

/** Whether this is a single address. */
export function isSingle({ base, length }: Network): boolean {
  return length === fullLength(base.family);
}

/** Whether the address lies in the network. */
export function containsAddress({ base, length }: Network, address: Address): boolean {
  return base.family === address.family && sameAddress(networkOf(address, length).base, base);
}

/** Whether the two have an address in common: then one contains the other. */
export function overlap(a: Network, b: Network): boolean {
  return a.length <= b.length ? containsAddress(a, b.base) : containsAddress(b, a.base);
}

/** The address whose first `length` bits are ones and all others zeros. */
export function maskOf(family: 4 | 6, length: number): Address {
  const bytes = Uint8Array.from(
    { length: fullLength(family) / 8 },
    (_, i) => 0xff00 >> Math.min(8, Math.max(0, length - 8 * i)) & 0xff,
  );
  return { family, bytes };
}

/** The canonical text: `198.51.100.0/24`, and a single address without a length. */
export function formatNetwork(network: Network): string {
  const text = formatAddress(network.base);
  return isSingle(network) ? text : `${text}/${network.length}`;
}

/**
 * Reads an address, or an address whose host bits are zero, a slash and a length. Returns `undefined` for anything else.
 *
 * @example
 * ```ts
 * import { formatNetwork, parseNetwork } from "./network.ts";
 * const network = parseNetwork("2001:DB8:0::/64");
 * if (!network || formatNetwork(network) !== "2001:db8::/64") throw new Error("unexpected");
 * if (parseNetwork("198.51.100.7/24")) throw new Error("unexpected");
 * ```
 */
export function parseNetwork(text: string): Network | undefined {
  const slash = text.indexOf("/");
  const base = parseAddress(slash < 0 ? text : text.slice(0, slash));
  if (!base) return undefined;
  if (slash < 0) return networkOf(base);
  const digits = text.slice(slash + 1);
  const length = /^(?:0|[1-9]\d{0,2})$/.test(digits) ? Number(digits) : NaN;
  if (!(length <= fullLength(base.family))) return undefined;
  const network = networkOf(base, length);
  return sameAddress(network.base, base) ? network : undefined;
}
