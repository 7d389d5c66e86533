/** From which of this machine's addresses to send: what `bind` names. Loaded only where something is bound. */

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

/** An address, with the name of the interface that has it. */
interface Held {
  readonly name: string;
  readonly address: Address;
}

/**
 * The address that `bind` is, or those of the interface that it names; of one family where one is given. Throws
 * `OpenmeError`, code `SOCKET`, where this machine has none.
 */
export function localAddressesOf(bind: string, family: 4 | 6 | undefined): Address[] {
  const held = heldAddresses();
  const literal = parseZonedAddress(bind) ?? parseAddress(bind);
  const found = literal
    ? [asHeld(literal, held)]
    : held.filter(({ name }) => name === bind).map(({ address }) => address);
  if (found.length === 0) {
    throw notHere(`this machine has no interface ${quote(bind)} with an address`, held);
  }
  const fitting = found.filter((address) => family === undefined || address.family === family);
  if (fitting.length === 0) {
    throw new OpenmeError("SOCKET", `${bind}, to which openme is bound, has no IPv${family}`, {
      hint: `leave out -${family}, or bind to another address or interface`,
    });
  }
  return fitting;
}

/** An address as this machine has it: a link-local one with its zone. Throws where it has none such. */
function asHeld(address: Address, held: readonly Held[]): Address {
  const own = held.find((each) =>
    sameAddress(each.address, address) &&
    (address.zone === undefined || address.zone === each.address.zone)
  );
  const found = own?.address ?? address;
  // Not all that can be bound is listed: every address of 127.0.0.0/8, or of a network that is routed to here.
  if (own || (!isUnspecified(address) && !isMulticast(address) && canBind(address))) return found;
  throw notHere(`${formatAddress(address)} is no address of this machine`, held);
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

function heldAddresses(): Held[] {
  return Deno.networkInterfaces().flatMap(({ name, address: text, scopeid }) => {
    const address = parseAddress(text.replace(/%.*$/, ""));
    if (!address) return [];
    const zone = Deno.build.os === "windows" ? String(scopeid) : name;
    return [{ name, address: isLinkLocal(address) ? { ...address, zone } : address }];
  });
}

function notHere(message: string, held: readonly Held[]): OpenmeError {
  const names = [...new Set(held.map(({ name }) => name))];
  const each = names.map((name) => {
    const texts = held.filter((one) => one.name === name).map(({ address }) =>
      formatAddress(address)
    );
    return `${name} (${texts.join(", ")})`;
  });
  return new OpenmeError("SOCKET", message, { hint: `there is ${each.join(", ") || "none"}` });
}
