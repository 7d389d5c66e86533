/** What the hosts of a fleet write for each other into the engine's stream, sealed ({@linkcode FleetSeal}). Pure. */

import { decodeBase64, encodeBase64 } from "../crypto/keys.ts";
import { PACKET_SIZE } from "../packet.ts";
import { type Address, formatAddress, parseAddress } from "../values/address.ts";
import type { FleetSeal } from "./keys.ts";

/** An entry, and who wrote it. */
export type Entry = EntryHead & EntryBody;

/** Who wrote an entry. */
export interface EntryHead {
  /** The host's name, and that of its process. */
  readonly host: string;
  readonly claimant: string;
  /** When, ms since 1970 by that host's clock. */
  readonly atMs: number;
}

/** What an entry says. */
export type EntryBody =
  | KnockEntry
  /** The host is there. */
  | { readonly alive: Alive }
  /** The host asks every other one. */
  | { readonly ask: unknown; readonly id: string }
  /** A part of a host's answer, of so many. */
  | { readonly answer: string; readonly id: string; readonly part: number; readonly parts: number };

/** The host has let somebody in for this datagram, which came from there. */
export interface KnockEntry {
  readonly knock: Uint8Array;
  readonly source: Address;
  /** Whose it is, so that no host has to try the keys of all its clients: the public key in hex. */
  readonly key: string;
  /** How long it had waited for another client's. */
  readonly waitedMs: number;
}

/** What a host tells of itself every few seconds. */
export interface Alive {
  readonly version: string;
  /** How many clients it knows, and the hints of their keys where these are few. */
  readonly clients: number;
  readonly hints: readonly number[];
  /** How long its last entry took to come back to it, ms; `null` before the first. */
  readonly lagMs: number | null;
}

/** Hints that an entry has room for. */
export const MOST_HINTS = 64;
/** A knock waits no longer for another one. */
const MOST_WAITED_MS = 60_000;
/** Parts of an answer: so much of it is read. */
export const MOST_PARTS = 100;

const KEY = /^[0-9a-f]{64}$/;
const NAME = /^[\w.:-]{1,64}$/;

/** The entry as text. */
export function sealEntry({ host, claimant, atMs, ...body }: Entry, seal: FleetSeal): string {
  const said = "knock" in body
    ? { ...body, knock: encodeBase64(body.knock), source: formatAddress(body.source) }
    : "alive" in body
    ? { alive: { ...body.alive, hints: packHints(body.alive.hints) } }
    : body;
  return seal.seal(JSON.stringify({ ...said, host, claimant, at: Math.round(atMs) }));
}

/** Reads an entry; `undefined` for what no host of this fleet has written, and for what none of this version writes. */
export function openEntry(sealed: string, seal: FleetSeal): Entry | undefined {
  const text = seal.open(sealed);
  if (text === undefined) return undefined;
  const said = parse(text);
  const { host, claimant, at } = said;
  const body = readBody(said);
  if (!body || !isName(host) || !isName(claimant) || !Number.isSafeInteger(at)) return undefined;
  return { ...body, host, claimant, atMs: at as number };
}

/** A host's name as entries have it: what it calls itself, without what has no place in a name. */
export function entryHost(name: string): string {
  return name.replaceAll(/[^\w.:-]/g, "").slice(0, 64) || "host";
}

/** An answer in parts. What is too long for an answer becomes one that says so. */
export function partsOf(answer: unknown): string[] {
  const text = (value: unknown) => encodeBase64(new TextEncoder().encode(JSON.stringify(value)));
  const cut = (all: string) => all.match(/.{1,400}/g) ?? [];
  const parts = cut(text(answer));
  return parts.length <= MOST_PARTS ? parts : cut(text({ error: "its answer is too long" }));
}

/** What the parts say together. */
export function joinParts(parts: readonly string[]): unknown {
  const bytes = decodeBase64(parts.join(""));
  return bytes && parse(new TextDecoder().decode(bytes));
}

function readBody(said: Record<string, unknown>): EntryBody | undefined {
  const { knock, source: from, key, waitedMs, alive, ask, answer, id, part, parts } = said;
  if (knock !== undefined) {
    const datagram = typeof knock === "string" ? decodeBase64(knock) : undefined;
    const source = typeof from === "string" ? parseAddress(from) : undefined;
    const isRead = datagram?.length === PACKET_SIZE && source && typeof key === "string" &&
      KEY.test(key) && isCount(waitedMs) && waitedMs <= MOST_WAITED_MS;
    return isRead ? { knock: datagram, source, key, waitedMs } : undefined;
  }
  if (alive !== undefined) return readAlive(Object(alive));
  if (!isName(id)) return undefined;
  if (ask !== undefined) return { ask, id };
  const isPart = typeof answer === "string" && isCount(part) && isCount(parts) &&
    part < parts && parts <= MOST_PARTS;
  return isPart ? { answer, id, part, parts } : undefined;
}

function readAlive({ version, clients, hints: packed, lagMs }: Record<string, unknown>) {
  const hints = typeof packed === "string" ? unpackHints(packed) : undefined;
  const isRead = isName(version) && isCount(clients) && hints &&
    (lagMs === null || typeof lagMs === "number");
  return isRead ? { alive: { version, clients, hints, lagMs } satisfies Alive } : undefined;
}

/** Four bytes each, big-endian. */
function packHints(hints: readonly number[]): string {
  const bytes = new DataView(new ArrayBuffer(4 * hints.length));
  hints.forEach((hint, i) => bytes.setUint32(4 * i, hint));
  return encodeBase64(new Uint8Array(bytes.buffer));
}

function unpackHints(packed: string): number[] | undefined {
  const bytes = decodeBase64(packed);
  if (!bytes || bytes.length % 4 !== 0 || bytes.length > 4 * MOST_HINTS) return undefined;
  const view = new DataView(bytes.buffer);
  return Array.from({ length: bytes.length / 4 }, (_, i) => view.getUint32(4 * i));
}

function isName(value: unknown): value is string {
  return typeof value === "string" && NAME.test(value);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function parse(text: string): Record<string, unknown> {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}
