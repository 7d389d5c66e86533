/** `openme knock`: the client. A knock waits for all that this file imports, so it imports little. */

import {
  type Arguments,
  type Command,
  flagError,
  givenFlag,
  logOf,
  PROFILE,
  renderJson,
  textFlag,
} from "../context.ts";
import { describeSent, tellSent } from "../sent.ts";
import { isHoldable, parseAddress } from "../../values/address.ts";
import { knock as sendKnocks } from "../../client/knock.ts";
import { loadProfile, permissionsOf, readyToKnock } from "../load_profile.ts";
import { CODE, HEALTH_PORT, HOST, NETWORK, readFamily } from "../network_flags.ts";

export const knock: Command = {
  about:
    `Sends one encrypted, signed datagram to each address of a server, which then lets this machine in
for a while. Of several hosts (a list as server_host, or a name with several addresses), --wait and
--check knock at one, and at the next where nothing opens within 2s; without them each gets a knock.`,
  arguments: "[PROFILE]",
  parameters: {
    ...PROFILE,
    "--ip ADDRESS": "let this address in instead of the one that the knock comes from",
    ...NETWORK,
    ...HOST,
    ...CODE,
    "--wait PORT": "knock until this TCP port, such as 22/tcp, accepts a connection",
    "--check": "knock until the server's health port answers, and say what is open",
    "--timeout TIME": "how long --wait and --check may take (default 15s)",
    ...HEALTH_PORT,
    "--continuous": "knock again and again until stopped (SIGINT, SIGTERM)",
    "--interval TIME": "how often that is (default 25s)",
    "--json":
      `{"profile", "host", "sent": [{"address", "failure"}], "opened", "checked"}; "sent" are the
      first knocks, "opened" comes with --wait and "checked" with --check: null where nothing
      opened: docs/json.md`,
  },
  notes:
    `A knock is never answered: without --wait or --check nothing can be said about the outcome.
It prints nothing unless standard error is a terminal. Without a file, as in CI, the variable OPENME_PROFILE
holds the profile itself, as YAML, JSON or openme:// link.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 knocked, but --wait or --check saw nothing open.`,
  example: "openme knock home --wait 22/tcp && ssh home.example.org",
  run: async (args, context) => {
    const target = readTarget(args);
    const family = readFamily(args);
    const log = logOf(args, context);
    const flags = ["wait", "check", "timeout", "health-port", "continuous", "interval"];
    // Loaded where flags need it.
    const more = givenFlag(args, flags) ? await import("./knock_options.ts") : undefined;
    const plan = more?.readPlan(args);
    const found = await loadProfile(args, context, args.positionals[0]);
    if (plan) more?.requireRepeatable(plan, found, args);
    const profile = await readyToKnock(found, args, context);
    // A client runs nothing but the user's own post_knock.
    await context.keepPermissions([
      "read",
      ...permissionsOf(profile),
      ...profile.postKnock === undefined ? [] : ["run"] as const,
    ]);
    const options = { target, family, log };
    if (more && plan) {
      const host = textFlag(args, "host") === undefined ? undefined : profile.serverHost;
      return await more.knockFurther({ profile, host, ...options }, plan, context);
    }
    const sent = profile.otherHosts && textFlag(args, "host") === undefined
      ? await (await import("../../client/hosts.ts")).knockAtEach(profile, options)
      : await sendKnocks(profile, options);
    tellSent(profile, sent, context);
    if (args.values["json"]) context.stdout(renderJson(describeSent(profile, sent)));
    if (profile.postKnock !== undefined) {
      const { runPostKnock } = await import("../post_knock.ts");
      await runPostKnock(profile.postKnock);
    }
    return 0;
  },
};

/** The address of `--ip`; the wildcard is none. */
function readTarget(args: Arguments) {
  const text = textFlag(args, "ip");
  if (text === undefined) return undefined;
  const target = parseAddress(text);
  const hint = "leave out --ip to let this machine in";
  if (!target) throw flagError("ip", `an IPv4 or IPv6 address`, text, hint);
  if (!isHoldable(target)) throw flagError("ip", "an address that a client can have", text, hint);
  return target;
}
