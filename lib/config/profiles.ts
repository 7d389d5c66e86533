/**
 * The client's configuration: unknown YAML -> profiles, or an error that names the key's path. The keys are those that
 * the deployed clients read; docs/configuration.md describes them.
 */

import { type Bytes, bytesToHex, isLowOrder, KEY_SIZE, keyPairOf } from "../crypto/keys.ts";
import {
  ConfigError,
  DEFAULT_UDP_PORT,
  Field,
  loadingFrom,
  missing,
  nearest,
  type Section,
} from "./fields.ts";
import { readHosts } from "./profile_hosts.ts";
import { readPlainYaml } from "./plain_yaml.ts";
import { quote } from "../values/text.ts";
import { readShortProfile } from "./profile_text.ts";

/** A client's way to one server. */
export interface Profile {
  readonly name: string;
  /** The first host to knock at. */
  readonly serverHost: string;
  /** The hosts that have the same key and hand knocks to each other, where there are several. */
  readonly otherHosts?: readonly string[] | undefined;
  readonly serverUdpPort: number;
  /** TCP, where the server reports grants. */
  readonly healthPort: number;
  /** X25519, 32 bytes. */
  readonly serverPublicKey: Bytes;
  /** The Ed25519 seed, 32 bytes; `undefined` where the key is not in the profile. */
  readonly clientSeed: Bytes | undefined;
  /** Ed25519, 32 bytes; `undefined` where only the key of `identity` tells it. */
  readonly clientPublicKey: Bytes | undefined;
  /** Where the key is, if not in the profile. */
  readonly identity: Identity | undefined;
  /** Whether its knocks carry a code of an authenticator app. */
  readonly totp: boolean;
  /** The address or interface of this machine to send from. */
  readonly bind: string | undefined;
  /** A line for the shell, run after a knock. */
  readonly postKnock: string | undefined;
}

/** The place of a client's key. */
export type Identity =
  /** The running ssh-agent. The fingerprint is as `ssh-add -l` prints it; without it the public key says which key. */
  | { readonly kind: "agent"; readonly fingerprint: string | undefined }
  /** An OpenSSH private key; `~/` stands for the user's home. */
  | { readonly kind: "file"; readonly path: string };

/** An address, or an interface's name; Windows has names with spaces. */
export const BIND_PATTERN = /^[^\p{C}]{1,64}$/u;
export const BIND_EXPECTED = "an address or an interface of this machine";

const PROFILE_KEYS = [
  "server_host",
  "server_udp_port",
  "health_port",
  "server_pubkey",
  "private_key",
  "identity",
  "public_key",
  "totp",
  "bind",
  "post_knock",
];

/**
 * Parses a client configuration: YAML, the JSON of a QR code, or a link. `file` is only for the errors. Rejects with
 * `OpenmeError`, code `CONFIG`.
 */
export async function parseClientConfig(text: string, file: string): Promise<Map<string, Profile>> {
  return await readProfiles(await parseClientValues(text, file), file);
}

/** The same file as plain values, unchecked. */
export async function parseClientValues(text: string, file: string): Promise<unknown> {
  const values = loadingFrom(file, () => readPlainYaml(text) ?? readShortProfile(text));
  if (values) return values;
  const { parseYaml } = await import("./yaml.ts"); // the library takes longer to load than a knock
  return loadingFrom(file, () => {
    try {
      return parseYaml(text);
    } catch (cause) {
      if (cause instanceof ConfigError && isSqueezed(text)) throw squeezed();
      throw cause;
    }
  });
}

/** Whether the profile has lost its line breaks, as in a form, a chat or a variable. */
function isSqueezed(text: string): boolean {
  return !text.trim().includes("\n") && /^\s*profiles:\s.*\bserver_host:/.test(text);
}

function squeezed(): ConfigError {
  return new ConfigError(
    "the file",
    "its line breaks are gone: the whole profile is in one line",
    "hand it on with its line breaks, or in a form that is one line anyway: openme add NAME --link",
  );
}

/** The profiles of a file by name, each unchecked. Throws `ConfigError`. */
export function profilesOf(values: unknown): [name: string, Field][] {
  const profiles = new Field(values).section(["profiles"]).field("profiles");
  if (!profiles.isThere) throw profiles.mismatch("a map of profiles");
  return [...profiles.entries()];
}

/** Checks values and makes profiles of them. */
export async function readProfiles(values: unknown, file: string): Promise<Map<string, Profile>> {
  const profiles = new Map<string, Profile>();
  const pending = loadingFrom(file, () => {
    return profilesOf(values).map(([name, entry]) =>
      readProfile(name, entry.section(PROFILE_KEYS))
    );
  });
  for (const { profile, claimed } of pending) {
    if (!profile.clientSeed) {
      profiles.set(profile.name, { ...profile, clientPublicKey: claimed[0]?.key });
      continue;
    }
    const { publicKey } = await keyPairOf("Ed25519", profile.clientSeed);
    const other = claimed.find(({ key }) => bytesToHex(key) !== bytesToHex(publicKey));
    if (other) loadingFrom(file, () => failOnOtherKey(other.path));
    profiles.set(profile.name, { ...profile, clientPublicKey: publicKey });
  }
  return profiles;
}

interface PendingProfile {
  readonly profile: Omit<Profile, "clientPublicKey">;
  /** The public keys that the file gives for the private key, and where. */
  readonly claimed: readonly { readonly key: Bytes; readonly path: string }[];
}

function failOnOtherKey(path: string): never {
  throw new ConfigError(
    path,
    "expected the public key that belongs to the private key, got another one",
    "the lines are from two clients: take the whole profile anew from openme add",
  );
}

function readProfile(name: string, section: Section): PendingProfile {
  const identity = readIdentity(section);
  // The deployed form is seed and public key in one; 32-byte seeds are accepted too.
  const keyField = section.field("private_key");
  const sizes = [2 * KEY_SIZE, KEY_SIZE];
  const privateKey = identity ? undefined : keyField.key("the client's Ed25519 private key", sizes);
  const claimed = privateKey?.length === 2 * KEY_SIZE
    ? [{ key: privateKey.slice(KEY_SIZE), path: keyField.path }]
    : [];
  const publicField = section.optional("public_key");
  if (publicField) {
    const key = publicField.key("the client's Ed25519 public key", [KEY_SIZE]);
    claimed.push({ key, path: publicField.path });
  } else if (identity?.kind === "agent" && identity.fingerprint === undefined) {
    throw missing(section.field("public_key").path, "the public key of the agent's key to use");
  }
  const serverField = section.field("server_pubkey");
  const serverPublicKey = serverField.key("the server's X25519 public key", [KEY_SIZE]);
  if (isLowOrder(serverPublicKey)) {
    throw new ConfigError(
      serverField.path,
      "expected the server's X25519 public key, got a point of low order, with which nothing is secret",
    );
  }
  const serverUdpPort = section.optional("server_udp_port")?.port() ?? DEFAULT_UDP_PORT;
  const profile = {
    name,
    ...readHosts(section.field("server_host")),
    serverUdpPort,
    healthPort: section.optional("health_port")?.port() ?? serverUdpPort,
    serverPublicKey,
    clientSeed: privateKey?.slice(0, KEY_SIZE),
    identity,
    totp: section.optional("totp")?.flag() ?? false,
    bind: section.optional("bind")?.string(BIND_EXPECTED, BIND_PATTERN),
    postKnock: section.optional("post_knock")?.string("a command line", /^[^\0]+$/),
  };
  return { profile, claimed };
}

/** `identity`, which stands in place of a private key. */
function readIdentity(section: Section): Identity | undefined {
  const field = section.optional("identity");
  if (!field) return undefined;
  if (section.optional("private_key")) {
    throw new ConfigError(
      field.path,
      "expected no identity beside private_key: each says which key signs",
      "take one of the two out",
    );
  }
  return field.as(
    `"agent", a fingerprint such as "SHA256:…", or the file of an OpenSSH private key with its whole path`,
    (value) => {
      if (value === "agent") return { kind: "agent", fingerprint: undefined };
      if (typeof value !== "string") return undefined;
      if (/^SHA256:[A-Za-z0-9+/]{43}$/.test(value)) return { kind: "agent", fingerprint: value };
      return /^(~?\/|[A-Za-z]:[\\/])[^\p{C}]+$/u.test(value)
        ? { kind: "file", path: value }
        : undefined;
    },
  );
}

const GET_A_PROFILE = "get a profile from the server: openme add NAME";

/** The profile to use: that of this name, else the only one, else `default`. Throws `ConfigError`. */
export function pickProfile(
  profiles: ReadonlyMap<string, Profile>,
  name: string | undefined,
): Profile {
  const names = [...profiles.keys()];
  if (name === undefined) {
    const picked = profiles.size === 1 ? profiles.values().next().value : profiles.get("default");
    if (picked) return picked;
    throw new ConfigError(
      "profiles",
      `expected a profile called "default", got ${names.join(", ") || "none"}`,
      names.length ? `name the one to use, such as ${names[0]}` : GET_A_PROFILE,
    );
  }
  const picked = profiles.get(name);
  if (picked) return picked;
  const similar = nearest(name, names);
  throw new ConfigError(
    "profiles",
    `there is no profile ${quote(name)}; there is ${names.join(", ") || "none"}`,
    similar
      ? `did you mean "${similar}"?`
      : names.length
      ? `name the one to use, such as ${names[0]}`
      : GET_A_PROFILE,
  );
}
