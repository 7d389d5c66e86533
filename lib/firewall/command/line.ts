/** The lines of `firewall: command`: values put into arguments, and whether its programs are there. */

import type { CommandLines } from "../plan.ts";
import { OpenmeError } from "../../values/errors.ts";
import { formatNetwork, type Network } from "../../values/network.ts";
import { formatPortRange, type PortRange } from "../../values/ports.ts";
import { quote } from "../../values/text.ts";
import { isProgramThere } from "../../system/run_program.ts";

/** One opening that may stand. */
export interface Entry {
  readonly address: Network;
  readonly ports: PortRange;
  readonly client: string;
}

/** What makes an entry one: its address and ports. */
export function entryKey({ address, ports }: Pick<Entry, "address" | "ports">): string {
  return `${formatNetwork(address)} ${formatPortRange(ports)}`;
}

/** The arguments with the values of this opening in them. */
export function fillIn(
  line: readonly string[],
  { address, ports, client }: Entry,
  timeoutMs: number,
): string[] {
  const values: Record<string, string> = {
    address: formatNetwork(address),
    family: String(address.base.family),
    port: String(ports.first),
    "end_port": String(ports.last),
    ports: ports.first === ports.last ? `${ports.first}` : `${ports.first}:${ports.last}`,
    protocol: ports.protocol,
    client,
    "timeout_s": String(Math.max(timeoutMs > 0 ? 1 : 0, Math.floor(timeoutMs / 1000))),
  };
  return line.map((argument) =>
    argument.replaceAll(/\{([a-z_]+)\}/g, (text, name) => values[name] ?? text)
  );
}

/** Throws `FIREWALL` where one of the programs is not there: the first knock would be the first to tell. */
export function requirePrograms({ open, close, list }: CommandLines): void {
  for (const [key, line] of Object.entries({ open, close, list: list?.line })) {
    const program = line?.[0];
    if (program === undefined || isProgramThere(program)) continue;
    throw new OpenmeError(
      "FIREWALL",
      `server.command.${key}: there is no program ${quote(program, 1000)} on this host`,
      { hint: "install it, or give its whole path" },
    );
  }
}
