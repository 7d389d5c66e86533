/** The clients' keys, as a knock is matched with them: by the key, and by the hint that openme's own client sends. */

import {
  type Bytes,
  bytesToHex,
  hexToBytes,
  KEY_SIZE,
  signingKeyFlaw,
  type VerifySignature,
} from "../crypto/keys.ts";
import { clientKeyHint, fingerprint, signatureVerifier } from "../crypto/sync.ts";
import type { PrefixLengths } from "../values/network.ts";
import { comparePortRanges, type PortRange } from "../values/ports.ts";
import { type ClientRules, sameRules } from "./client_rules.ts";
import { type Extension, sameExtensions } from "./extend.ts";
import { ConfigError, type Field } from "./fields.ts";

/** What is found out about a key by itself. */
interface CheckedKey {
  /** In hex. */
  readonly key: string;
  /** The first four bytes of its fingerprint. */
  readonly hint: number;
  readonly verify: VerifySignature;
}

/** One registered client. */
export interface ClientEntry {
  readonly name: string;
  /** Ed25519, 32 bytes. */
  readonly publicKey: Bytes;
  /** The public key in hex, which names the client also where it is renamed. */
  readonly key: string;
  /** The key before this one, good until its end. */
  readonly previous: PreviousKey | undefined;
  /** The ports that a knock opens; the health port is one unless disabled. Disjoint. */
  readonly ports: readonly PortRange[];
  /** When the key ends: wall clock, ms since 1970. */
  readonly expiresAtMs: number | undefined;
  /** How wide its grants are; by default a single address. */
  readonly prefix: PrefixLengths;
  /** What its knocks have to fulfil besides, where there is anything. */
  readonly rules?: ClientRules | undefined;
  /** What stays open while it is used. Of different ports. */
  readonly extensions: readonly Extension[];
}

/** A client's key that was replaced, and when it ends. */
export interface PreviousKey {
  readonly key: string;
  /** ms since 1970. */
  readonly untilMs: number;
}

/** A client's key, or the one before it while that is good. */
export interface ClientKey extends CheckedKey {
  /** The client's name. */
  readonly name: string;
  readonly client: ClientEntry;
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
  readonly byHint = new Map<number, readonly ClientKey[]>();
  readonly #former: ClientKeys | undefined;

  /**
   * `former`: the keys of the configuration before. What was found out about one of them holds for good, and a client
   * that is the same keeps its objects: a reload leaves V8 nothing to move.
   */
  constructor(former: ClientKeys | undefined) {
    this.#former = former;
  }

  /** Reads a key; throws where it is unfit for signatures. */
  check(field: Field, what: string): CheckedKey & { readonly publicKey: Bytes } {
    const publicKey = field.key(what, [KEY_SIZE]);
    const key = bytesToHex(publicKey);
    const known = this.#former?.byKey.get(key);
    return known ? { publicKey, key, hint: known.hint, verify: known.verify } : {
      publicKey,
      key,
      hint: clientKeyHint(publicKey),
      verify: verifierOf(publicKey, field.path),
    };
  }

  /** The client as the configuration before has it, if that is the same; otherwise this one. */
  formerOr(client: ClientEntry): ClientEntry {
    const former = this.#former?.byKey.get(client.key)?.client;
    return former && isSame(former, client) ? former : client;
  }

  /** Adds a key that was read at this path; throws where a client has it already. */
  add(
    { key, hint, verify }: CheckedKey,
    client: ClientEntry,
    { expiresAtMs, path }: { expiresAtMs: number | undefined; path: string },
  ): void {
    const other = this.byKey.get(key);
    if (other) {
      throw new ConfigError(
        path,
        `expected a key of its own, got the key of "${other.name}" (${
          fingerprint(hexToBytes(key))
        })`,
        "a knock could not tell the two apart: give each client its own key",
      );
    }
    const former = this.#former?.byKey.get(key);
    if (former?.client === client && former.expiresAtMs === expiresAtMs) {
      return this.#register(former, this.#former?.byHint.get(hint));
    }
    const expiresNs = expiresAtMs === undefined ? undefined : BigInt(expiresAtMs) * 1_000_000n;
    this.#register({ key, hint, verify, name: client.name, client, expiresAtMs, expiresNs });
  }

  #register(key: ClientKey, formerHint: readonly ClientKey[] = []): void {
    this.byKey.set(key.key, key);
    const same = this.byHint.get(key.hint);
    const alone = formerHint.length === 1 ? formerHint : [key];
    this.byHint.set(key.hint, same ? [...same, key] : alone);
  }
}

function isSame(a: ClientEntry, b: ClientEntry): boolean {
  return a.name === b.name && a.key === b.key && a.expiresAtMs === b.expiresAtMs &&
    a.previous?.key === b.previous?.key && a.previous?.untilMs === b.previous?.untilMs &&
    a.prefix.v4 === b.prefix.v4 && a.prefix.v6 === b.prefix.v6 &&
    sameRules(a.rules, b.rules) && sameExtensions(a.extensions, b.extensions) &&
    a.ports.length === b.ports.length &&
    a.ports.every((range, i) => comparePortRanges(range, b.ports[i]!) === 0);
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
