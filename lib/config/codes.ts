/**
 * The second factor: codes of an authenticator app (TOTP, RFC 6238: SHA-1, 6 digits, 30 s). How an entry says the secret,
 * and whether the code in a knock is taken. docs/protocol.md, "The code".
 */

import { type Address, sameAddress } from "../values/address.ts";
import type { KeyRecord } from "../values/key_record.ts";
import { ConfigError, type Field } from "./fields.ts";

const STEP_MS = 30_000;
/** Numbers below it are codes. */
const CODES = 1_000_000;

/** Wrong codes in a row after which none is taken for a while. */
const MOST_WRONG = 5;
/** How long that is, doubled by each further wrong code, and at most: three guesses a day. */
const LOCK_MS = 5 * 60_000;
const LONGEST_LOCK_MS = 8 * 3_600_000;

/** How long after its first knock a code also opens for an address of the other family. */
const ROUND_MS = 10_000;

/** The code of a secret, in base32, at a time step. */
export type CodeAt = (secret: string, step: number) => number;

/** Loads the library; for servers with a client that has `totp`. */
export async function loadCodes(): Promise<CodeAt> {
  const { HOTP, Secret } = await import("otpauth");
  return (secret, counter) =>
    Number(HOTP.generate({ secret: Secret.fromBase32(secret), counter, digits: 6 }));
}

/** A knock with a good signature, as far as codes look at it, and what a server knows. */
export interface CodedKnock {
  /** The client's key that signed, in hex. */
  readonly key: string;
  /** What stands in the place of the code. */
  readonly code: number;
  /** The address to let in. */
  readonly address: Address;
  /** Whether its key has opened that address already. */
  readonly isHeld: () => boolean;
  /** How long a knock of this client opens. */
  readonly lifetimeMs: number;
  /** Wall clock, ms since 1970. */
  readonly nowMs: number;
  /** How long ago another host let in for it, after how long a wait; whether another one may have taken its code. */
  readonly fleet: {
    readonly ageMs?: number;
    readonly waitedMs?: number;
    readonly unclaimed?: "knock" | "code";
  };
  readonly recordOf: (key: string) => KeyRecord;
  /** What was used up to here may be lost: ns since 1970. */
  readonly floorNs: bigint | undefined;
  /** Without it no code is right. */
  readonly codeAt: CodeAt | undefined;
}

/** Whose code it is: one is good once for all keys of a client. */
export interface CodeOwner {
  readonly key: string;
  readonly previous?: { readonly key: string } | undefined;
}

export type CodeRefusal = "code_missing" | "code_wrong" | "code_used" | "code_locked";

/** What comes of a code; `record` is to be remembered, also where it was refused. */
export interface JudgedCode {
  readonly refusal?: CodeRefusal;
  readonly record: KeyRecord;
  /** Whether the code was taken before, and this knock belongs to that use: it lengthens nothing. */
  readonly continues: boolean;
}

/**
 * Judges a code, by the server's clock: the knock's own timestamp is its client's word, and would make a code that was
 * watched good for a replay window longer. Pure.
 */
export function judgeCode(
  knock: CodedKnock,
  { secret, key, previous }: CodeOwner & { readonly secret: string },
): JudgedCode {
  const { code, recordOf, floorNs = 0n, codeAt = () => NaN, fleet } = knock;
  const nowMs = knock.nowMs - (fleet.ageMs ?? 0) - (fleet.waitedMs ?? 0);
  const record = recordOf(knock.key);
  const refused = (refusal: CodeRefusal, changed = record): JudgedCode => ({
    ...{ refusal, record: changed, continues: false },
  });
  if (code >= CODES) return refused("code_missing");
  // Not even looked at: otherwise a guess would still tell. A clock that was set back makes no lock longer.
  const lockedMs = record.lockedUntilMs - nowMs;
  if (lockedMs > 0 && lockedMs <= LONGEST_LOCK_MS) return refused("code_locked");

  const now = Math.floor(nowMs / STEP_MS);
  const steps = [now - 1, now, now + 1];
  const last = Math.max(
    record.step,
    ...[key, previous?.key].map((each) => each ? recordOf(each).step : 0),
    Number(floorNs / 1_000_000n / BigInt(STEP_MS)),
  );
  const isOf = (step: number) => codeAt(secret, step) === code;
  const fresh = steps.find((step) => step > last && isOf(step));
  if (fresh !== undefined) {
    if (fleet.unclaimed) return refused("code_used");
    const { used } = record;
    const codeUse = { sinceMs: nowMs, addresses: [knock.address] };
    const taken = { used, step: fresh, wrong: 0, lockedUntilMs: 0, codeUse };
    return { record: taken, continues: false };
  }
  if (last > 0 && isOf(last)) {
    const addresses = addressesOfUse({ ...knock, nowMs }, record);
    if (!addresses) return refused("code_used");
    const codeUse = { sinceMs: record.codeUse?.sinceMs ?? nowMs, addresses };
    return { record: { ...record, codeUse }, continues: true };
  }
  if (steps.some((step) => step < last && isOf(step))) return refused("code_used");

  // One command sends several knocks with the same code: that is one guess. Later it is another, at codes of then.
  const { code: before, atMs = Infinity } = record.wrongCode ?? {};
  if (code === before && nowMs >= atMs && nowMs < atMs + STEP_MS) return refused("code_wrong");
  const wrong = record.wrong + 1;
  const lockMs = Math.min(LOCK_MS * 2 ** (wrong - MOST_WRONG), LONGEST_LOCK_MS);
  const lockedUntilMs = wrong < MOST_WRONG ? 0 : Math.ceil(nowMs + lockMs);
  const counted = { wrong, lockedUntilMs, wrongCode: { code, atMs: nowMs } };
  return refused("code_wrong", { ...record, ...counted });
}

/**
 * The addresses of the last code's use, if this knock belongs to it: one that repeats what is open, or one of the same
 * command for the same address or for that of the other family.
 */
function addressesOfUse(
  { address, isHeld, lifetimeMs, nowMs }: CodedKnock,
  { codeUse }: KeyRecord,
): readonly Address[] | undefined {
  const addresses = codeUse?.addresses ?? [];
  if (isHeld()) return addresses;
  const ageMs = codeUse ? nowMs - codeUse.sinceMs : Infinity;
  if (ageMs < 0 || ageMs > Math.min(ROUND_MS, lifetimeMs)) return undefined;
  if (addresses.some((each) => sameAddress(each, address))) return addresses;
  const isOther = addresses.every(({ family }) => family !== address.family);
  return isOther ? [...addresses, address] : undefined;
}

/** Reads `totp`: the secret in base32 without spaces and padding. The error never shows it. */
export function readTotp(field: Field): string {
  const text = typeof field.value === "string"
    ? field.value.replaceAll(/\s/g, "").replace(/=+$/, "").toUpperCase()
    : "";
  // RFC 4226 section 4: at least 128 bits.
  if (/^[A-Z2-7]{26,128}$/.test(text)) return text;
  throw new ConfigError(
    field.path,
    "expected a secret in base32 (26 to 128 letters and digits 2 to 7), got something else",
    "openme add NAME --totp makes one",
  );
}
