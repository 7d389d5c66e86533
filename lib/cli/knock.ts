/** `openme knock`: the client. Kept light: what it imports is what a knock waits for. */

import { isHoldable, parseAddress } from "../address.ts";
import { knock as sendKnocks } from "../client.ts";
import { formatAddress } from "../address.ts";
import { OpenmeError } from "../errors.ts";
import { type Arguments, type Command, flagError, textFlag } from "./context.ts";
import { loadProfile } from "./load_profile.ts";

export const knock: Command = {
  summary: "open a server's ports for this machine",
  help:
    `Sends one encrypted, signed datagram to each address of a server, which then lets this machine in for a while.

Usage: openme knock [PROFILE] [--ip ADDRESS] [-4] [-6]

  PROFILE        which profile of the client configuration (default: the only one, or "default")
  --ip ADDRESS   let this address in instead of the one that the knock comes from
  -4, -6         knock only over IPv4, or only over IPv6

Nothing comes back, so nothing can be said about the outcome: try the port. It says nothing where nobody is watching.
Without a file, as in CI: the variable OPENME_PROFILE holds the profile itself, as YAML, JSON or openme:// link.

Example:
  openme knock home && ssh home.example.org
`,
  options: {
    ip: { type: "string" },
    ipv4: { type: "boolean", short: "4" },
    ipv6: { type: "boolean", short: "6" },
  },
  positionals: 1,
  run: async (args, context) => {
    const target = readTarget(args);
    const family = readFamily(args);
    const profile = await loadProfile(args, context, args.positionals[0]);
    // The user's own line is all that a client ever runs.
    await context.keepPermissions(
      profile.postKnock === undefined ? ["net", "read"] : ["net", "read", "run"],
    );
    const sent = await sendKnocks(profile, { target, family });
    if (context.interactive) {
      const reached = sent.filter(({ failure }) => failure === undefined).map(({ address }) =>
        formatAddress(address)
      );
      context.stderr(`openme: knocked at ${profile.serverHost} (${reached.join(", ")})`);
      for (const { address, failure } of sent) {
        if (failure !== undefined) {
          context.stderr(`openme: not sent to ${formatAddress(address)}: ${failure}`);
        }
      }
    }
    if (profile.postKnock !== undefined) await runPostKnock(profile.postKnock);
    return 0;
  },
};

/** The address to let in. Never a wildcard: who writes `--ip` means an address, and gets it or an error. */
function readTarget(args: Arguments) {
  const text = textFlag(args, "ip");
  if (text === undefined) return undefined;
  const target = parseAddress(text);
  if (!target) throw flagError("ip", `an IPv4 or IPv6 address`, text);
  if (!isHoldable(target)) {
    throw flagError(
      "ip",
      "an address that a client can have",
      text,
      "leave out --ip to let this machine in",
    );
  }
  return target;
}

function readFamily({ values }: Arguments): 4 | 6 | undefined {
  if (values["ipv4"] && values["ipv6"]) {
    throw new OpenmeError("USAGE", "-4 and -6 exclude each other", {
      hint: "leave out both to knock over both",
    });
  }
  return values["ipv4"] ? 4 : values["ipv6"] ? 6 : undefined;
}

/** The user's own line from the user's own file, by `sh -c` as deployed files expect; nothing is put into it. */
async function runPostKnock(line: string): Promise<void> {
  try {
    const { code, signal } = await new Deno.Command("sh", {
      args: ["-c", line],
      stdin: "inherit",
      stdout: "inherit",
      stderr: "inherit",
    }).spawn().status;
    if (code !== 0) {
      throw new OpenmeError(
        "COMMAND",
        `post_knock ${signal ? `was ended by ${signal}` : `failed with exit code ${code}`}`,
        {
          hint: "the knock itself was sent",
        },
      );
    }
  } catch (cause) {
    if (cause instanceof OpenmeError) throw cause;
    throw new OpenmeError("COMMAND", "cannot run post_knock: there is no program sh", {
      hint: "the knock itself was sent",
      cause,
    });
  }
}
