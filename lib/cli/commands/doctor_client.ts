/** What `openme doctor` looks at on a client. */

import { type Address, formatAddress, sourceFor } from "../../values/address.ts";
import { addressesOf, type SigningProfile, type Way, wayOf } from "../../client/knock.ts";
import { hostsOf } from "../../client/hosts.ts";
import type { Profile } from "../../config/profiles.ts";
import { fail, type Finding, hintOf, ok, warn } from "../output.ts";
import { messageOf } from "../../values/errors.ts";
import { quote } from "../../values/text.ts";
import { type Asked, knockAndAsk } from "../../client/check.ts";
import type { Arguments, Context } from "../context.ts";
import { describeReport } from "../knock_outcome.ts";
import { loadProfile, withCode, withSigner } from "../load_profile.ts";

const KNOCK_MS = 5000;
/** For the whole seconds of the server's `Date`, and the time of the answer. */
const CLOCK_SLACK_MS = 2000;

/** Profile, name, routes, and a knock with its outcome. */
export async function examineClient(args: Arguments, context: Context): Promise<Finding[]> {
  let profile: Profile;
  try {
    profile = await loadProfile(args, context, args.positionals[0]);
  } catch (error) {
    return [fail("profile", messageOf(error), hintOf(error, "get a profile: openme add NAME"))];
  }
  const findings = [ok("profile", `"${profile.name}", server ${hostsOf(profile).join(", ")}`)];
  let signing: SigningProfile;
  try {
    signing = await withSigner(profile, context);
    findings.push(...await examineIdentity(signing));
  } catch (error) {
    const hint = hintOf(error, "see identity in the profile");
    return [...findings, fail("identity", messageOf(error), hint)];
  }
  let way: Way;
  try {
    way = await wayOf(profile, undefined);
  } catch (error) {
    return [...findings, fail("bind", messageOf(error), hintOf(error, "see bind in the profile"))];
  }
  let noKnock: Finding | undefined;
  try {
    signing = await withCode(signing, args, context);
  } catch (error) {
    const hint = hintOf(error, "give it with --code");
    noKnock = warn("knock", `not tried: ${messageOf(error)}`, hint);
  }
  const knocks = hostsOf(profile).map(async (serverHost) => {
    const one = { ...signing, serverHost, otherHosts: undefined };
    const found = await examineHost(one, way, { context, noKnock });
    if (!profile.otherHosts) return found;
    return found.map((each) => ({ ...each, found: `${serverHost}: ${each.found}` }));
  });
  return [...findings, ...(await Promise.all(knocks)).flat()];
}

/** One host: its name, the routes to it, and a knock, unless `noKnock` says why there is none. */
async function examineHost(
  profile: SigningProfile,
  way: Way,
  { context, noKnock }: { readonly context: Context; readonly noKnock: Finding | undefined },
): Promise<Finding[]> {
  const findings: Finding[] = [];
  let addresses: Address[];
  try {
    addresses = await addressesOf(profile.serverHost, way);
  } catch (error) {
    return [fail("name", messageOf(error), hintOf(error, "check this machine's DNS"))];
  }
  for (const family of [4, 6] as const) {
    const texts = addresses.filter((each) => each.family === family).map(formatAddress);
    findings.push(ok("name", `IPv${family}: ${texts.join(", ") || "no address"}`));
  }
  for (const address of addresses) {
    findings.push(await examineRoute(address, context, way.from && sourceFor(address, way.from)));
  }
  return [...findings, ...(noKnock ? [noKnock] : await examineKnock(profile))];
}

/** Where the key is, if not in the profile. */
async function examineIdentity({ identity, signer }: SigningProfile): Promise<Finding[]> {
  if (!identity) return [];
  const { sshFingerprint } = await import("../../crypto/ssh.ts");
  const fingerprint = await sshFingerprint(signer.publicKey);
  const where = identity.kind === "agent" ? "the ssh-agent" : quote(identity.path, 1000);
  return [ok("identity", `${fingerprint}, in ${where}`)];
}

/** The route and its source address, which the server lets in unless a network on the way changes it. */
export async function examineRoute(
  address: Address,
  { run }: Pick<Context, "run">,
  from?: Address,
): Promise<Finding> {
  const text = formatAddress(address);
  if (Deno.build.os !== "linux") return ok("route", `to ${text}: not looked at on this system`);
  try {
    const answer = await run({
      program: "ip",
      args: ["-json", "route", "get", text, ...(from ? ["from", formatAddress(from)] : [])],
      timeoutMs: 2000,
      missingHint: "install iproute2",
    });
    const [route] = JSON.parse(answer) as { dev?: string; prefsrc?: string; gateway?: string }[];
    const via = route?.gateway === undefined ? "" : ` via ${route.gateway}`;
    return ok(
      "route",
      `to ${text} from ${from ? formatAddress(from) : route?.prefsrc} on ${route?.dev}${via}`,
    );
  } catch (error) {
    const none = /unreachable/i.test(messageOf(error));
    return warn(
      "route",
      none ? `no route to ${text}` : `to ${text}: ${messageOf(error)}`,
      `this machine cannot use IPv${address.family} to the server; if the other family works, that is enough`,
    );
  }
}

async function examineKnock(profile: SigningProfile): Promise<Finding[]> {
  const port = profile.healthPort;
  try {
    const asked = await knockAndAsk(profile, {
      port,
      host: undefined,
      target: undefined,
      family: undefined,
      timeoutMs: KNOCK_MS,
    });
    if (asked.kind === "closed") return [whyClosed(profile, asked.waited)];
    const { answer, outcome } = asked;
    if (!answer) {
      return [warn(
        "knock",
        `${port}/tcp accepts connections, but is no openme health port`,
        "is health_port in the profile that of the server?",
      )];
    }
    const told = describeReport(profile.name, answer.report).trim().replaceAll("\n", "; ");
    return [
      outcome === "open" ? ok("knock", told) : outcome !== "none"
        ? fail(
          "knock",
          `accepted, but the server's firewall ${
            outcome === "refused" ? "refused it" : "has not opened yet"
          }: ${told}`,
          "on the server, openme doctor says more",
        )
        : fail(
          "knock",
          `not taken; what is open was opened by another: ${told}`,
          "is the key still registered, server_pubkey still the server's, and the clock right? the server's log at " +
            "--log-level debug names the reason",
        ),
      examineClock(answer.dateMs, asked.asked),
    ];
  } catch (error) {
    return [fail("knock", messageOf(error), hintOf(error, "is this machine online?"))];
  }
}

function whyClosed(
  { healthPort, serverUdpPort }: Profile,
  { unresolved, tried, knocks }: Extract<Asked, { kind: "closed" }>["waited"],
): Finding {
  if (unresolved !== undefined) {
    return fail(
      "knock",
      `${unresolved}: no answer from the name server`,
      "is this machine online, and are its name servers right?",
    );
  }
  const outcomes = tried.map(({ address, outcome }) => `${formatAddress(address)}: ${outcome}`);
  return fail(
    "knock",
    `${knocks} sent, but the health port ${healthPort}/tcp did not open (${outcomes.join(", ")})`,
    `on the server, look at "openme doctor" and at the log of openme serve (--log-level debug names the reason ` +
      `of every drop: stale is a clock, signature a key); a network on the way may drop UDP ${serverUdpPort}; ` +
      "a client with disable_health_port never gets an answer here",
  );
}

/** This machine's clock against the server's `Date`. */
export function examineClock(
  dateMs: number | undefined,
  { sentMs, receivedMs }: { sentMs: number; receivedMs: number },
): Finding {
  if (dateMs === undefined) {
    return warn("clock", "the server's answer has no date", "update openme on the server");
  }
  const aheadMs = sentMs - (dateMs + 1000);
  const behindMs = dateMs - receivedMs;
  const offMs = Math.max(aheadMs, behindMs, 0);
  if (offMs <= CLOCK_SLACK_MS) return ok("clock", "as the server's");
  return warn(
    "clock",
    `${(offMs / 1000).toFixed(0)} s ${aheadMs > 0 ? "ahead of" : "behind"} the server's`,
    "knocks are refused when the two are further apart than replay_window: synchronise both (timedatectl set-ntp true)",
  );
}
