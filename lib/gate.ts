/**
 * The gate: a datagram, where it came from and what time it is -> a verdict. One to one with "Order of checks" in
 * docs/protocol.md. Total over all byte strings: whatever the bytes, it returns, and it never answers anyone.
 */

import { type Address, isHoldable } from "./values/address.ts";
import type { KeyAgreement, VerifySignature } from "./crypto/keys.ts";
import { signatureParts, type Unsealed, type UnsealFailure, unsealKnock } from "./packet.ts";
import type { ReplayMemory } from "./replay.ts";

/** Why a datagram was dropped, in the order of the checks. The list is closed. */
export type DropReason =
  | UnsealFailure // size, version, key_agreement, decrypt
  | "signature"
  | "expired"
  | "stale"
  | "target"
  | "replay"
  | "limit";

/** A registered client, as far as the gate knows it. */
export interface GateClient {
  readonly name: string;
  /** The Ed25519 public key in hex: whose nonces are whose, also after a change of name. */
  readonly key: string;
  readonly verify: VerifySignature;
  /** ns since 1970; from this time on the key is no good. */
  readonly expiresNs: bigint | undefined;
}

/** The registered clients, in the order in which their keys are worth trying. */
export interface Candidates {
  /** Those that the hint in a random nonce names: one, or by chance a few. */
  hinted(randomNonce: Uint8Array): readonly GateClient[];
  /** Every client once, those that the hint names first. */
  inOrder(randomNonce: Uint8Array, source: Address): Iterator<GateClient, unknown>;
  /** Remembers that a knock of this client was accepted from there. Only for knocks that passed every check. */
  accepted(client: GateClient, source: Address): void;
}

/** What the gate decides by. `replay` is the only part that a judgement changes. */
export interface GateRules {
  readonly agree: KeyAgreement;
  /** The server's key before this one, while a rotation is under way. */
  readonly previousAgree?: KeyAgreement | undefined;
  readonly candidates: Candidates;
  readonly replayWindowNs: bigint;
  readonly replay: ReplayMemory;
  /** Whether one more grant, or a renewal, for this client and address stays within the caps. */
  readonly hasRoom: (client: GateClient, address: Address) => boolean;
}

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

/**
 * Judges one datagram. Synchronous on purpose: check and remember cannot be interleaved, so of two copies in flight at
 * most one passes.
 *
 * @example
 * ```ts
 * import { judge } from "./gate.ts";
 * import { parseAddress } from "./values/address.ts";
 * import { ReplayMemory } from "./replay.ts";
 * const rules = {
 *   agree: () => undefined,
 *   candidates: { hinted: () => [], inOrder: () => [].values(), accepted() {} },
 *   replayWindowNs: 60_000_000_000n,
 *   replay: new ReplayMemory(),
 *   hasRoom: () => true,
 * };
 * const verdict = judge(new Uint8Array(164), parseAddress("192.0.2.1")!, 0n, rules);
 * if (verdict.kind !== "drop" || verdict.reason !== "size") throw new Error("unexpected");
 * ```
 */
export function judge(
  datagram: Uint8Array,
  source: Address,
  nowNs: bigint,
  rules: GateRules,
): Verdict {
  const step = beginJudging(datagram, source, rules);
  if ("kind" in step) return step;
  return continueJudging(step, nowNs, rules, Infinity) ?? drop("signature");
}

/** A knock that was sealed to this server, while it is being found out whose it is. */
export interface UnsignedKnock {
  readonly unsealed: Unsealed;
  readonly source: Address;
  readonly candidates: Iterator<GateClient, unknown>;
}

/**
 * {@linkcode judge} up to the signature. The datagram's bytes must stay as they are until its verdict is there. With
 * `hintedOnly` no key is tried but those that the knock's own hint names.
 */
export function beginJudging(
  datagram: Uint8Array,
  source: Address,
  rules: GateRules,
  { hintedOnly = false }: { readonly hintedOnly?: boolean } = {},
): UnsignedKnock | DropVerdict {
  const unsealed = unseal(datagram, rules);
  if (typeof unsealed === "string") return drop(unsealed);
  const { randomNonce } = unsealed.knock;
  const candidates = hintedOnly
    ? rules.candidates.hinted(randomNonce).values()
    : rules.candidates.inOrder(randomNonce, source);
  return { unsealed, source, candidates };
}

/** The same knock on a copy of its datagram, for when the bytes are needed elsewhere. */
export function withBytesOf(copy: Uint8Array, knock: UnsignedKnock): UnsignedKnock {
  return { ...knock, unsealed: { ...knock.unsealed, ...signatureParts(copy) } };
}

/** The rest of {@linkcode judge}, trying at most so many keys; `undefined` where more are left to try. */
export function continueJudging(
  { unsealed, source, candidates }: UnsignedKnock,
  nowNs: bigint,
  rules: GateRules,
  keys: number,
): Verdict | undefined {
  for (let tried = 0; tried < keys; tried++) {
    const { done, value: client } = candidates.next();
    if (done) return drop("signature");
    if (client.verify(unsealed.signedBytes, unsealed.signature)) {
      const verdict = judgeSigned(unsealed, client, source, nowNs, rules);
      if (verdict.kind === "grant") rules.candidates.accepted(client, source);
      return verdict;
    }
  }
  return undefined;
}

/** Whether its time is wrong, whoever it is from. */
export function isStale({ unsealed }: UnsignedKnock, nowNs: bigint, rules: GateRules): boolean {
  return isOutside(unsealed.knock.timestampNs, nowNs, rules);
}

function isOutside(timestampNs: bigint, nowNs: bigint, { replayWindowNs }: GateRules): boolean {
  const ageNs = nowNs - timestampNs; // bigint: no overflow at the ends of int64
  return ageNs > replayWindowNs || -ageNs > replayWindowNs;
}

function judgeSigned(
  { knock }: Unsealed,
  client: GateClient,
  source: Address,
  nowNs: bigint,
  rules: GateRules,
): Verdict {
  // From here on the sender is known, but what he sent may be old, and anyone may have sent it again.
  if (client.expiresNs !== undefined && nowNs >= client.expiresNs) return drop("expired", client);
  const { timestampNs, randomNonce } = knock;
  if (isOutside(timestampNs, nowNs, rules)) {
    const seen = rules.replay.has(client.key, randomNonce, timestampNs);
    return { kind: "drop", reason: "stale", client, clock: { aheadNs: timestampNs - nowNs, seen } };
  }
  const address = knock.target ?? source;
  if (!isHoldable(address)) return drop("target", client);

  // Remember last: until here nothing has changed, so nothing that an unauthenticated sender does can burn a nonce.
  const remembered = rules.replay.checkAndRemember(client.key, randomNonce, timestampNs, {
    nowNs,
    replayWindowNs: rules.replayWindowNs,
  });
  if (remembered !== "fresh") return drop(remembered, client);
  // After remembering, or a knock that was refused could be replayed once there is room.
  if (!rules.hasRoom(client, address)) {
    return { kind: "drop", reason: "limit", client, remembered: { randomNonce, timestampNs } };
  }
  return { kind: "grant", client, address, randomNonce, timestampNs };
}

/** With the server's key, and with the one before it where both are good. The first one's failure is the reason. */
function unseal(
  datagram: Uint8Array,
  { agree, previousAgree }: GateRules,
): Unsealed | UnsealFailure {
  const unsealed = unsealKnock(datagram, agree);
  if (unsealed !== "decrypt" || !previousAgree) return unsealed;
  const earlier = unsealKnock(datagram, previousAgree);
  return typeof earlier === "string" ? unsealed : earlier;
}

function drop(reason: DropReason, client?: GateClient): DropVerdict {
  return client ? { kind: "drop", reason, client } : { kind: "drop", reason };
}
