/** `openme connect`: knocks, connects, and carries stdin and stdout, as a ProxyCommand of `ssh`. */

import { formatAddress } from "../../values/address.ts";
import { readHost } from "../../config/host.ts";
import { OpenmeError } from "../../values/errors.ts";
import { knockUntilOpen } from "../../client/wait.ts";
import { quote } from "../../values/text.ts";
import { carry } from "../../client/tunnel.ts";
import { type Arguments, type Command, logOf, OUTPUT_CLOSED, parsePort } from "../context.ts";
import { CODE, NETWORK, readFamily, timeoutFlag } from "../network_flags.ts";
import { tellClosed } from "../knock_outcome.ts";
import { loadProfile, permissionsOf, readyToKnock } from "../load_profile.ts";

const DEFAULT_TIMEOUT_MS = 15_000;

export const connect: Command = {
  about:
    `Knocks until a TCP port accepts, then carries standard input and output over the connection.`,
  arguments: "[PROFILE] HOST PORT",
  parameters: {
    "PROFILE": `which profile to knock with (default: the only one, or "default")`,
    "HOST": "the host to connect to: a name or an address, or the profile's name for its server",
    "PORT": "a TCP port",
    "--timeout TIME": "how long it may take to open (default 15s)",
    ...NETWORK,
    ...CODE,
  },
  notes: `Standard output carries the connection and nothing else; post_knock is not run.

Exit codes: 0 the connection has ended, 1 failed, 2 wrong usage, 3 knocked, but the port did not
open.

Example, in ~/.ssh/config:
  Host home
    ProxyCommand openme connect home %h %p`,
  example: "ssh -o ProxyCommand='openme connect home %h %p' home.example.org",
  run: async (args, context) => {
    const { profileName, host, port } = readTarget(args);
    const family = readFamily(args);
    const log = logOf(args, context);
    const timeoutMs = timeoutFlag(args) ?? DEFAULT_TIMEOUT_MS;
    const profile = await readyToKnock(
      await loadProfile(args, context, profileName),
      args,
      context,
    );
    await context.keepPermissions(permissionsOf(profile));
    const waited = await knockUntilOpen(profile, {
      // `Host home` alone in ssh's configuration makes %h "home", which no name server knows.
      host: host === profile.name ? undefined : host,
      port,
      target: undefined,
      family,
      timeoutMs,
      log,
    });
    if (waited.kind === "closed") {
      tellClosed(context, `port ${port}/tcp of ${host}`, timeoutMs, waited);
      return 3;
    }
    const { connection, address } = waited;
    if (context.interactive && Deno.stdin.isTerminal()) {
      context.stderr(`openme: connected to ${formatAddress(address)} port ${port}`);
    }
    try {
      await carry(connection, { input: Deno.stdin, output: Deno.stdout });
    } catch (cause) {
      if (cause instanceof Deno.errors.BrokenPipe) return OUTPUT_CLOSED; // the connection's is no error
      throw cause;
    }
    return 0;
  },
};

function readTarget({ positionals }: Arguments) {
  const [given, portText] = positionals.slice(-2) as [string, string];
  const profileName = positionals.length === 3 ? positionals[0] : undefined;
  const host = readHost(given, { zone: true });
  if (host === undefined) {
    throw new OpenmeError("USAGE", `expected a host name or an address, got ${quote(given)}`);
  }
  return { profileName, host, port: parsePort(portText) };
}
