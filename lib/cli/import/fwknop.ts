/**
 * fwknop's access.conf: one client for each stanza (man fwknopd, "ACCESS.CONF VARIABLES"). Pure: text in, clients out.
 */

import { formatPortSpec, parsePortSpec } from "../../values/ports.ts";
import { type Foreign, type ForeignClient, type LeftOut, nameFor } from "./foreign.ts";

interface Setting {
  readonly line: number;
  readonly key: string;
  readonly value: string;
}

/** Settings that need no counterpart, or have one for all clients. */
const SETTLED: ReadonlySet<string> = new Set([
  "SOURCE",
  "OPEN_PORTS",
  "ACCESS_EXPIRE",
  "ACCESS_EXPIRE_EPOCH",
  "REQUIRE_SOURCE_ADDRESS",
  "DATA_COLLECT_MODE",
]);

/** Why a setting has no counterpart. */
const WHY: Readonly<Record<string, string>> = {
  KEY: "openme's clients have a new key each",
  KEY_BASE64: "openme's clients have a new key each",
  HMAC_KEY: "openme's clients have a new key each",
  HMAC_KEY_BASE64: "openme's clients have a new key each",
  HMAC_DIGEST_TYPE: "openme has one method, which is signed",
  ENCRYPTION_MODE: "openme has one method, which is signed",
  FW_ACCESS_TIMEOUT: "server.knock_timeout holds for every client",
  MAX_FW_TIMEOUT: "server.knock_timeout holds for every client",
  RESTRICT_PORTS: "a client of openme has what its allowed_ports list, and nothing else",
  REQUIRE_USERNAME: "a knock of openme has no name in it: its signature tells who knocks",
  ENABLE_CMD_EXEC: "openme runs no command for a client",
  CMD_EXEC_USER: "openme runs no command for a client",
  CMD_CYCLE_OPEN: "openme runs no command for a client",
  CMD_CYCLE_CLOSE: "openme runs no command for a client",
  CMD_CYCLE_TIMER: "openme runs no command for a client",
  FORCE_NAT: "openme opens ports of its own host; it forwards nothing",
  ENABLE_FORWARD_ACCESS: "openme opens ports of its own host; it forwards nothing",
};

/** Reads an access.conf. What is not understood is listed, never guessed. */
export function readFwknop(text: string): Foreign {
  const clients: ForeignClient[] = [];
  const leftOut: LeftOut[] = [];
  const names = new Set<string>();
  for (const stanza of stanzasOf(text, leftOut)) {
    const valueOf = (key: string) => stanza.find((each) => each.key === key);
    const ports = valueOf("OPEN_PORTS");
    const line = stanza[0]!.line;
    for (const setting of stanza) leaveOut(setting, leftOut);
    const specs = ports ? specsOf(ports, leftOut) : [];
    if (specs.length === 0) {
      const why = ports
        ? "it has no port that openme can open"
        : "without OPEN_PORTS the client would choose its ports";
      leftOut.push({ line, what: "the whole stanza", why: `${why}: openme add NAME --ports …` });
      continue;
    }
    const expires = valueOf("ACCESS_EXPIRE") ?? valueOf("ACCESS_EXPIRE_EPOCH");
    const expiresAtMs = expires && expiryOf(expires);
    if (expires && expiresAtMs === undefined) {
      // An end that cannot be read must not become a client without an end.
      leftOut.push({
        line,
        what: "the whole stanza",
        why:
          `its ${expires.key} in line ${expires.line} is no date: openme add NAME --expires WHEN`,
      });
      continue;
    }
    const name = nameFor(valueOf("REQUIRE_USERNAME")?.value ?? "", "fwknop", names);
    names.add(name);
    clients.push({ name, specs, expiresAtMs });
  }
  return { clients, leftOut };
}

function stanzasOf(text: string, leftOut: LeftOut[]): Setting[][] {
  const stanzas: Setting[][] = [];
  for (const [i, raw] of text.split(/\r?\n/).entries()) {
    const trimmed = raw.trim();
    if (trimmed === "" || /^[#;]/.test(trimmed)) continue;
    const [, key, value] = /^(%?[A-Za-z_0-9]+)[:\s]+(.*?);?$/.exec(trimmed) ??
      /^(ACCESS_EXPIRE(?:_EPOCH)?)()$/.exec(trimmed) ?? []; // an end without a value cannot be read
    const line = i + 1;
    if (key === undefined || value === undefined) {
      leftOut.push({ line, what: "a line", why: "it is not a name and a value" });
    } else if (key === "SOURCE") stanzas.push([{ line, key, value: value.trim() }]);
    else if (key.startsWith("%")) {
      leftOut.push({ line, what: key, why: "import the file that it names as well" });
    } else if (stanzas.length === 0) leaveOut({ line, key, value }, leftOut);
    else stanzas.at(-1)!.push({ line, key, value: value.trim() });
  }
  return stanzas;
}

function leaveOut({ line, key, value }: Setting, leftOut: LeftOut[]): void {
  if (key === "SOURCE" && value !== "ANY") {
    leftOut.push({ line, what: key, why: "a client of openme may knock from anywhere" });
  } else if (!SETTLED.has(key)) {
    leftOut.push({ line, what: key, why: WHY[key] ?? "openme has nothing like it" });
  }
}

/** `tcp/22, udp/53` as openme writes ports. */
function specsOf({ line, value }: Setting, leftOut: LeftOut[]): string[] {
  return value.split(",").map((item) => item.trim()).filter(Boolean).flatMap((item) => {
    const [, protocol, port] = /^(tcp|udp)\/(\d+)$/i.exec(item) ?? [];
    const spec = parsePortSpec(`${port}/${protocol?.toLowerCase()}`);
    if (spec) return [formatPortSpec(spec)];
    leftOut.push({ line, what: `OPEN_PORTS ${item}`, why: "openme opens TCP and UDP ports" });
    return [];
  });
}

/**
 * ms since 1970 of `12/31/2027` or of seconds since 1970; `undefined` for anything else. A date of fwknop ends with its
 * day; here it ends at its first moment, as dates of openme do.
 */
function expiryOf({ key, value }: Setting): number | undefined {
  if (key === "ACCESS_EXPIRE_EPOCH") {
    return /^\d{1,11}$/.test(value) ? Number(value) * 1000 : undefined;
  }
  const [, month, day, year] = /^(\d{1,2})\/(\d{1,2})\/(\d{4})$/.exec(value) ?? [];
  const date = new Date(Date.UTC(Number(year), Number(month) - 1, Number(day)));
  return date.getUTCMonth() === Number(month) - 1 ? date.getTime() : undefined;
}
