/**
 * Reads a guard's plan from its text in the state database: `serve --confirm` that is not confirmed puts the plan back
 * that stood before. Loaded only then. Reading is strict, since names in it become rules: every field must be there with a value that a configuration
 * could have given, and no other field.
 */

import type { PortRange } from "../values/ports.ts";
import { CLOSED_AS, type GuardPlan, INTERFACE_PATTERN, type Prefix } from "./plan.ts";

/** The plan in a text of {@linkcode printPlan}; `undefined` where any of it is missing, wrong or unknown. */
export function parsePlan(text: string): GuardPlan | undefined {
  try {
    return readPlan(JSON.parse(text));
  } catch {
    return undefined;
  }
}

function readPlan(value: unknown): GuardPlan {
  const { interface: name, activeMs, ...fields } = mapOf(value, [
    "knockPort",
    "guardedPorts",
    "forwardedPorts",
    "dropPorts",
    "closedAs",
    "openKnockPort",
    "onlyStampedKnocks",
    "mark",
    "prefixes",
    "lifetimeMs",
  ], ["interface", "activeMs"]);
  require(name === undefined || (typeof name === "string" && INTERFACE_PATTERN.test(name)));
  return {
    knockPort: readWhole(fields["knockPort"], 1, 65535),
    guardedPorts: listOf(fields["guardedPorts"]).map(readRange),
    forwardedPorts: listOf(fields["forwardedPorts"]).map(readRange),
    dropPorts: readBoolean(fields["dropPorts"]),
    closedAs: readChoice(fields["closedAs"], CLOSED_AS),
    openKnockPort: readBoolean(fields["openKnockPort"]),
    onlyStampedKnocks: readBoolean(fields["onlyStampedKnocks"]),
    interface: name as string | undefined,
    mark: readMark(fields["mark"]),
    prefixes: listOf(fields["prefixes"]).map(readPrefix),
    lifetimeMs: readWhole(fields["lifetimeMs"], 1, 86_400_000),
    activeMs: activeMs === undefined ? undefined : readWhole(activeMs, 1, 86_400_000),
  };
}

function readRange(value: unknown): PortRange {
  const fields = mapOf(value, ["protocol", "first", "last"]);
  const first = readWhole(fields["first"], 1, 65535);
  return {
    protocol: readChoice(fields["protocol"], ["tcp", "udp"]),
    first,
    last: readWhole(fields["last"], first, 65535),
  };
}

function readPrefix(value: unknown): Prefix {
  const fields = mapOf(value, ["family", "length"]);
  const family = readChoice<4 | 6>(fields["family"], [4, 6]);
  return { family, length: readWhole(fields["length"], 1, family === 4 ? 31 : 127) };
}

/** One bit. */
function readMark(value: unknown): number {
  const mark = readWhole(value, 1, 0x8000_0000);
  require(Number.isInteger(Math.log2(mark)));
  return mark;
}

function readWhole(value: unknown, least: number, most: number): number {
  require(Number.isInteger(value) && (value as number) >= least && (value as number) <= most);
  return value as number;
}

function readBoolean(value: unknown): boolean {
  require(typeof value === "boolean");
  return value as boolean;
}

function readChoice<T>(value: unknown, choices: readonly T[]): T {
  require(choices.includes(value as T));
  return value as T;
}

function listOf(value: unknown): readonly unknown[] {
  require(Array.isArray(value));
  return value as unknown[];
}

/** A map with all of these keys and no others but `optional` ones. */
function mapOf(
  value: unknown,
  keys: readonly string[],
  optional: readonly string[] = [],
): Record<string, unknown> {
  require(typeof value === "object" && value !== null && !Array.isArray(value));
  const fields = value as Record<string, unknown>;
  require(keys.every((key) => Object.hasOwn(fields, key)));
  require(Object.keys(fields).every((key) => keys.includes(key) || optional.includes(key)));
  return fields;
}

function require(holds: boolean): void {
  if (!holds) throw new Error("not a plan");
}
