/** `openme status`: asks a server's health port who is let in here. */

import { hostsOf } from "../../client/hosts.ts";
import { addressesOf, type Way, wayOf } from "../../client/knock.ts";
import { dialFirst } from "../../client/dial.ts";
import { formatDuration } from "../../values/duration.ts";
import { OpenmeError } from "../../values/errors.ts";
import { askHealth } from "../../client/ask_health.ts";
import { type HealthReport, reportToJson } from "../../values/health_report.ts";
import { ANSWER_MS } from "../../client/check.ts";
import { inTime } from "../../client/deadline.ts";
import { escapeUnprintable } from "../../values/text.ts";
import { type Command, logOf, portFlag, PROFILE, renderJson, textFlag } from "../context.ts";
import { CODE, HEALTH_PORT, HOST, NETWORK, readFamily, timeoutFlag } from "../network_flags.ts";
import { check, describeReport, hostName } from "../knock_outcome.ts";
import { loadProfile, permissionsOf, readyToKnock } from "../load_profile.ts";

const DEFAULT_TIMEOUT_MS = 3000;
/** How long after the first answer the other addresses may answer. */
const OTHERS_MS = 500;

export const status: Command = {
  about: "Asks a server's health port what is open for this machine, and for how long.",
  arguments: "[PROFILE]",
  parameters: {
    ...PROFILE,
    "--knock": "knock first",
    ...CODE,
    "--timeout TIME": "how long to wait for an answer (default 3s, with --knock 15s)",
    ...HEALTH_PORT,
    ...NETWORK,
    ...HOST,
    "--json": `{"profile", "host", "answers": [{"address", "now", "grants": [{…}]}]}: docs/json.md`,
  },
  notes: `The health port answers only addresses that are let in.

Exit codes: 0 let in, 1 failed, 2 wrong usage, 3 not let in.`,
  example: "openme status home",
  run: async (args, context) => {
    const family = readFamily(args);
    const log = logOf(args, context);
    const givenMs = timeoutFlag(args);
    const givenPort = portFlag(args, "health-port");
    const profile = await loadProfile(args, context, args.positionals[0]);
    const signing = args.values["knock"] ? await readyToKnock(profile, args, context) : undefined;
    await context.keepPermissions(permissionsOf(profile));
    const healthPort = givenPort ?? profile.healthPort;
    const asked = textFlag(args, "host") === undefined ? undefined : profile.serverHost;
    const hosts = asked === undefined ? hostsOf(profile) : [asked];
    const tellJson = (answers: readonly Answer[]) => {
      context.stdout(renderJson({
        profile: profile.name,
        host: profile.serverHost,
        answers: answers.map(({ host, report }) => ({
          ...(profile.otherHosts ? { host } : {}),
          ...reportToJson(report),
        })),
      }));
    };
    if (signing) {
      const timeoutMs = givenMs ?? 15_000;
      const knocker = { profile: signing, host: asked, target: undefined, family, log };
      // Until one address answers; all are asked below.
      if (!(await check(knocker, { timeoutMs, healthPort }, context)).report) {
        if (args.values["json"]) tellJson([]);
        return 3;
      }
    }
    const timeoutMs = givenMs ?? DEFAULT_TIMEOUT_MS;
    const way = await wayOf(profile, family);
    const asking = hosts.map((host) => askAll(host, healthPort, way, timeoutMs));
    const settled = await Promise.allSettled(asking);
    const failure = settled.find((each) => each.status === "rejected");
    // A host whose name does not resolve hides none of the others.
    if (failure && settled.every(({ status }) => status === "rejected")) throw failure.reason;
    const answers = settled.flatMap((each) => each.status === "fulfilled" ? each.value : []);
    if (args.values["json"]) tellJson(answers);
    else {
      for (const { host, report } of answers) {
        const name = hosts.length > 1 ? `${profile.name} at ${host}` : profile.name;
        context.stdout(describeReport(name, report));
      }
    }
    if (answers.length > 0) return 0;
    context.stderr(escapeUnprintable(
      `openme: error: the health port ${healthPort}/tcp of ${
        hostName(profile, asked)
      } did not answer within ${formatDuration(timeoutMs)}: this machine is not let in`,
    ));
    context.stderr(`openme: hint: knock first: openme status --knock ${profile.name}`);
    return 3;
  },
};

/** What a host has answered. */
interface Answer {
  readonly host: string;
  readonly report: HealthReport;
}

/** Asks each address of a host: a machine may have a grant for one family or for both. */
async function askAll(
  host: string,
  port: number,
  way: Way,
  timeoutMs: number,
): Promise<Answer[]> {
  const over = new AbortController();
  const timers = [setTimeout(() => over.abort(), timeoutMs)];
  const addresses = await inTime(addressesOf(host, way), over.signal);
  if (!addresses) {
    throw new OpenmeError("SOCKET", `cannot resolve ${host} within ${formatDuration(timeoutMs)}`, {
      hint: "is this machine online, and are its name servers right?",
    });
  }
  const answers = await Promise.all(addresses.map(async (address) => {
    const dialled = await dialFirst([address], port, over.signal, way.from);
    if (dialled.kind === "closed") return undefined;
    // The others answer soon, or have no grant.
    timers.push(setTimeout(() => over.abort(), OTHERS_MS));
    return await askHealth(dialled.connection, ANSWER_MS);
  }));
  timers.forEach(clearTimeout);
  const byAddress = new Map<string, HealthReport>();
  for (const answer of answers) {
    if (answer && answer.report.grants.length > 0) {
      byAddress.set(answer.report.address, answer.report);
    }
  }
  return [...byAddress.values()].map((report) => ({ host, report }));
}
