/**
 * The part of the server's configuration that chooses the firewall: its name and, for `command`, the programs to run.
 */

import {
  type ClosedAs,
  closingFlaw,
  type CommandLines,
  type FirewallName,
  FIREWALLS,
} from "../firewall/plan.ts";
import { ConfigError, listOf, mismatch, Section } from "./fields.ts";

/** What stands in an argument for a value of the opening at hand. */
export const PLACEHOLDERS = [
  "address",
  "family",
  "port",
  "end_port",
  "ports",
  "protocol",
  "client",
  "timeout_s",
] as const;

/** Whose rule a line of `list` is: without this word in `entry`, somebody else's rules could match it. */
const MARKER = "openme";

/** The bit of the packet mark for what openme lets in, unless the configuration names another. */
export const DEFAULT_MARK = 0x4000_0000;

/** Reads `firewall` and what belongs to it. */
export function readFirewall(
  server: Section,
): { firewall: FirewallName; command: CommandLines | undefined; mark: number } {
  const firewall = server.optional("firewall", (key) => server.choice(key, FIREWALLS)) ?? "nft";
  const command = server.optional("command", (key) => readCommand(server, key));
  if (firewall === "command" && !command) {
    throw mismatch(server.path("command"), "a map with open and close", undefined);
  }
  return {
    firewall,
    command: firewall === "command" ? command : undefined,
    mark: server.optional("mark", (key) => readMark(server, key)) ?? DEFAULT_MARK,
  };
}

/** One bit of 32, as a whole number or in hex. */
function readMark(server: Section, key: string): number {
  const value = server.raw(key);
  const isHex = typeof value === "string" && /^0x[0-9a-f]{1,8}$/i.test(value);
  const mark = isHex ? Number(value) : value;
  const isBit = typeof mark === "number" && Number.isInteger(mark) && mark >= 1 &&
    mark <= 0x8000_0000 && (mark & (mark - 1)) === 0;
  if (!isBit) {
    throw mismatch(server.path(key), `one bit of 32, such as "0x20000000"`, value);
  }
  return mark;
}

/** Refuses what the named backend cannot do; of `auto` only the host knows. */
export function requireClosing(
  server: Section,
  config: { firewall: FirewallName; dropPorts: boolean; closedAs: ClosedAs },
): void {
  const flaw = closingFlaw(config.firewall, config);
  if (flaw) throw new ConfigError(server.path(flaw.key), flaw.problem, flaw.hint);
}

function readCommand(server: Section, key: string): CommandLines {
  const lines = new Section(server.raw(key), server.path(key), ["open", "close", "list", "entry"]);
  const commands = { open: readLine(lines, "open"), close: readLine(lines, "close") };
  const list = lines.optional("list", (key) => readLine(lines, key, []));
  const entry = lines.optional("entry", (key) => readEntry(lines, key));
  if (list && entry !== undefined) return { ...commands, list: { line: list, entry } };
  if (list) {
    throw mismatch(lines.path("entry"), "a line as list prints it for one opening", undefined);
  }
  if (entry !== undefined) {
    throw mismatch(lines.path("list"), "a program that prints such lines", undefined);
  }
  return commands;
}

function readLine(
  lines: Section,
  key: string,
  placeholders: readonly string[] = PLACEHOLDERS,
): string[] {
  const expected =
    `a list of a program and its arguments, such as ["ufw", "allow", "from", "{address}"]`;
  const line = listOf(lines.raw(key), lines.path(key)).map(([argument, path]) => {
    if (typeof argument !== "string" && typeof argument !== "number") {
      throw mismatch(path, "text", argument);
    }
    return readTemplate(String(argument), path, placeholders);
  });
  if (line.length === 0) throw mismatch(lines.path(key), expected, undefined);
  if (/[{}]/.test(line[0]!) || line[0] === "") {
    throw mismatch(`${lines.path(key)}[0]`, "the name of a program", line[0]);
  }
  return line;
}

function readEntry(lines: Section, key: string): string {
  const path = lines.path(key);
  const value = lines.raw(key);
  if (typeof value !== "string") throw mismatch(path, "text", value);
  const text = readTemplate(value, path, PLACEHOLDERS.filter((name) => name !== "timeout_s"));
  const has = (name: string) => text.includes(`{${name}}`);
  if (
    !has("address") || !has("protocol") || !(has("ports") || (has("port") && has("end_port")))
  ) {
    throw mismatch(
      path,
      "{address}, {protocol} and {ports} (or {port} and {end_port}) in it",
      value,
    );
  }
  if (!text.replaceAll(/\{[a-z_]+\}/g, "").includes(MARKER)) {
    throw mismatch(
      path,
      `the word "${MARKER}" in it, such as in a comment: it says which rules are openme's to close`,
      value,
    );
  }
  return text;
}

function readTemplate(text: string, path: string, placeholders: readonly string[]): string {
  if (text.includes("\0")) throw mismatch(path, "text without a NUL", text);
  for (const [, name] of text.matchAll(/\{([^{}]*)\}/g)) {
    if (placeholders.includes(name!)) continue;
    const known = placeholders.map((each) => `{${each}}`).join(" or ");
    throw mismatch(path, known || "no placeholder", `{${name}}`);
  }
  return text;
}
