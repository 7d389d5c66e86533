/** The flags of commands that connect to a server. */

import { OpenmeError } from "../values/errors.ts";
import { type Arguments, durationFlag, type Parameters } from "./context.ts";

/** The variable that holds a code, for programs. */
export const CODE_VARIABLE = "OPENME_CODE";

/** Where from, and over which family. */
export const NETWORK: Parameters = {
  "--bind FROM": "use this address or interface of this machine (default: bind of the profile)",
  "-4, --ipv4": "use IPv4 only",
  "-6, --ipv6": "use IPv6 only",
};
export const CODE: Parameters = {
  "--code DIGITS":
    `the code that the authenticator app shows, where the profile has totp: true; or it is in
      ${CODE_VARIABLE} (default: asked on the terminal)`,
};
/** Which host of several. */
export const HOST: Parameters = {
  "--host HOST": "of a profile with several hosts, the one that is to open",
};
export const HEALTH_PORT: Parameters = {
  "--health-port N":
    "the server's health port (default: health_port of the profile, or its server_udp_port)",
};

/** The one family to use, where the flags limit it. */
export function readFamily({ values }: Arguments): 4 | 6 | undefined {
  if (values["ipv4"] && values["ipv6"]) {
    throw new OpenmeError("USAGE", "-4 and -6 exclude each other", {
      hint: "leave out both to knock over both",
    });
  }
  return values["ipv4"] ? 4 : values["ipv6"] ? 6 : undefined;
}

/** `--timeout`, in ms. */
export function timeoutFlag(args: Arguments): number | undefined {
  return durationFlag(args, "timeout", { minMs: 100, maxMs: 3_600_000 });
}
