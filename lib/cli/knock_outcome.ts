/** What a client is told of its knock: whether a port opened, what the health port reports, and otherwise why not. */

import { type Asked, knockAndAsk } from "../client/check.ts";
import type { Door } from "../client/hosts.ts";
import type { KnockOptions, Sent, SigningProfile } from "../client/knock.ts";
import { formatAddress } from "../values/address.ts";
import type { Profile } from "../config/profiles.ts";
import { formatDuration } from "../values/duration.ts";
import type { HealthReport } from "../values/health_report.ts";
import { escapeUnprintable } from "../values/text.ts";
import type { Closed } from "../client/wait.ts";
import type { Context } from "./context.ts";

/** The profile to knock with, and the address to let in. */
export interface Knocker extends KnockOptions {
  readonly profile: SigningProfile;
  /** The host that is to open; `undefined` for any of the profile. */
  readonly host: string | undefined;
}

/** How `--check` asks. */
export interface CheckOptions {
  readonly timeoutMs: number;
  readonly healthPort: number;
  /** Knocks that were sent before. */
  readonly earlier?: readonly Sent[] | undefined;
  /** Where they were sent. */
  readonly door?: Door | undefined;
}

const OTHERS_ADDRESS =
  "--check tells only of this machine's own address; of another --ip, openme sessions on the server does";

/** Knocks until the health port confirms a knock of this machine; without a report it has said why there is none. */
export async function check(
  { profile, ...options }: Knocker,
  { healthPort: port, ...more }: CheckOptions,
  context: Context,
): Promise<{
  readonly sent: readonly Sent[];
  readonly report: HealthReport | undefined;
  /** The host that answered. */
  readonly host: string | undefined;
}> {
  const { timeoutMs } = more;
  const asked = await knockAndAsk(profile, { port, ...options, ...more });
  const nameAt = (host: string) => `the health port ${port}/tcp of ${host}`;
  if (asked.kind === "closed") {
    tellClosed(context, nameAt(hostName(profile, options.host)), timeoutMs, asked.waited);
    if (options.target) tellLine(context, `openme: hint: ${OTHERS_ADDRESS}`);
    return { sent: asked.waited.sent, report: undefined, host: undefined };
  }
  const flaw = flawOf(asked, nameAt(asked.host), asked.host, { ...options, timeoutMs });
  if (flaw) tellError(context, ...flaw);
  const { sent, host } = asked;
  return { sent, report: flaw ? undefined : asked.answer?.report, host };
}

/** The host that was to open: the one asked for, or any of the profile's. */
export function hostName(
  { name, serverHost, otherHosts }: Profile,
  asked: string | undefined,
): string {
  if (asked !== undefined || !otherHosts) return asked ?? serverHost;
  return `${name} (${1 + otherHosts.length} hosts)`;
}

/** Why an answer does not confirm the knock, and what to do. */
function flawOf(
  { answer, outcome }: Extract<Asked, { kind: "answered" }>,
  name: string,
  host: string,
  { target, timeoutMs }: Pick<KnockOptions, "target"> & { readonly timeoutMs: number },
): [why: string, hint: string] | undefined {
  if (!answer || answer.report.grants.length === 0) {
    return [
      `${name} accepts connections, but does not say who is let in`,
      "is another program listening there? see --health-port",
    ];
  }
  const { address } = answer.report;
  switch (outcome) {
    case "open":
      return undefined;
    case "refused":
      return [
        `the firewall of ${host} refused what was opened`,
        "on the server, openme doctor says more",
      ];
    case "pending":
      return [
        `${host} accepted this knock, but its firewall did not open within ${
          formatDuration(timeoutMs)
        }`,
        "wait longer: --timeout 1m; on the server, openme doctor says more",
      ];
    case "none":
      if (target && formatAddress(target) !== address) {
        const whom = formatAddress(target);
        return [
          `whether ${whom} was let in cannot be told: ${name} tells only of ${address}, which asks it`,
          OTHERS_ADDRESS,
        ];
      }
      return [
        `${host} did not take this knock; what is open for ${address} was opened by another`,
        "openme doctor looks for the reason: clock, key, address, ports",
      ];
  }
}

/** Says that nothing opened, what was tried, and where to look. */
export function tellClosed(
  context: Context,
  what: string,
  timeoutMs: number,
  { tried, sent, knocks, missed = [], unresolved }: Omit<Closed, "kind">,
): void {
  const attempts = unresolved === undefined
    ? tried.map(({ address, outcome }) => `${formatAddress(address)}: ${outcome}`)
    : [`${unresolved}: no answer from the name server`];
  const times = (knocks === 1 ? "1 knock" : `${knocks} knocks`) + placesOf(sent);
  tellError(
    context,
    `${what} did not open within ${formatDuration(timeoutMs)} (${times}; ${
      [...attempts, ...missed].join(", ")
    })`,
    unresolved !== undefined
      ? "is this machine online, and are its name servers right?"
      : tried.some(({ outcome }) => outcome === "refused")
      ? "refused means that the way is open and no program listens there: is the service running?"
      : "openme doctor looks for the reason: clock, key, address, ports",
  );
}

/** Where the knocks went, if to several hosts. */
function placesOf(sent: readonly Sent[]): string {
  const hosts = Map.groupBy(sent, ({ host }) => host);
  if (hosts.size < 2) return "";
  const places = [...hosts].map(([host, each]) => {
    const addresses = each.map(({ address }) => formatAddress(address)).join(", ");
    return host === addresses ? host : `${host} (${addresses})`;
  });
  return ` at ${places.join(", ")}`;
}

/** A line for each grant: `home: alice is let in from 203.0.113.7 to 22/tcp, 29s left`. */
export function describeReport(profile: string, { address, grants }: HealthReport): string {
  return grants.map(({ client, ports, leftMs, failed }) => {
    const left = formatDuration(Math.ceil(leftMs / 1000) * 1000);
    if (failed) {
      return `${profile}: ${client} is not let in from ${address}: the server's firewall refused it\n`;
    }
    return `${profile}: ${client} is let in from ${address} to ${ports.join(" ")}, ${left} left\n`;
  }).join("");
}

function tellError(context: Context, why: string, hint: string): void {
  tellLine(context, `openme: error: ${why}`);
  tellLine(context, `openme: hint: ${hint}`);
}

/** A line on standard error that may hold text from outside. */
export function tellLine(context: Context, line: string): void {
  context.stderr(escapeUnprintable(line));
}
