/**
 * knockd's knockd.conf: one client for each door that opens a port (man knockd). Only its command says which port; it
 * may be one of iptables, ip6tables, nft, ufw and firewall-cmd. Pure: text in, clients out.
 */

import { formatPortSpec, parsePortSpec } from "../../values/ports.ts";
import { type Foreign, type ForeignClient, type LeftOut, nameFor } from "./foreign.ts";

interface Door {
  readonly line: number;
  readonly name: string;
  readonly settings: Map<string, { readonly line: number; readonly value: string }>;
}

/** Why a setting has no counterpart. */
const WHY: Readonly<Record<string, string>> = {
  sequence: "a knock of openme is one signed datagram",
  "seq_timeout": "a knock of openme is one signed datagram",
  "tcpflags": "a knock of openme is one signed datagram",
  "one_time_sequences": "every knock of openme is good once",
  "stop_command": "the kernel closes a port by itself",
  "cmd_timeout": "server.knock_timeout holds for every client",
  "target": "openme opens ports of its own host",
  "command_6": "openme opens for IPv4 and IPv6 alike",
  "start_command_6": "openme opens for IPv4 and IPv6 alike",
  "stop_command_6": "openme opens for IPv4 and IPv6 alike",
};

/** Reads a knockd.conf. What is not understood is listed, never guessed. */
export function readKnockd(text: string): Foreign {
  const clients: ForeignClient[] = [];
  const leftOut: LeftOut[] = [];
  const names = new Set<string>();
  for (const door of doorsOf(text, leftOut)) {
    const command = door.settings.get("start_command") ?? door.settings.get("command");
    if (command && closes(command.value)) {
      leftOut.push({
        line: door.line,
        what: `[${door.name}]`,
        why: "the kernel closes a port by itself",
      });
      continue;
    }
    const parts = command ? command.value.split(/[;|&]+/).filter(namesPorts) : [];
    if (parts.some((part) => !accepts(part))) {
      leftOut.push({
        line: door.line,
        what: `[${door.name}]`,
        why: "openme only opens ports of its own host, and this command does something else",
      });
      continue;
    }
    const specs = [...new Set(parts.flatMap(specsOf))];
    if (specs.length === 0) {
      const why = command ? "its command does not say which port it opens" : "it has no command";
      leftOut.push({
        line: door.line,
        what: `[${door.name}]`,
        why: `${why}: openme add NAME --ports …`,
      });
      continue;
    }
    for (const [key, { line }] of door.settings) {
      if (key === "command" || key === "start_command") continue;
      leftOut.push({ line, what: key, why: WHY[key] ?? "openme has nothing like it" });
    }
    const name = nameFor(door.name, "knockd", names);
    names.add(name);
    clients.push({ name, specs, expiresAtMs: undefined });
  }
  return { clients, leftOut };
}

function doorsOf(text: string, leftOut: LeftOut[]): Door[] {
  const doors: Door[] = [];
  let inOptions = false;
  for (const [i, raw] of text.split(/\r?\n/).entries()) {
    const line = i + 1;
    const trimmed = raw.trim();
    if (trimmed === "" || trimmed.startsWith("#")) continue;
    const section = /^\[(.*)\]$/.exec(trimmed)?.[1];
    if (section !== undefined) {
      inOptions = section.toLowerCase() === "options";
      if (!inOptions) doors.push({ line, name: section.trim(), settings: new Map() });
      continue;
    }
    const [, key, value = ""] = /^([^=\s]+)\s*(?:=\s*(.*))?$/.exec(trimmed) ?? [];
    const door = doors.at(-1);
    if (inOptions || !door || key === undefined) {
      const why = inOptions ? "an option of knockd's own" : "it is not a name and a value";
      leftOut.push({ line, what: key ?? "a line", why });
    } else door.settings.set(key.toLowerCase(), { line, value });
  }
  return doors;
}

/** Whether a command takes a rule out. */
function closes(command: string): boolean {
  return /\s(-D|--delete)\s|\bnft\s+delete\b|\bufw\s+delete\b|--remove-(rich-rule|port)/.test(
    command,
  );
}

/** Whether this part of a command is a firewall's and names ports. */
function namesPorts(command: string): boolean {
  return /\b(?:ip6?tables|nft|ufw|firewall-cmd)\b/.test(command) &&
    /--d(?:estination-)?ports?\b|\bdport\b|\bport\b|--add-port\b/.test(command);
}

/**
 * Whether a command plainly lets packets in. One that drops packets, excludes some, or is about outgoing or forwarded
 * packets names ports too, and must not open them.
 */
function accepts(command: string): boolean {
  if (/!|\b(?:not|invert|drop|reject|deny|limit)\b/i.test(command)) return false;
  if (/\bip6?tables\b/.test(command)) {
    const table = /\s(?:-t|--table)[\s=]+(\S+)/.exec(command)?.[1] ?? "filter";
    const chain = /\s(?:-[AI]|--append|--insert)[\s=]+(\S+)/.exec(command)?.[1];
    return table === "filter" && chain !== undefined && !/^(?:OUTPUT|FORWARD)$/.test(chain) &&
      /\s(?:-j|--jump)[\s=]+ACCEPT(?:\s|$)/.test(command);
  }
  if (/\bnft\b/.test(command)) {
    return /\badd\s+rule\b|\binsert\s+rule\b/.test(command) &&
      !/\b(?:output|forward|postrouting)\b/i.test(command) && /\baccept\b/.test(command);
  }
  if (/\bufw\b/.test(command)) {
    return /\bufw\s+(?:--\S+\s+)*(?:insert\s+\d+\s+|prepend\s+)?allow\s+(?!out\b)/.test(command);
  }
  return /\bfirewall-cmd\b/.test(command) && !/\b(?:source|forward)-port\b/.test(command) &&
    /--add-port=|--add-rich-rule.*\baccept\b/.test(command);
}

/** The ports that a command opens, as openme writes them; none where the command is not understood. */
function specsOf(command: string): string[] {
  const protocol = /(?:-p|--protocol|\bproto)[\s=]+(tcp|udp)\b/.exec(command)?.[1];
  return [
    ...listed(/--d(?:estination-)?ports?[\s=]+([\d:,-]+)/.exec(command)?.[1], protocol),
    ...[...command.matchAll(/\b(tcp|udp)\s+dport\s+(?:\{\s*([\d\s,-]+)\}|([\d-]+))/g)]
      .flatMap(([, nft, many, one]) => listed(many ?? one, nft)),
    // ufw: behind "from" it is the sender's port.
    ...[...command.matchAll(/\bto\s+\S+\s+port\s+([\d:,]+)/g)]
      .flatMap(([, ports]) => listed(ports, protocol)),
    ...[...command.matchAll(/\bport\s+port="?([\d-]+)"?\s+protocol="?(tcp|udp)/g)]
      .flatMap(([, port, firewalld]) => listed(port, firewalld)),
    ...[...command.matchAll(/--add-port=(\d+(?:-\d+)?)\/(tcp|udp)/g)]
      .flatMap(([, port, firewalld]) => listed(port, firewalld)),
  ];
}

function listed(ports: string | undefined, protocol: string | undefined): string[] {
  return (ports ?? "").split(",").map((port) => port.trim().replace(":", "-")).flatMap((port) => {
    const spec = parsePortSpec(protocol ? `${port}/${protocol}` : port);
    return spec ? [formatPortSpec(spec)] : [];
  });
}
