/**
 * Finds openme's own rules in what `server.command.list` prints. Pure. A rule is a whole line that matches `entry`;
 * values are compared as addresses and ports, never as text, so that 10.0.0.1 is not found in 10.0.0.10.
 */

import { parseNetwork } from "../../values/network.ts";
import { parsePortSpec } from "../../values/ports.ts";
import { type Entry, entryKey } from "./line.ts";

/** What a placeholder may stand for in a line. */
const VALUES: Readonly<Record<string, string>> = {
  address: String.raw`[0-9A-Fa-f.:]{2,45}(?:/\d{1,3})?`,
  family: "[46]",
  port: String.raw`\d{1,5}`,
  "end_port": String.raw`\d{1,5}`,
  ports: String.raw`\d{1,5}(?:[:-]\d{1,5})?`,
  protocol: "tcp|udp",
  client: String.raw`[\w.,-]*`,
};

/** Reads openme's rules out of a listing, by {@linkcode entryKey}; every other line is not openme's. */
export function listingReader(template: string): (output: string) => Map<string, Entry> {
  const pattern = patternOf(template);
  return (output) => {
    const found = new Map<string, Entry>();
    for (const line of output.split("\n")) {
      const groups = pattern.exec(squeeze(line))?.groups;
      const entry = groups && readEntry(groups);
      if (entry) found.set(entryKey(entry), entry);
    }
    return found;
  };
}

/** Amounts of white space do not matter: programs align columns. */
function squeeze(text: string): string {
  return text.trim().replaceAll(/\s+/g, " ");
}

function patternOf(template: string): RegExp {
  const seen = new Set<string>();
  const parts = squeeze(template).split(/\{([a-z_]+)\}/).map((part, index) => {
    if (index % 2 === 0) return part.replaceAll(/[^\w\s]/g, String.raw`\$&`);
    if (seen.has(part)) return String.raw`\k<${part}>`;
    seen.add(part);
    return `(?<${part}>${VALUES[part]})`;
  });
  return new RegExp(`^${parts.join("")}$`);
}

function readEntry(groups: Record<string, string>): Entry | undefined {
  const address = parseNetwork(groups["address"]!);
  const [first, last] = groups["ports"]?.split(/[:-]/) ?? [groups["port"], groups["end_port"]];
  const range = last === undefined || last === first ? first : `${first}-${last}`;
  const ports = parsePortSpec(`${range}/${groups["protocol"]}`);
  if (!address || !ports || ports.protocol === "both") return undefined;
  if (groups["family"] !== undefined && groups["family"] !== String(address.base.family)) {
    return undefined;
  }
  return { address, ports: { ...ports, protocol: ports.protocol }, client: groups["client"] ?? "" };
}

/** For people: `10.0.0.2 22/tcp, fd00::2 22/tcp`. */
export function showEntries(entries: readonly Entry[], most = 5): string {
  const shown = entries.slice(0, most).map(entryKey);
  const more = entries.length - shown.length;
  return shown.join(", ") + (more > 0 ? ` and ${more} more` : "");
}
