/** What `openme knock` does beyond one knock: wait for a port, ask what is open, go on knocking. Loaded when asked for. */

import { type Address, formatAddress } from "../../values/address.ts";
import { knock, type KnockOptions, type Sent } from "../../client/knock.ts";
import type { Profile } from "../../config/profiles.ts";
import type { Attempt } from "../../client/dial.ts";
import { pause } from "../../system/clock.ts";
import { formatDuration } from "../../values/duration.ts";
import { messageOf, OpenmeError } from "../../values/errors.ts";
import { type HealthReport, reportToJson } from "../../values/health_report.ts";
import { knockAndAsk } from "../../client/check.ts";
import { knockUntilOpen } from "../../client/wait.ts";
import { parsePortSpec } from "../../values/ports.ts";
import { escapeUnprintable } from "../../values/text.ts";
import {
  type Arguments,
  type Context,
  durationFlag,
  flagError,
  portFlag,
  renderJson,
  textFlag,
} from "../context.ts";
import { describeSent, tellSent } from "../sent.ts";
import { runPostKnock } from "../post_knock.ts";

/** What the flags ask for. */
export interface Plan {
  /** The TCP port that is to accept. */
  readonly waitPort: number | undefined;
  readonly check: boolean;
  readonly timeoutMs: number;
  readonly healthPort: number | undefined;
  /** How often to knock again; once where it is `undefined`. */
  readonly intervalMs: number | undefined;
  readonly json: boolean;
}

/** Where to knock, and for whom. */
export interface Knocker extends KnockOptions {
  readonly profile: Profile;
}

const DEFAULT_TIMEOUT_MS = 15_000;
const DEFAULT_INTERVAL_MS = 25_000;

const OTHERS_ADDRESS =
  "--check tells only of this machine's own address; of another --ip, openme sessions on the server does";

/** Reads the flags; throws `OpenmeError`, code `USAGE`. */
export function readPlan(args: Arguments): Plan {
  const { check, continuous, json } = args.values;
  const waitPort = readWaitPort(args);
  const timeoutMs = durationFlag(args, "timeout", { minMs: 100, maxMs: 3_600_000 });
  const intervalMs = durationFlag(args, "interval", { minMs: 1000, maxMs: 86_400_000 });
  const healthPort = portFlag(args, "health-port");
  const needs = (flag: string, others: string) => {
    throw new OpenmeError("USAGE", `--${flag} does nothing without ${others}`, {
      hint: "see openme knock --help",
    });
  };
  if (timeoutMs !== undefined && waitPort === undefined && !check) {
    needs("timeout", "--wait or --check");
  }
  if (healthPort !== undefined && !check) needs("health-port", "--check");
  if (intervalMs !== undefined && !continuous) needs("interval", "--continuous");
  return {
    waitPort,
    check: check === true,
    timeoutMs: timeoutMs ?? DEFAULT_TIMEOUT_MS,
    healthPort,
    intervalMs: continuous ? intervalMs ?? DEFAULT_INTERVAL_MS : undefined,
    json: json === true,
  };
}

/** Knocks as the plan says; gives the exit code. */
export async function knockFurther(
  knocker: Knocker,
  plan: Plan,
  context: Context,
): Promise<number> {
  const { profile } = knocker;
  let sent: readonly Sent[] | undefined;
  let earlier: readonly Sent[] | undefined;
  const report: Record<string, unknown> = {};
  const tellReport = () => {
    if (plan.json) context.stdout(renderJson({ ...describeSent(profile, sent ?? []), ...report }));
  };
  if (plan.waitPort !== undefined) {
    const { address, ...waited } = await waitFor(knocker, plan.waitPort, plan, context);
    sent = waited.sent;
    earlier = waited.all;
    report["opened"] = address
      ? { address: formatAddress(address), ports: [`${plan.waitPort}/tcp`] }
      : null;
    if (!address) {
      tellReport();
      return 3;
    }
  }
  if (plan.check) {
    const checked = await check(knocker, { ...plan, earlier }, context);
    sent ??= checked.sent;
    report["checked"] = checked.report ? reportToJson(checked.report) : null;
    if (!checked.report) {
      tellReport();
      return 3;
    }
    if (!plan.json) context.stdout(describeReport(profile.name, checked.report));
  }
  const signal = plan.intervalMs === undefined ? undefined : context.stopSignal();
  if (!sent) {
    sent = await knockFirst(knocker, plan.intervalMs, { context, signal });
    if (!sent) return 0;
    tellSent(profile, sent, context);
  }
  tellReport();
  const after = profile.postKnock === undefined ? undefined : runPostKnock(profile.postKnock);
  if (plan.intervalMs === undefined || !signal) {
    await after;
    return 0;
  }
  // The line may run for as long as it likes, and fail: the ports stay open until somebody stops this.
  after?.catch((error) => tell(context, `openme: error: ${messageOf(error)}`));
  await keepKnocking(knocker, plan.intervalMs, { context, signal });
  return 0;
}

/**
 * The first knock. Where there are to be more, a network that is not there yet is no end: it tries until one is sent,
 * and gives `undefined` where it is stopped before.
 */
async function knockFirst(
  knocker: Knocker,
  intervalMs: number | undefined,
  { context, signal }: { context: Context; signal: AbortSignal | undefined },
): Promise<Sent[] | undefined> {
  for (let failing = false;; failing = true) {
    try {
      const sent = await knockOnce(knocker);
      if (failing) tell(context, `openme: knocking at ${knocker.profile.serverHost}`);
      return sent;
    } catch (error) {
      if (intervalMs === undefined || !signal) throw error;
      if (!failing) tellTryingAgain(error, context);
      await pause(intervalMs, signal);
      if (signal.aborted) return undefined;
    }
  }
}

async function waitFor(
  { profile, ...options }: Knocker,
  port: number,
  { timeoutMs }: Plan,
  context: Context,
): Promise<{
  readonly sent: readonly Sent[];
  /** Those that were sent later among them. */
  readonly all: readonly Sent[];
  readonly address: Address | undefined;
}> {
  const all: Sent[] = [];
  const waited = await knockUntilOpen(profile, {
    host: undefined,
    port,
    ...options,
    timeoutMs,
    knocked: (sent) => {
      all.push(...sent);
      return Promise.resolve();
    },
  });
  if (waited.kind === "closed") {
    tellClosed(context, `port ${port}/tcp of ${profile.serverHost}`, timeoutMs, waited);
    return { sent: waited.sent, all, address: undefined };
  }
  waited.connection.close();
  if (context.interactive) {
    tell(context, `openme: ${port}/tcp of ${profile.serverHost} accepts connections`);
  }
  return { sent: waited.sent, all, address: waited.address };
}

/** Knocks until the health port says that this knock was taken; tells why, where it does not. */
export async function check(
  { profile, ...options }: Knocker,
  { timeoutMs, healthPort = profile.healthPort, earlier }:
    & Pick<Plan, "timeoutMs" | "healthPort">
    & { readonly earlier?: readonly Sent[] | undefined },
  context: Context,
): Promise<{ readonly sent: readonly Sent[]; readonly report: HealthReport | undefined }> {
  const asked = await knockAndAsk(profile, {
    port: healthPort,
    ...options,
    timeoutMs,
    earlier,
  });
  const name = `the health port ${healthPort}/tcp of ${profile.serverHost}`;
  if (asked.kind === "closed") {
    tellClosed(context, name, timeoutMs, asked.waited);
    if (options.target) tell(context, `openme: hint: ${OTHERS_ADDRESS}`);
    return { sent: asked.waited.sent, report: undefined };
  }
  const { sent, answer, outcome } = asked;
  const fails = (why: string, hint: string) => {
    tell(context, `openme: error: ${why}`);
    tell(context, `openme: hint: ${hint}`);
    return { sent, report: undefined };
  };
  if (!answer || answer.report.grants.length === 0) {
    return fails(
      `${name} accepts connections, but does not say who is let in`,
      "is another program listening there? see --health-port",
    );
  }
  if (outcome === "refused") {
    return fails(
      `the firewall of ${profile.serverHost} refused what was opened`,
      "on the server, openme doctor says more",
    );
  }
  if (outcome === "pending") {
    return fails(
      `${profile.serverHost} accepted this knock, but its firewall did not open within ${
        formatDuration(timeoutMs)
      }`,
      "wait longer: --timeout 1m; on the server, openme doctor says more",
    );
  }
  const { address } = answer.report;
  const { target } = options;
  if (outcome !== "open" && target && formatAddress(target) !== address) {
    return fails(
      `whether ${
        formatAddress(target)
      } was let in cannot be told: ${name} tells only of ${address}, which asks it`,
      OTHERS_ADDRESS,
    );
  }
  if (outcome !== "open") {
    return fails(
      `${profile.serverHost} did not take this knock; what is open for ${address} was opened by another`,
      "openme doctor looks for the reason: clock, key, address, ports",
    );
  }
  return { sent, report: answer.report };
}

/** Why nothing opened: what was tried, and where to look. */
export function tellClosed(
  context: Context,
  what: string,
  timeoutMs: number,
  { tried, knocks, unresolved }: {
    tried: readonly Attempt[];
    knocks: number;
    unresolved?: string;
  },
): void {
  const attempts = unresolved === undefined
    ? tried.map(({ address, outcome }) => `${formatAddress(address)}: ${outcome}`)
    : [`${unresolved}: no answer from the name server`];
  const times = knocks === 1 ? "1 knock" : `${knocks} knocks`;
  tell(
    context,
    `openme: error: ${what} did not open within ${formatDuration(timeoutMs)} ` +
      `(${times}; ${attempts.join(", ")})`,
  );
  const refused = tried.some(({ outcome }) => outcome === "refused");
  tell(
    context,
    unresolved !== undefined
      ? "openme: hint: is this machine online, and are its name servers right?"
      : refused
      ? "openme: hint: refused means that the way is open and nobody listens there: is the service running?"
      : "openme: hint: openme doctor looks for the reason: clock, key, address, ports",
  );
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

async function keepKnocking(
  knocker: Knocker,
  intervalMs: number,
  { context, signal }: { context: Context; signal: AbortSignal },
): Promise<void> {
  let failing = false;
  for (;;) {
    await pause(intervalMs, signal);
    if (signal.aborted) return;
    try {
      const sent = await knockOnce(knocker);
      if (failing) tell(context, `openme: knocking at ${knocker.profile.serverHost} again`);
      else tellSent(knocker.profile, sent, context);
      failing = false;
    } catch (error) {
      // A laptop that sleeps or changes its network: told once, tried again.
      if (!failing) tellTryingAgain(error, context);
      failing = true;
    }
  }
}

function tellTryingAgain(error: unknown, context: Context): void {
  tell(context, `openme: error: ${messageOf(error)}; trying again`);
}

/** The name is resolved each time: the server may have moved, and this machine too. */
async function knockOnce({ profile, ...options }: Knocker): Promise<Sent[]> {
  return await knock(profile, options);
}

function readWaitPort(args: Arguments): number | undefined {
  const text = textFlag(args, "wait");
  if (text === undefined) return undefined;
  const spec = parsePortSpec(text);
  if (!spec || spec.first !== spec.last || spec.protocol === "udp") {
    throw flagError(
      "wait",
      `a TCP port such as "22/tcp"`,
      text,
      spec?.protocol === "udp"
        ? "from outside nobody can see whether a UDP port is open"
        : undefined,
    );
  }
  return spec.first;
}

function tell(context: Context, line: string): void {
  context.stderr(escapeUnprintable(line));
}
