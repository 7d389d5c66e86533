/**
 * What a guard that stands has guarded, on disk: `serve --confirm` that is not confirmed puts that back where it took
 * the guard over, instead of leaving everything open.
 */

import { join } from "node:path";
import { INTERFACE_PATTERN } from "../config/server_config.ts";
import type { GuardPlan } from "../firewall/backend.ts";
import type { PortRange } from "../ports.ts";

const NAME = "guard.json";

/** Writes down that this is guarded from now on. Best effort: without it a roll-back removes the guard. */
export function recordGuard(stateDir: string, plan: GuardPlan): void {
  const path = join(stateDir, NAME);
  try {
    Deno.mkdirSync(stateDir, { recursive: true, mode: 0o700 });
    Deno.writeTextFileSync(`${path}.new`, JSON.stringify(plan) + "\n", { mode: 0o600 });
    Deno.renameSync(`${path}.new`, path);
  } catch {
    forgetGuard(stateDir); // rather none than an old one
  }
}

/** There is no guard any more. */
export function forgetGuard(stateDir: string): void {
  try {
    Deno.removeSync(join(stateDir, NAME));
  } catch {
    // Nothing was written, or nothing can be.
  }
}

/** What the guard that stands has guarded; `undefined` where nobody wrote that down as it is written today. */
export function readGuard(stateDir: string): GuardPlan | undefined {
  try {
    const plan = JSON.parse(Deno.readTextFileSync(join(stateDir, NAME))) as GuardPlan;
    return isPlan(plan) ? plan : undefined;
  } catch {
    return undefined;
  }
}

function isPlan(plan: GuardPlan): boolean {
  const { knockPort, guardedPorts, forwardedPorts, interface: name } = plan;
  return isPort(knockPort) && guardedPorts.every(isRange) && forwardedPorts.every(isRange) &&
    ["drop", "reject"].includes(plan.closedAs) &&
    (name === undefined || (typeof name === "string" && INTERFACE_PATTERN.test(name))) &&
    [plan.dropPorts, plan.openKnockPort].every((each) => typeof each === "boolean");
}

function isRange({ protocol, first, last }: PortRange): boolean {
  return (protocol === "tcp" || protocol === "udp") && isPort(first) && isPort(last) &&
    first <= last;
}

function isPort(port: unknown): boolean {
  return typeof port === "number" && Number.isInteger(port) && port > 0 && port < 65536;
}
