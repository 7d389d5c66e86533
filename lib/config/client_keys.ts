/** The clients' keys, as a knock is matched with them: by the key, and by the hint that openme's own client sends. */

import {
  type Bytes,
  bytesToHex,
  hexToBytes,
  KEY_SIZE,
  signingKeyFlaw,
  type VerifySignature,
} from "../crypto/keys.ts";
import { fingerprint, fingerprintBytes, signatureVerifier } from "../crypto/sync.ts";
import type { PrefixLengths } from "../values/network.ts";
import type { PortRange } from "../values/ports.ts";
import { ConfigError, type Field } from "./fields.ts";

/** What is found out about a key by itself. */
interface CheckedKey {
  /** In hex. */
  readonly key: string;
  /** The first four bytes of its fingerprint. */
  readonly hint: number;
  readonly verify: VerifySignature;
}

/** A client's key, or the one before it while that is good, and what it permits. */
export interface ClientKey extends CheckedKey {
  /** The client's name. */
  readonly name: string;
  readonly ports: readonly PortRange[];
  readonly prefix: PrefixLengths;
  /** When it ends, ms since 1970, and the same in ns. */
  readonly expiresAtMs: number | undefined;
  readonly expiresNs: bigint | undefined;
}

/** All keys, in the order of the file. */
export interface ClientKeys {
  readonly byKey: ReadonlyMap<string, ClientKey>;
  readonly byHint: ReadonlyMap<number, readonly ClientKey[]>;
}

/** Collects the keys while a configuration is read, so that nothing has to be done with all of them afterwards. */
export class KeyRegister implements ClientKeys {
  readonly byKey = new Map<string, ClientKey>();
  readonly byHint = new Map<number, ClientKey[]>();
  readonly #former: ClientKeys | undefined;

  /** `former`: the keys of the configuration before. What was found out about one of them holds for good. */
  constructor(former: ClientKeys | undefined) {
    this.#former = former;
  }

  /** Reads a key; throws where it is unfit for signatures. */
  check(field: Field, what: string): CheckedKey & { readonly publicKey: Bytes } {
    const publicKey = field.key(what, [KEY_SIZE]);
    const key = bytesToHex(publicKey);
    const known = this.#former?.byKey.get(key);
    return known
      ? { publicKey, key, hint: known.hint, verify: known.verify }
      : { publicKey, key, hint: hintOf(publicKey), verify: verifierOf(publicKey, field.path) };
  }

  /** Adds a key that was read at this path; throws where a client has it already. */
  add(key: Omit<ClientKey, "expiresNs">, path: string): void {
    const other = this.byKey.get(key.key);
    if (other) {
      const shown = `"${other.name}" (${fingerprint(hexToBytes(key.key))})`;
      throw new ConfigError(
        path,
        `expected a key of its own, got the key of ${shown}`,
        "a knock could not tell the two apart: give each client its own key",
      );
    }
    const { expiresAtMs: ms, hint } = key;
    const entry = { ...key, expiresNs: ms === undefined ? undefined : BigInt(ms) * 1_000_000n };
    this.byKey.set(key.key, entry);
    const same = this.byHint.get(hint);
    if (same) same.push(entry);
    else this.byHint.set(hint, [entry]);
  }
}

function verifierOf(publicKey: Bytes, path: string): VerifySignature {
  const flaw = signingKeyFlaw(publicKey);
  const expected = "expected the client's Ed25519 public key";
  if (flaw === "small order") {
    throw new ConfigError(
      path,
      `${expected}, got a point of small order, under which anyone can sign`,
    );
  }
  if (flaw) throw new ConfigError(path, `${expected}, got an encoding that is not canonical`);
  try {
    return signatureVerifier(publicKey);
  } catch {
    throw new ConfigError(path, `${expected}, got bytes that are not a point of the curve`);
  }
}

function hintOf(publicKey: Bytes): number {
  const { buffer, byteOffset } = fingerprintBytes(publicKey);
  return new DataView(buffer, byteOffset).getUint32(0);
}
