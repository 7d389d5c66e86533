/** Finds the profile that a client's command uses: by name, in a file or the environment. */

import {
  BIND_EXPECTED,
  BIND_PATTERN,
  parseClientConfig,
  pickProfile,
  type Profile,
} from "../config/profiles.ts";
import type { SigningProfile } from "../client/knock.ts";
import { seedSigner } from "../crypto/signer.ts";
import { loadingFrom } from "../config/fields.ts";
import { OpenmeError } from "../values/errors.ts";
import { readSecretFile } from "../system/read_file.ts";
import {
  type Arguments,
  clientConfigPath,
  type Context,
  flagError,
  type PermissionName,
  textFlag,
} from "./context.ts";

/** The variable that holds a whole profile instead of a file, for CI: YAML, the JSON of a QR code, or a link. */
export const PROFILE_VARIABLE = "OPENME_PROFILE";

/**
 * The profile called `name`, else the default one, from `--client-config`, `OPENME_PROFILE` or the user's file. `--bind`
 * replaces its `bind`, and `--host` puts one of its hosts first.
 */
export async function loadProfile(
  args: Arguments,
  context: Context,
  name: string | undefined,
): Promise<Profile> {
  const bind = textFlag(args, "bind");
  if (bind !== undefined && !BIND_PATTERN.test(bind)) throw flagError("bind", BIND_EXPECTED, bind);
  const profile = await readProfile(args, context, name);
  const bound = bind === undefined ? profile : { ...profile, bind };
  const host = textFlag(args, "host");
  if (host === undefined) return bound;
  const { hostsOf, withFirstHost } = await import("../client/hosts.ts");
  const chosen = withFirstHost(bound, host);
  if (chosen) return chosen;
  throw flagError("host", `a host of ${profile.name}: ${hostsOf(profile).join(", ")}`, host);
}

/** The profile, ready to knock. */
export async function readyToKnock(
  profile: Profile,
  args: Arguments,
  context: Context,
): Promise<SigningProfile> {
  return await withCode(await withSigner(profile, context), args, context);
}

/** Adds the code of `--code`; asks for one where only the profile wants it. */
export async function withCode(
  profile: SigningProfile,
  args: Arguments,
  context: Context,
): Promise<SigningProfile> {
  const given = textFlag(args, "code");
  if (given === undefined && !profile.totp) return profile;
  const { codeFor } = await import("./code.ts");
  return { ...profile, code: await codeFor(profile.name, given, context) };
}

/** The profile with its key, ready to sign: asks for a passphrase where the key's file has one. */
export async function withSigner(profile: Profile, context: Context): Promise<SigningProfile> {
  const { clientSeed, clientPublicKey, identity } = profile;
  if (identity) {
    const { openIdentity } = await import("./identity.ts");
    return { ...profile, signer: await openIdentity({ ...profile, identity }, context) };
  }
  if (!clientSeed || !clientPublicKey) throw new Error("a profile has a key or an identity");
  const pair = { privateKey: clientSeed, publicKey: clientPublicKey };
  return { ...profile, signer: seedSigner(pair) };
}

/** What knocking with a profile takes, once its key is at hand. */
export function permissionsOf({ bind, identity }: Profile): PermissionName[] {
  return [
    "net",
    ...bind === undefined ? [] : ["sys"] as const,
    // Deno asks for both before it connects to the agent's socket.
    ...identity?.kind === "agent" ? ["read", "write"] as const : [],
  ];
}

async function readProfile(
  args: Arguments,
  context: Context,
  name: string | undefined,
): Promise<Profile> {
  const given = context.env(PROFILE_VARIABLE);
  if (given !== undefined && textFlag(args, "client-config") === undefined) {
    const where = `$${PROFILE_VARIABLE}`;
    if (given.trim() === "") {
      throw new OpenmeError("CONFIG", `${PROFILE_VARIABLE} is set, but there is nothing in it`, {
        hint:
          "is the secret there? A CI job of a fork, or of an unprotected branch, often gets none",
      });
    }
    const profiles = await parseClientConfig(given, where);
    return loadingFrom(where, () => pickProfile(profiles, name));
  }
  const path = clientConfigPath(args, context);
  const text = await readSecretFile(path, {
    missingHint: "get a profile from the server: openme add NAME",
  });
  const profiles = await parseClientConfig(text, path);
  return loadingFrom(path, () => pickProfile(profiles, name));
}
