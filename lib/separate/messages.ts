/**
 * What the keeper and the taker tell each other, as JSON. The keeper reads the taker's messages as it would read a
 * stranger's: typed, of bounded length, and everything else is junk.
 */

import { bytesToHex, hexToBytes } from "../crypto/keys.ts";
import type { SignedKnock } from "../gate.ts";
import { PACKET_SIZE, RANDOM_NONCE_SIZE } from "../packet.ts";
import type { KnockConfig } from "../receive/intake.ts";
import { formatAddress, parseAddress } from "../values/address.ts";

/** The first message to a taker: the port, on these addresses, and what tells knocks of clients from everything else. */
export interface KnocksRole {
  readonly role: "knocks";
  readonly port: number;
  readonly wildcards: readonly string[];
  readonly config: SentConfig;
}

/** What the keeper tells a taker after that. Nothing is received before `take`. */
export type ToTaker =
  | { readonly take: true }
  | { readonly config: SentConfig; readonly number: number }
  /** Knocks under these keys, in hex, from there passed every check, the oldest first. */
  | { readonly accepted: readonly (readonly [key: string, source: string])[] };

/** The part of the configuration that a taker gets. Keys are in hex; a client's key is all that it learns of one. */
export interface SentConfig {
  readonly privateKey: string;
  readonly previousPrivateKey: string | null;
  readonly publicKey: string;
  readonly replayWindowMs: number;
  readonly onlyStampedKnocks: boolean;
  readonly clientKeys: readonly string[];
}

/** What a taker tells. */
export type FromTaker =
  /** The port is bound, in this network namespace, and every right is given up. */
  | { readonly bound: string }
  /** It could not begin; `isPort`: because of the port. */
  | { readonly failed: string; readonly hint?: string | undefined; readonly isPort: boolean }
  | { readonly signed: SignedKnock }
  /** The configuration of this number is in force. */
  | { readonly configured: number }
  | { readonly dropped: TakerDrop; readonly source: string }
  /** So many more were dropped in the last second. */
  | { readonly droppedMore: Readonly<Partial<Record<TakerDrop, number>>> };

/** Why a taker drops a datagram. */
const DROPS = [
  ...["size", "version", "key_agreement", "decrypt", "signature"] as const,
  ...["tag", "unstamped", "overload"] as const,
];
export type TakerDrop = typeof DROPS[number];

/** What a taker gets of a configuration. */
export function sentConfig(config: KnockConfig): SentConfig {
  const { privateKey, previousPrivateKey, publicKey, replayWindowMs, onlyStampedKnocks } = config;
  return {
    privateKey: bytesToHex(privateKey),
    previousPrivateKey: previousPrivateKey ? bytesToHex(previousPrivateKey) : null,
    publicKey: bytesToHex(publicKey),
    replayWindowMs,
    onlyStampedKnocks,
    clientKeys: [...config.keys.byKey.keys()],
  };
}

/** A message of the taker's as JSON has it. */
export function sentMessage(message: FromTaker): object {
  if (!("signed" in message)) return message;
  const { key, source, randomNonce, timestampNs, target, datagram } = message.signed;
  return {
    signed: key,
    source: formatAddress(source),
    nonce: bytesToHex(randomNonce),
    time: String(timestampNs),
    ...(target ? { target: formatAddress(target) } : {}),
    ...(datagram ? { datagram: bytesToHex(datagram) } : {}),
  };
}

/** Reads what came from a taker; `undefined` for what an honest one never sends. */
export function readMessage(message: unknown): FromTaker | undefined {
  if (typeof message !== "object" || message === null) return undefined;
  const fields = message as Record<string, unknown>;
  const { signed, source, dropped, droppedMore, configured } = fields;
  if (signed !== undefined) return readSigned(fields);
  if (dropped !== undefined) {
    const from = readAddress(source);
    return isDrop(dropped) && from ? { dropped, source: formatAddress(from) } : undefined;
  }
  if (droppedMore !== undefined) return readCounts(droppedMore);
  if (configured !== undefined) {
    return Number.isSafeInteger(configured) ? { configured: configured as number } : undefined;
  }
  const { bound, failed, hint, isPort } = fields;
  if (typeof bound === "string") return { bound };
  if (typeof failed !== "string") return undefined;
  return { failed, hint: typeof hint === "string" ? hint : undefined, isPort: isPort === true };
}

function readSigned(fields: Record<string, unknown>): FromTaker | undefined {
  const { signed: key, nonce, time, datagram } = fields;
  const source = readAddress(fields["source"]);
  const target = fields["target"] === undefined ? undefined : readAddress(fields["target"]);
  const isRead = isHex(key, 32) && isHex(nonce, RANDOM_NONCE_SIZE) && source !== undefined &&
    typeof time === "string" && /^-?\d{1,19}$/.test(time) &&
    (target !== undefined || fields["target"] === undefined) &&
    (datagram === undefined || isHex(datagram, PACKET_SIZE));
  if (!isRead) return undefined;
  const [randomNonce, timestampNs] = [hexToBytes(nonce), BigInt(time)];
  const bytes = datagram === undefined ? undefined : hexToBytes(datagram);
  return { signed: { key, source, randomNonce, timestampNs, target, datagram: bytes } };
}

function readCounts(counts: unknown): FromTaker | undefined {
  if (typeof counts !== "object" || counts === null) return undefined;
  const isCount = (count: unknown) => Number.isSafeInteger(count) && (count as number) > 0;
  const pairs = Object.entries(counts);
  if (!pairs.every(([reason, count]) => isDrop(reason) && isCount(count))) return undefined;
  return { droppedMore: Object.fromEntries(pairs) };
}

function readAddress(text: unknown) {
  return typeof text === "string" ? parseAddress(text) : undefined;
}

function isHex(text: unknown, bytes: number): text is string {
  return typeof text === "string" && text.length === 2 * bytes && /^[0-9a-f]+$/.test(text);
}

function isDrop(reason: unknown): reason is TakerDrop {
  return (DROPS as readonly unknown[]).includes(reason);
}
