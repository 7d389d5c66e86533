/** Finds and reads the profile that a client's command works with. */

import { parseClientConfig, pickProfile, type Profile } from "../config/client_config.ts";
import { loadingFrom } from "../config/reader.ts";
import { readSecretFile } from "../files.ts";
import { type Arguments, clientConfigPath, type Context } from "./context.ts";

/** The profile called `name`; without one, the only profile or the one called `default`. */
export async function loadProfile(
  args: Arguments,
  context: Context,
  name: string | undefined,
): Promise<Profile> {
  const path = clientConfigPath(args, context);
  const text = await readSecretFile(path, {
    missingHint: "get a profile from the server: openme add NAME",
  });
  const profiles = await parseClientConfig(text, path);
  return loadingFrom(path, () => pickProfile(profiles, name));
}
