/** The local addresses that `bind` names. Loaded only where `bind` is used. */

import {
  type Address,
  formatAddress,
  isLinkLocal,
  isUnspecified,
  parseAddress,
  parseZonedAddress,
  sameAddress,
} from "../values/address.ts";
import { OpenmeError } from "../values/errors.ts";
import { quote } from "../values/text.ts";

/** An address of this machine, with the name of its interface. */
interface LocalAddress {
  readonly name: string;
  readonly address: Address;
}

/**
 * The address that `bind` is, or those of the interface that it names, of the given family if any. Throws `OpenmeError`,
 * code `SOCKET`, where this machine has none.
 */
export function localAddressesOf(bind: string, family: 4 | 6 | undefined): Address[] {
  const local = localAddresses();
  const literal = parseZonedAddress(bind) ?? parseAddress(bind);
  const found = literal
    ? [asLocal(literal, local)]
    : local.filter(({ name }) => name === bind).map(({ address }) => address);
  if (found.length === 0) {
    throw notHere(`this machine has no interface ${quote(bind)} with an address`, local);
  }
  const fitting = found.filter((address) => family === undefined || address.family === family);
  if (fitting.length === 0) {
    throw new OpenmeError("SOCKET", `${bind}, to which openme is bound, has no IPv${family}`, {
      hint: `leave out -${family}, or bind to another address or interface`,
    });
  }
  return fitting;
}

/** An address as this machine has it, a link-local one with its zone. Throws where it has no such address. */
function asLocal(address: Address, local: readonly LocalAddress[]): Address {
  const own = local.find((each) =>
    sameAddress(each.address, address) &&
    (address.zone === undefined || address.zone === each.address.zone)
  );
  const found = own?.address ?? address;
  // Some addresses can be bound without being listed: all of 127.0.0.0/8, and networks that are routed to here.
  if (own || (!isUnspecified(address) && !isMulticast(address) && canBind(address))) return found;
  throw notHere(`${formatAddress(address)} is no address of this machine`, local);
}

function isMulticast({ family, bytes }: Address): boolean {
  return family === 4 ? bytes[0]! >= 224 : bytes[0] === 0xff;
}

function canBind(address: Address): boolean {
  try {
    Deno.listenDatagram({ transport: "udp", hostname: formatAddress(address), port: 0 }).close();
    return true;
  } catch {
    return false;
  }
}

function localAddresses(): LocalAddress[] {
  return Deno.networkInterfaces().flatMap(({ name, address: text, scopeid }) => {
    const address = parseAddress(text.replace(/%.*$/, ""));
    if (!address) return [];
    const zone = Deno.build.os === "windows" ? String(scopeid) : name;
    return [{ name, address: isLinkLocal(address) ? { ...address, zone } : address }];
  });
}

function notHere(message: string, local: readonly LocalAddress[]): OpenmeError {
  const names = [...new Set(local.map(({ name }) => name))];
  const each = names.map((name) => {
    const texts = local.filter((one) => one.name === name).map(({ address }) =>
      formatAddress(address)
    );
    return `${name} (${texts.join(", ")})`;
  });
  return new OpenmeError("SOCKET", message, { hint: `there is ${each.join(", ") || "none"}` });
}
