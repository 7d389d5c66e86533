/** Names and addresses of hosts as people write them, and as they are dialled. */

import { parseAddress, parseZonedAddress } from "../values/address.ts";

const ASCII_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$/;

/**
 * What is dialled for a name or an address: an internationalised name becomes ASCII (RFC 5891), an IPv6 address loses its
 * brackets. With `zone` a link-local address may have one, such as `fe80::1%eth0`. `undefined` for anything else, also
 * for what has a port.
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

/** URLs know how; nothing but the name may be left to them. */
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
