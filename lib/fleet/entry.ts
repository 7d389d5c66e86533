/** What the hosts of a fleet write for each other into the engine's stream. Sealed with {@linkcode FleetSeal}. Pure. */

import { decodeBase64, encodeBase64 } from "../crypto/keys.ts";
import { PACKET_SIZE } from "../packet.ts";
import { type Address, formatAddress, parseAddress } from "../values/address.ts";
import type { FleetSeal } from "./keys.ts";

/** A knock that a host has accepted. */
export interface KnockEntry {
  /** The host's name, and that of its process. */
  readonly host: string;
  readonly claimant: string;
  /** When it was accepted, ms since 1970 by that host's clock. */
  readonly atMs: number;
  /** Where it came from. */
  readonly source: Address;
  readonly datagram: Uint8Array;
}

const HOST = /^[\w.:-]{1,64}$/;

/** The entry as text. */
export function sealKnock(entry: KnockEntry, seal: FleetSeal): string {
  const { host, claimant, atMs, source, datagram } = entry;
  return seal.seal(JSON.stringify({
    knock: encodeBase64(datagram),
    source: formatAddress(source),
    host,
    claimant,
    at: Math.round(atMs),
  }));
}

/** Reads an entry; `undefined` for what no host of this fleet has written, and for what is no knock. */
export function openKnock(sealed: string, seal: FleetSeal): KnockEntry | undefined {
  const text = seal.open(sealed);
  if (text === undefined) return undefined;
  const { knock, source: from, host, claimant, at } = parse(text);
  const datagram = typeof knock === "string" ? decodeBase64(knock) : undefined;
  const source = typeof from === "string" ? parseAddress(from) : undefined;
  const isRead = datagram?.length === PACKET_SIZE && source !== undefined &&
    isName(host) && isName(claimant) && Number.isSafeInteger(at);
  return isRead ? { datagram, source, host, claimant, atMs: at as number } : undefined;
}

/** A host's name as entries have it: what it calls itself, with everything strange taken out. */
export function entryHost(name: string): string {
  return name.replaceAll(/[^\w.:-]/g, "").slice(0, 64) || "host";
}

function isName(value: unknown): value is string {
  return typeof value === "string" && HOST.test(value);
}

function parse(text: string): Record<string, unknown> {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}
