/** Names and addresses of hosts as people write them, and as they are dialled. */

import { parseAddress, parseZonedAddress } from "../values/address.ts";

const ASCII_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$/;

/**
 * The name or address to dial: an internationalised name becomes ASCII (RFC 5891), an IPv6 address loses its brackets.
 * With `zone` a link-local address may have one, such as `fe80::1%eth0`. `undefined` for anything else, and for a name
 * with a port.
 */
export function readHost(
  text: string,
  { zone = false }: { zone?: boolean } = {},
): string | undefined {
  const host = /^\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]$/.exec(text)?.[1] ?? text;
  if (ASCII_NAME.test(host) || parseAddress(host)) return host;
  if (zone && parseZonedAddress(host)) return host;
  return toAsciiName(text);
}

/** `URL` makes the name ASCII; it is given a name and nothing else. */
function toAsciiName(text: string): string | undefined {
  if (!/^[\p{L}\p{M}\p{N}.\u3002_-]{1,253}$/u.test(text) || !/\P{ASCII}/u.test(text)) {
    return undefined;
  }
  try {
    const name = new URL(`http://${text}/`).hostname;
    return ASCII_NAME.test(name) ? name : undefined;
  } catch {
    return undefined;
  }
}
