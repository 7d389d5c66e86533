/** `openme knock` with flags: waits for a port, asks the health port, goes on knocking. Loaded with such a flag only. */

import { type Address, formatAddress } from "../../values/address.ts";
import { type Door, knockAtEach, withoutOthers } from "../../client/hosts.ts";
import type { Attempted, Sent } from "../../client/knock.ts";
import type { Profile } from "../../config/profiles.ts";
import { messageOf, OpenmeError } from "../../values/errors.ts";
import { reportToJson } from "../../values/health_report.ts";
import { knockUntilOpen } from "../../client/wait.ts";
import { parsePortSpec } from "../../values/ports.ts";
import {
  type Arguments,
  type Context,
  durationFlag,
  flagError,
  portFlag,
  renderJson,
  textFlag,
} from "../context.ts";
import { timeoutFlag } from "../network_flags.ts";
import {
  check,
  describeReport,
  hostName,
  type Knocker,
  tellClosed,
  tellLine,
} from "../knock_outcome.ts";
import { describeSent, tellSent } from "../sent.ts";
import { runPostKnock } from "../post_knock.ts";
import { keepKnocking, knockFirst } from "./keep_knocking.ts";

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

const DEFAULT_TIMEOUT_MS = 15_000;
const DEFAULT_INTERVAL_MS = 25_000;

/** Reads the flags; throws `OpenmeError`, code `USAGE`. */
export function readPlan(args: Arguments): Plan {
  const { check, continuous, json } = args.values;
  const waitPort = readWaitPort(args);
  const timeoutMs = timeoutFlag(args);
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

/** Throws, code `USAGE`, where a code would have to be good again and again. */
export function requireRepeatable(plan: Plan, { totp }: Profile, args: Arguments): void {
  if (plan.intervalMs === undefined || !totp && textFlag(args, "code") === undefined) return;
  throw new OpenmeError("USAGE", "--continuous does not go with a code, which is good once", {
    hint: "knock when you need it: openme knock PROFILE --wait 22/tcp",
  });
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
      spec?.protocol === "udp" ? "a client cannot see whether a UDP port is open" : undefined,
    );
  }
  return spec.first;
}

/** Knocks as the plan says; returns the exit code. */
export async function knockFurther(
  knocker: Knocker,
  plan: Plan,
  context: Context,
): Promise<number> {
  const { profile } = knocker;
  // A knock that is not looked at goes to each host, or to the one that was asked for.
  const blind = knocker.host === undefined
    ? knocker
    : { ...knocker, profile: withoutOthers(profile) };
  const { waitPort, timeoutMs, healthPort = profile.healthPort, intervalMs } = plan;
  const report: Record<string, unknown> = {};
  let sent: readonly Attempted[] | undefined;
  let earlier: readonly Sent[] | undefined;
  let door: Door | undefined;
  let host: string | undefined;
  let isOpen = true;
  if (waitPort !== undefined) {
    const waited = await waitFor(knocker, waitPort, timeoutMs, context);
    ({ sent, all: earlier, door } = waited);
    host = door?.dialledHost;
    isOpen = waited.address !== undefined;
    report["opened"] = waited.address
      ? { address: formatAddress(waited.address), ports: [`${waitPort}/tcp`] }
      : null;
  }
  if (plan.check && isOpen) {
    const checked = await check(knocker, { timeoutMs, healthPort, earlier, door }, context);
    sent ??= checked.sent;
    host = checked.host;
    isOpen = checked.report !== undefined;
    report["checked"] = checked.report ? reportToJson(checked.report) : null;
    if (checked.report && !plan.json) {
      context.stdout(describeReport(profile.name, checked.report));
    }
  }
  const pace = intervalMs === undefined || !isOpen
    ? undefined
    : { intervalMs, signal: context.stopSignal(), context };
  if (!sent) {
    sent = pace ? await knockFirst(blind, pace) : await knockAtEach(blind.profile, blind);
    if (!sent) return 0;
    tellSent(profile, sent, context);
  }
  if (plan.json) context.stdout(renderJson({ ...describeSent(profile, sent, host), ...report }));
  if (!isOpen) return 3;
  const after = profile.postKnock === undefined ? undefined : runPostKnock(profile.postKnock);
  if (!pace) {
    await after;
    return 0;
  }
  // The line may run long, or fail: the ports stay open until the process is asked to stop.
  after?.catch((error) => tellLine(context, `openme: error: ${messageOf(error)}`));
  await keepKnocking(blind, pace);
  return 0;
}

/** Knocks until the port accepts; `address` is the server's that did. */
async function waitFor(
  { profile, ...options }: Knocker,
  port: number,
  timeoutMs: number,
  context: Context,
): Promise<{
  /** The first knocks. */
  readonly sent: readonly Sent[];
  readonly all: readonly Sent[];
  readonly door: Door | undefined;
  readonly address: Address | undefined;
}> {
  const all: Sent[] = [];
  const waited = await knockUntilOpen(profile, {
    port,
    ...options,
    timeoutMs,
    knocked: (sent) => {
      all.push(...sent);
      return Promise.resolve();
    },
  });
  const { sent, door } = waited;
  if (waited.kind === "closed") {
    const name = `port ${port}/tcp of ${hostName(profile, options.host)}`;
    tellClosed(context, name, timeoutMs, waited);
    return { sent, all, door: undefined, address: undefined };
  }
  waited.connection.close();
  if (context.interactive) {
    const host = door?.dialledHost ?? profile.serverHost;
    tellLine(context, `openme: ${port}/tcp of ${host} accepts connections`);
  }
  return { sent, all, door, address: waited.address };
}
