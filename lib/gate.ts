/**
 * The gate: a datagram, where it came from and what time it is -> a verdict. One to one with "Order of checks" in
 * docs/protocol.md. Total: it returns for every byte string, and never answers.
 */

import { type Address, isHoldable } from "./values/address.ts";
import type { Bytes, KeyAgreement, VerifySignature } from "./crypto/keys.ts";
import { keyAgreement } from "./crypto/sync.ts";
import { type Knock, splitSignature, type UnsealFailure, unsealKnock } from "./packet.ts";
import { atOnce } from "./values/steps.ts";
import type { ReplayMemory } from "./replay.ts";

/** Why a datagram was dropped, in the order of the checks. The list is closed. */
export type DropReason =
  | Unidentified // size, version, key_agreement, decrypt, signature
  | "expired"
  | "stale"
  | "target"
  | "replay"
  | "limit"
  | RuleReason;

/** By which rule of its client's entry a knock was dropped. */
export type RuleReason = "from" | "hours" | "uses" | "needs" | CodeReason | FleetReason;

/** Why the code of a knock is not taken. */
export type CodeReason = "code_missing" | "code_wrong" | "code_used" | "code_locked";

/** Why a host of a fleet drops what it would let in alone. */
export type FleetReason = "unclaimed" | "late";

/** A registered client, as far as the gate knows it. */
export interface GateClient {
  readonly name: string;
  /** The Ed25519 public key in hex: whose nonces are whose, also after a change of name. */
  readonly key: string;
  readonly verify: VerifySignature;
  /** ns since 1970; from this time on the key is refused. */
  readonly expiresNs: bigint | undefined;
}

/** The registered clients, in the order in which their keys are worth trying. */
export interface Candidates {
  /** Those that the hint in a random nonce names: one, or by chance a few. */
  hinted(randomNonce: Uint8Array): readonly GateClient[];
  /** Every client once, those that the hint names first. */
  inOrder(randomNonce: Uint8Array, source: Address): Iterable<GateClient>;
  /** Remembers that a knock under this key was accepted from there. Only for knocks that passed every check. */
  accepted(key: string, source: Address): void;
}

/** The server's key, and the one before it while a rotation is under way. */
export interface Agreements {
  readonly agree: KeyAgreement;
  readonly previousAgree?: KeyAgreement | undefined;
}

/** With these private keys, 32 bytes each. */
export function agreementsOf(
  keys: { readonly privateKey: Bytes; readonly previousPrivateKey: Bytes | undefined },
): Agreements {
  const previous = keys.previousPrivateKey;
  return {
    agree: keyAgreement(keys.privateKey),
    previousAgree: previous && keyAgreement(previous),
  };
}

/** By what it is found out who has signed. Nothing here changes. */
export type IdentifyRules = Agreements & { readonly candidates: Candidates };

/** By what a signed knock is decided. `replay` is the only part that a decision changes. */
export interface DecideRules {
  /** The clients that are registered now, by their keys in hex. */
  readonly clients: ReadonlyMap<string, GateClient>;
  readonly replayWindowNs: bigint;
  readonly replay: ReplayMemory;
  /** Whether one more grant, or a renewal, for this client and address stays within the caps. */
  readonly hasRoom: (client: GateClient, address: Address) => boolean;
  /** Which rule of the client's entry is against a knock for this address, if any is. */
  readonly ruleAgainst?: (client: GateClient, address: Address) => RuleReason | undefined;
}

/** What the gate decides by. */
export type GateRules = IdentifyRules & DecideRules;

/** A knock whose signature is good. It may be old, and anyone may have sent it again. */
export interface SignedKnock {
  /** The client's Ed25519 public key in hex. */
  readonly key: string;
  /** Where the datagram came from. */
  readonly source: Address;
  readonly randomNonce: Uint8Array;
  readonly timestampNs: bigint;
  /** Whom to let in; `undefined` for the source. */
  readonly target: Address | undefined;
  /** A copy of the bytes, for the other hosts of a fleet. */
  readonly datagram?: Uint8Array | undefined;
  readonly fleet?: FleetKnock;
}

/** What a fleet knows of a knock. */
export interface FleetKnock {
  /** The host that it came to, where that is another one; how long ago that let in for it, after how long a wait (`needs`). */
  readonly from?: string;
  readonly ageMs?: number;
  readonly waitedMs?: number;
  /** What another host may have taken: the knock, or a code that is good here only for what that host tells of. */
  readonly unclaimed?: "knock" | "code";
}

/** Why it cannot be told who has signed a datagram. */
export type Unidentified = UnsealFailure | "signature";

/** Let `address` in for `client`; the nonce is remembered in memory, and must be on disk before anything opens. */
export interface GrantVerdict {
  readonly kind: "grant";
  readonly client: GateClient;
  readonly address: Address;
  readonly randomNonce: Uint8Array;
  readonly timestampNs: bigint;
}

/** Do nothing and say nothing. `remembered` is set where the nonce was remembered, and must be on disk as well. */
export interface DropVerdict {
  readonly kind: "drop";
  readonly reason: DropReason;
  /** Whose key it was, where the signature was good. */
  readonly client?: GateClient;
  readonly remembered?: { readonly randomNonce: Uint8Array; readonly timestampNs: bigint };
  /** Where the time was wrong: how far it is ahead of the server's, and whether the knock was accepted before. */
  readonly clock?: { readonly aheadNs: bigint; readonly seen: boolean };
}

export type Verdict = GrantVerdict | DropVerdict;

/** Reads a datagram, and finds out who has signed it: in one step. */
export function identify(
  datagram: Uint8Array,
  source: Address,
  rules: IdentifyRules,
): SignedKnock | Unidentified {
  const knock = unseal(datagram, rules);
  if (typeof knock === "string") return knock;
  return atOnce(identifying({ knock, datagram, source }, rules.candidates));
}

/** A datagram that was sealed to this server. */
export interface ReadDatagram {
  readonly knock: Knock;
  readonly datagram: Uint8Array;
  readonly source: Address;
}

/**
 * Finds out who has signed a datagram, in steps, so that a long search can be interrupted: each tries one key. The bytes
 * must stay as they are until the end. With `hintedOnly` only the keys are tried that the knock's own hint names.
 */
export function* identifying(
  { knock, datagram, source }: ReadDatagram,
  candidates: Candidates,
  { hintedOnly = false }: { readonly hintedOnly?: boolean } = {},
): Generator<void, SignedKnock | "signature", void> {
  const [signedBytes, signature] = splitSignature(datagram);
  const tried = hintedOnly
    ? candidates.hinted(knock.randomNonce)
    : candidates.inOrder(knock.randomNonce, source);
  for (const { key, verify } of tried) {
    if (verify(signedBytes, signature)) {
      return { ...knock, key, source, datagram: datagram.slice() };
    }
    yield;
  }
  return "signature";
}

/** Whether a knock's time is wrong. */
export function isStale(
  { timestampNs }: Pick<Knock, "timestampNs">,
  nowNs: bigint,
  { replayWindowNs }: Pick<DecideRules, "replayWindowNs">,
): boolean {
  const ageNs = nowNs - timestampNs; // bigint: no overflow at the ends of int64
  return ageNs > replayWindowNs || -ageNs > replayWindowNs;
}

/**
 * Decides about a signed knock; about one that has waited, `isRemembered`, when that may open. Synchronous on purpose:
 * check and remember cannot be interleaved, so of two copies in flight at most one passes.
 */
export function decide(
  signed: SignedKnock,
  nowNs: bigint,
  rules: DecideRules,
  { isRemembered = false }: { readonly isRemembered?: boolean } = {},
): Verdict {
  const client = rules.clients.get(signed.key);
  if (!client) return drop("signature");
  if (client.expiresNs !== undefined && nowNs >= client.expiresNs) return drop("expired", client);
  const { timestampNs, randomNonce } = signed;
  if (!isRemembered && isStale(signed, nowNs, rules)) {
    const seen = rules.replay.has(client.key, randomNonce, timestampNs);
    return { kind: "drop", reason: "stale", client, clock: { aheadNs: timestampNs - nowNs, seen } };
  }
  const address = signed.target ?? signed.source;
  if (!isHoldable(address)) return drop("target", client);

  // Remember last: until here nothing has changed, so nothing that an unauthenticated sender does can burn a nonce.
  const remembered = isRemembered
    ? "fresh"
    : rules.replay.checkAndRemember(client.key, randomNonce, timestampNs, {
      nowNs,
      replayWindowNs: rules.replayWindowNs,
    });
  if (remembered !== "fresh") return drop(remembered, client);
  // After remembering, or a knock that was refused could be replayed once it would be let in.
  const reason = rules.hasRoom(client, address) ? rules.ruleAgainst?.(client, address) : "limit";
  if (reason) return { kind: "drop", reason, client, remembered: { randomNonce, timestampNs } };
  return { kind: "grant", client, address, randomNonce, timestampNs };
}

/** Reads a datagram with the server's key, and with the one before it where both are good. The first one's failure is the reason. */
export function unseal(
  datagram: Uint8Array,
  { agree, previousAgree }: Agreements,
): Knock | UnsealFailure {
  const knock = unsealKnock(datagram, agree);
  if (knock !== "decrypt" || !previousAgree) return knock;
  const earlier = unsealKnock(datagram, previousAgree);
  return typeof earlier === "string" ? knock : earlier;
}

function drop(reason: DropReason, client?: GateClient): DropVerdict {
  return client ? { kind: "drop", reason, client } : { kind: "drop", reason };
}
