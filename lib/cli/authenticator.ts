/** `openme add --totp`: a new secret, and what an authenticator app takes it from. Loaded with that flag alone. */

import type { ServerConfig } from "../config/server.ts";
import type { Context } from "./context.ts";

/** RFC 4226 section 4 recommends 160 bits. */
const SECRET_BYTES = 20;

/** A secret that one app is to have. */
export interface Authenticator {
  /** In base32. */
  readonly secret: string;
  /** Shows it on standard error, beside the profile on standard output; not in systemd's journal, which keeps it. */
  readonly show: (context: Context) => Promise<void>;
}

/** Makes a secret for a client of this server. */
export async function newAuthenticator(
  client: string,
  { host = "openme" }: Pick<ServerConfig, "host">,
): Promise<Authenticator> {
  const { Secret, TOTP } = await import("otpauth");
  const secret = new Secret({ size: SECRET_BYTES });
  // All that is not said is what every app takes for granted: SHA-1, 6 digits, 30 s.
  const uri = new TOTP({ issuer: `openme ${host}`, label: client, secret }).toString();
  return {
    secret: secret.base32,
    show: async (context) => {
      if (context.env("JOURNAL_STREAM") !== undefined) {
        context.stderr("openme: the secret for the authenticator app is in its entry: totp");
        return;
      }
      const { qrText } = await import("./qr.ts");
      const code = qrText(uri, { colors: !context.env("NO_COLOR") });
      context.stderr("openme: for the authenticator app, shown once:");
      for (const line of code.trimEnd().split("\n")) context.stderr(line);
      context.stderr(`openme: or typed into it: ${secret.base32.match(/.{4}/g)!.join(" ")}`);
    },
  };
}
