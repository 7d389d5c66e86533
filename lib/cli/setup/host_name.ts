/** The name or address by which clients most likely reach this server. */

import { readHost } from "../../config/host.ts";
import { formatAddress, parseAddress } from "../../values/address.ts";
import type { RunProgram } from "../../system/run_program.ts";

const DEADLINE_MS = 5000;

/** What this host knows of its names. */
export interface HostNames {
  /** `hostname -f`. */
  readonly fullName: string;
  /** The addresses that this name has. */
  readonly addresses: readonly string[];
  /** The address of this host to which the ssh session came. */
  readonly session: string | undefined;
}

/** Looks at this host; a name server may be asked. */
export async function findHostNames(
  session: string | undefined,
  run: RunProgram,
): Promise<HostNames> {
  const output = (program: string, ...args: string[]) =>
    run({ program, args, timeoutMs: DEADLINE_MS }).catch(() => "");
  const fullName = (await output("hostname", "-f")).trim();
  const known = /^[\w.-]+$/.test(fullName) ? await output("getent", "ahosts", fullName) : "";
  const addresses = known.split("\n").flatMap((line) => {
    const address = parseAddress(line.split(/\s/)[0]!);
    return address ? [formatAddress(address)] : [];
  });
  return { fullName, addresses: [...new Set(addresses)], session };
}

/**
 * The full name, where it leads to the address of the ssh session, or to any other machine's eyes here; else that
 * address. Behind NAT the session's address is a private one, and a name is the better guess.
 */
export function guessHost({ fullName, addresses, session }: HostNames): string | undefined {
  const name = isPublicName(fullName) ? readHost(fullName) : undefined;
  const isOwn = session !== undefined && addresses.includes(session);
  if (name !== undefined && (isOwn || (session === undefined || isPrivate(session)))) return name;
  return session ?? name;
}

/** Has a dot, and is none of those that only a local network knows. */
function isPublicName(name: string): boolean {
  return /^[^.]+\.[^.].*$/.test(name) &&
    !/\.(local|localdomain|localhost|internal|lan|home\.arpa)$/i.test(name);
}

function isPrivate(address: string): boolean {
  return /^(10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.|169\.254\.|f[cd]|fe[89ab])/
    .test(address);
}
