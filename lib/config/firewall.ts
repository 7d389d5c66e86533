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
import { ConfigError, Field, missing, type Section } from "./fields.ts";

/** The placeholders in an argument, for values of the opening. */
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

/** The word in `entry` that keeps it from matching rules of other programs. */
const MARKER = "openme";

/** The bit of the packet mark for what openme lets in, unless the configuration names another. */
export const DEFAULT_MARK = 0x4000_0000;

/** Reads `firewall` and what belongs to it. */
export function readFirewall(
  server: Section,
): { firewall: FirewallName; command: CommandLines | undefined; mark: number } {
  const firewall = server.optional("firewall")?.choice(FIREWALLS) ?? "nft";
  const commandField = server.optional("command");
  const command = commandField && readCommand(commandField);
  if (firewall === "command" && !command) {
    throw missing("server.command", "a map with open and close");
  }
  return {
    firewall,
    command: firewall === "command" ? command : undefined,
    mark: server.optional("mark")?.as(`one bit of 32, such as "0x20000000"`, readMark) ??
      DEFAULT_MARK,
  };
}

/** One bit of 32, as a whole number or in hex. */
function readMark(value: unknown): number | undefined {
  const isHex = typeof value === "string" && /^0x[0-9a-f]{1,8}$/i.test(value);
  const mark = isHex ? Number(value) : value;
  const isBit = typeof mark === "number" && Number.isInteger(mark) && mark >= 1 &&
    mark <= 0x8000_0000 && (mark & (mark - 1)) === 0;
  return isBit ? mark : undefined;
}

/** Refuses what the named backend cannot do; of `auto` only the host knows. */
export function requireClosing(
  config: { firewall: FirewallName; dropPorts: boolean; closedAs: ClosedAs },
): void {
  const flaw = closingFlaw(config.firewall, config);
  if (flaw) throw new ConfigError(`server.${flaw.key}`, flaw.problem, flaw.hint);
}

function readCommand(field: Field): CommandLines {
  const lines = field.section(["open", "close", "list", "entry"]);
  const commands = { open: readLine(lines.field("open")), close: readLine(lines.field("close")) };
  const [list, entry] = [lines.optional("list"), lines.optional("entry")];
  const line = list && readLine(list, []);
  const template = entry && readEntry(entry);
  if (line && template !== undefined) return { ...commands, list: { line, entry: template } };
  if (line) throw lines.field("entry").mismatch("a line as list prints it for one opening");
  if (template !== undefined) {
    throw lines.field("list").mismatch("a program that prints such lines");
  }
  return commands;
}

function readLine(field: Field, placeholders: readonly string[] = PLACEHOLDERS): string[] {
  const line = field.items().map((argument) => {
    const { value } = argument;
    if (typeof value !== "string" && typeof value !== "number") throw argument.mismatch("text");
    return readTemplate(String(value), argument.path, placeholders);
  });
  if (line.length === 0) {
    throw missing(
      field.path,
      `a list of a program and its arguments, such as ["ufw", "allow", "from", "{address}"]`,
    );
  }
  if (/[{}]/.test(line[0]!) || line[0] === "") {
    throw new Field(line[0], `${field.path}[0]`).mismatch("the name of a program");
  }
  return line;
}

function readEntry(field: Field): string {
  if (typeof field.value !== "string") throw field.mismatch("text");
  const placeholders = PLACEHOLDERS.filter((name) => name !== "timeout_s");
  const text = readTemplate(field.value, field.path, placeholders);
  const has = (name: string) => text.includes(`{${name}}`);
  if (
    !has("address") || !has("protocol") || !(has("ports") || (has("port") && has("end_port")))
  ) {
    throw field.mismatch("{address}, {protocol} and {ports} (or {port} and {end_port}) in it");
  }
  if (!text.replaceAll(/\{[a-z_]+\}/g, "").includes(MARKER)) {
    throw field.mismatch(
      `the word "${MARKER}" in it, such as in a comment: it says which rules are openme's to close`,
    );
  }
  return text;
}

function readTemplate(text: string, path: string, placeholders: readonly string[]): string {
  if (text.includes("\0")) throw new Field(text, path).mismatch("text without a NUL");
  for (const [, name] of text.matchAll(/\{([^{}]*)\}/g)) {
    if (placeholders.includes(name!)) continue;
    const known = placeholders.map((each) => `{${each}}`).join(" or ");
    throw new Field(`{${name}}`, path).mismatch(known || "no placeholder");
  }
  return text;
}
