/** Flags with a meaning of their own: a span, a time to come, an interface, the size of a client's network. */

import { EXPIRY_EXPECTED, parseExpiry, PREFIX_BOUNDS } from "../config/clients.ts";
import { parseDuration } from "../values/duration.ts";
import { type Arguments, type Context, flagError, textFlag } from "./context.ts";
import type { ServerConfig } from "../config/server.ts";
import { type FirewallName, INTERFACE_PATTERN } from "../firewall/plan.ts";

const DAY_MS = 86_400_000;
/** 100 years: longer than any key should live, and within the dates that JavaScript has. */
const MOST_DAYS = 36_500;

export const SPAN_EXPECTED = `a span such as "90d" or "12h"`;

/** Reads days (`90d`) or a duration as the configuration has them (`12h`). Whole ms, `undefined` for anything else. */
export function parseSpan(text: string): number | undefined {
  const days = /^(\d{1,5})d$/.exec(text)?.[1];
  const spanMs = days === undefined ? parseDuration(text) : Number(days) * DAY_MS;
  return spanMs !== undefined && spanMs <= MOST_DAYS * DAY_MS ? spanMs : undefined;
}

/** A flag that is a span; throws where it is something else. */
export function spanFlag(args: Arguments, name: string): number | undefined {
  const text = textFlag(args, name);
  if (text === undefined) return undefined;
  const spanMs = parseSpan(text);
  if (spanMs === undefined) throw flagError(name, SPAN_EXPECTED, text);
  return spanMs;
}

/** `--expires`, a date, a time or a span from now, as the configuration writes it. */
export function expiresFlag(args: Arguments, nowMs: number): string | undefined {
  const text = textFlag(args, "expires");
  if (text === undefined) return undefined;
  const spanMs = parseSpan(text);
  // Whole seconds are enough for a span, and easier to read in the configuration.
  const expiresAtMs = spanMs === undefined
    ? parseExpiry(text)
    : Math.trunc((nowMs + spanMs) / 1000) * 1000;
  if (expiresAtMs === undefined) {
    throw flagError("expires", `${EXPIRY_EXPECTED}, or a span such as "90d"`, text);
  }
  if (expiresAtMs <= nowMs) throw flagError("expires", "a time to come", text);
  return isoTime(expiresAtMs);
}

/** A time for people: whole seconds, UTC. */
export function formatTime(atMs: number): string {
  return isoTime(Math.trunc(atMs / 1000) * 1000);
}

function isoTime(atMs: number): string {
  return new Date(atMs).toISOString().replace(".000Z", "Z");
}

/** `--interface IF`; throws, code `USAGE`, for what cannot be a name of one. */
export function interfaceFlag(args: Arguments): string | undefined {
  const name = textFlag(args, "interface");
  if (name !== undefined && !INTERFACE_PATTERN.test(name)) {
    throw flagError("interface", `the name of a network interface, such as "eth0"`, name);
  }
  return name;
}

/** The configuration with what the flag says in place of `server.interface`. */
export function withInterface(config: ServerConfig, name: string | undefined): ServerConfig {
  return { ...config, interface: name ?? config.interface };
}

type PrefixFlag = Partial<Record<keyof typeof PREFIX_BOUNDS, number>>;

/** `--prefix v4=24,v6=64`: the lengths as they stand in the configuration, `undefined` without the flag. */
export function prefixFlag(args: Arguments): PrefixFlag | undefined {
  const text = textFlag(args, "prefix");
  if (text === undefined) return undefined;
  const lengths: PrefixFlag = {};
  for (const item of text.split(",").map((each) => each.trim())) {
    const [, family, digits] = /^(v4|v6)=([1-9]\d{0,2})$/.exec(item) ?? [];
    const key = family as keyof typeof PREFIX_BOUNDS | undefined;
    const length = Number(digits);
    if (!key || key in lengths || !isWithin(length, PREFIX_BOUNDS[key])) {
      const { v4, v6 } = PREFIX_BOUNDS;
      throw flagError(
        "prefix",
        `lengths in bits such as "v4=24,v6=64"`,
        text,
        `v4 from ${v4.least} to ${v4.most}, v6 from ${v6.least} to ${v6.most}, each once`,
      );
    }
    lengths[key] = length;
  }
  return lengths;
}

/** Prints which addresses a knock of this client lets in, where that is more than one. */
export function tellWhoGetsIn(
  name: string,
  { v4, v6 }: PrefixFlag,
  firewall: FirewallName,
  context: Context,
): void {
  if (firewall === "none") return;
  const sizes = [
    ...(v4 === undefined || v4 === PREFIX_BOUNDS.v4.most ? [] : [`/${v4} in IPv4`]),
    ...(v6 === undefined || v6 === PREFIX_BOUNDS.v6.most ? [] : [`/${v6} in IPv6`]),
  ];
  if (sizes.length === 0) return;
  const first = "the first address of it that connects is let in, one more with each knock";
  const all = "every address of it is let in until the grant ends";
  const who = firewall === "nft"
    ? first
    : firewall === "auto"
    ? `where that is nft, ${first}; with any other, ${all}`
    : all;
  context.stderr(
    `openme: a knock by ${name} opens for the whole network around its address (${
      sizes.join(", ")
    }); with firewall: ${firewall}, ${who}`,
  );
}

function isWithin(length: number, { least, most }: { least: number; most: number }): boolean {
  return least <= length && length <= most;
}
