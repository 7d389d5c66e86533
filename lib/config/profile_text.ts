/**
 * A profile as text, in three forms: YAML for the client's file, the JSON that the mobile apps read from a QR code, and
 * the same as an `openme://` link. docs/client.md, "Ways to hand a profile on".
 */

import { encodeBase64 } from "../crypto/keys.ts";
import { ConfigError, Field } from "./fields.ts";

/** The profile that `add` and `rotate` make. */
export interface NewProfile {
  readonly name: string;
  readonly host: string;
  readonly udpPort: number;
  /** Written only where it differs from the UDP port: the mobile apps do not know this key. */
  readonly healthPort?: number;
  /** X25519, 32 bytes. */
  readonly serverPublicKey: Uint8Array;
  /** Seed and public key, 64 bytes; `undefined` where the client alone has it. */
  readonly privateKey: Uint8Array | undefined;
  /** Where the client has the key, in place of a private key: `agent`. */
  readonly identity?: string | undefined;
  /** Whether its knocks carry a code. */
  readonly totp?: boolean | undefined;
  /** Ed25519, 32 bytes. */
  readonly publicKey: Uint8Array;
}

/** The keys of the QR code's JSON and of the link, with the profile's keys that they stand for. */
const SHORT_KEYS = {
  host: "server_host",
  udp_port: "server_udp_port",
  server_pubkey: "server_pubkey",
  client_privkey: "private_key",
  client_pubkey: "public_key",
  identity: "identity",
  health_port: "health_port",
  totp: "totp",
} as const;

/** The keys that are numbers, which a link has as text. */
const PORT_KEYS: readonly string[] = ["udp_port", "health_port"];

const LINK_SCHEME = "openme://";
const LINK_HEAD = `${LINK_SCHEME}import?`;

/** A whole client file with this one profile. */
export function renderProfileYaml(profile: NewProfile): string {
  const lines = [
    "profiles:",
    `  ${quoteName(profile.name)}:`,
    `    server_host: ${JSON.stringify(profile.host)}`,
    `    server_udp_port: ${profile.udpPort}`,
    ...(hasOwnHealthPort(profile) ? [`    health_port: ${profile.healthPort}`] : []),
    `    server_pubkey: ${JSON.stringify(encodeBase64(profile.serverPublicKey))}`,
    profile.identity !== undefined
      ? `    identity: ${profile.identity}`
      : profile.privateKey
      ? `    private_key: ${JSON.stringify(encodeBase64(profile.privateKey))}`
      : "    # private_key: stays with the client; openme import puts it here",
    `    public_key: ${JSON.stringify(encodeBase64(profile.publicKey))}`,
    ...(profile.totp ? ["    totp: true"] : []),
  ];
  return lines.join("\n") + "\n";
}

/** Quotes words that are not text to YAML, YAML 1.1 included: deployed clients may read that. */
function quoteName(name: string): string {
  return /^(true|false|null|yes|no|on|off|y|n)$/i.test(name) ? JSON.stringify(name) : name;
}

/** What a QR code holds. */
export function renderProfileJson(profile: NewProfile): string {
  return JSON.stringify(shortForm(profile));
}

/** An `openme://` link; where there is a private key, it holds that like the other forms. */
export function renderProfileLink(profile: NewProfile): string {
  const entries = Object.entries(shortForm(profile)).map(([key, value]) => [key, String(value)]);
  return LINK_HEAD + new URLSearchParams(entries);
}

function shortForm(profile: NewProfile): Record<string, string | number | true> {
  return {
    profile: profile.name,
    host: profile.host,
    udp_port: profile.udpPort,
    server_pubkey: encodeBase64(profile.serverPublicKey),
    ...(profile.privateKey ? { client_privkey: encodeBase64(profile.privateKey) } : {}),
    client_pubkey: encodeBase64(profile.publicKey),
    ...(profile.identity === undefined ? {} : { identity: profile.identity }),
    ...(hasOwnHealthPort(profile) ? { health_port: profile.healthPort } : {}),
    ...(profile.totp ? { totp: true as const } : {}),
  };
}

function hasOwnHealthPort(
  profile: NewProfile,
): profile is NewProfile & { readonly healthPort: number } {
  return profile.healthPort !== undefined && profile.healthPort !== profile.udpPort;
}

/**
 * The values of a client file in any of the three forms, as if they had been read from YAML; `undefined` where it is
 * neither JSON nor a link, so that only YAML is left. Throws `ConfigError`.
 */
export function readShortProfile(text: string): Map<string, unknown> | undefined {
  const trimmed = text.trim();
  if (trimmed.startsWith(LINK_SCHEME)) return fromLink(trimmed);
  if (!trimmed.startsWith("{")) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(trimmed);
  } catch {
    return undefined; // YAML may begin with a brace as well
  }
  const map = toMap(value) as Map<string, unknown>;
  return map.has("profiles") ? map : fromShortForm(map);
}

function fromLink(text: string): Map<string, unknown> {
  const query = /^openme:\/\/import\/?\?([^#\s]*)$/.exec(text)?.[1];
  if (query === undefined) {
    throw new ConfigError("the link", `expected ${LINK_HEAD} and the profile's keys`);
  }
  const map = new Map<string, unknown>();
  for (const [key, value] of new URLSearchParams(query)) {
    if (map.has(key)) {
      throw new ConfigError("the link", `expected every key once, got ${key} again`);
    }
    // A plus sign that was not escaped is read as a space.
    map.set(
      key,
      PORT_KEYS.includes(key) && /^\d{1,5}$/.test(value)
        ? Number(value)
        : key === "totp" && value === "true"
        ? true
        : value.replaceAll(" ", "+"),
    );
  }
  return fromShortForm(map);
}

function fromShortForm(map: Map<string, unknown>): Map<string, unknown> {
  const section = new Field(map).section(["profile", ...Object.keys(SHORT_KEYS)]);
  const name = section.optional("profile")?.name() ?? "default";
  const profile = new Map<string, unknown>();
  for (const [short, long] of Object.entries(SHORT_KEYS)) {
    const field = section.optional(short);
    if (field) profile.set(long, field.value);
  }
  return new Map([["profiles", new Map([[name, profile]])]]);
}

/** Objects as maps, so that no key can be special; of a key that is there twice the last counts. */
function toMap(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(toMap);
  if (typeof value !== "object" || value === null) return value;
  return new Map(Object.entries(value).map(([key, each]) => [key, toMap(each)]));
}
