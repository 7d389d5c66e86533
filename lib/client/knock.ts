/**
 * The client: resolves the server's name and sends one fresh knock to each of its addresses, so that a connection over
 * either family gets in. The server never answers.
 */

import {
  type Address,
  formatAddress,
  parseAddress,
  parseZonedAddress,
  sourceFor,
} from "../values/address.ts";
import type { Profile } from "../config/profiles.ts";
import { type Bytes, concatBytes, KEY_SIZE, keyPairOf, knockNonce } from "../crypto/keys.ts";
import type { Signer } from "../crypto/signer.ts";
import { messageOf, OpenmeError } from "../values/errors.ts";
import type { Log } from "../system/log.ts";
import { hintedNonce, OFFSET_CODE, OFFSET_HINT, PACKET_SIZE, sealBody } from "../packet.ts";

/** A code of an authenticator app. */
export interface Code {
  readonly digits: number;
  /** When it was given, by this process's clock. */
  readonly givenMs: number;
}

/** A profile whose key can sign. */
export interface SigningProfile extends Profile {
  readonly signer: Signer;
  readonly code?: Code | undefined;
}

/** The address to let in, and the families to knock over. */
export interface KnockOptions {
  /** The address to let in; `undefined` for the source of each datagram. */
  readonly target: Address | undefined;
  /** Only this family, where it is given. */
  readonly family: 4 | 6 | undefined;
  /** Logs each knock at debug. */
  readonly log?: Log | undefined;
}

/** The one family to use, and the addresses of this machine to send from; `undefined` for any. */
export interface Way {
  readonly family: 4 | 6 | undefined;
  readonly from: readonly Address[] | undefined;
}

/** The way of a profile, by the addresses that this machine has now. Throws `OpenmeError`, code `SOCKET`. */
export async function wayOf(
  { bind }: Pick<Profile, "bind">,
  family: 4 | 6 | undefined,
): Promise<Way> {
  if (bind === undefined) return { family, from: undefined };
  const { localAddressesOf } = await import("../system/local_address.ts");
  return { family, from: localAddressesOf(bind, family) };
}

/** Where a knock was to go, and whether it was sent. */
export interface Attempted {
  /** The host of the profile. */
  readonly host: string;
  /** `undefined` where the host has none. */
  readonly address: Address | undefined;
  /** Why it could not be sent, most often for want of a route; `undefined` where it was. */
  readonly failure: string | undefined;
}

/** The knock to one address. */
export interface Sent extends Attempted {
  readonly address: Address;
  /** The address of this machine to send from; `undefined` for any. */
  readonly from: Address | undefined;
  /** The knock's random nonce, 16 bytes, which its id is made of. Never shown. */
  readonly randomNonce: Bytes;
}

/** Knocks at `serverHost` of the profile. Throws `OpenmeError`, code `SOCKET`, where no knock could be sent. */
export async function knock(profile: SigningProfile, options: KnockOptions): Promise<Sent[]> {
  const way = await wayOf(profile, options.family);
  return await knockAt(await addressesOf(profile.serverHost, way), profile, { ...options, way });
}

/**
 * Sends a fresh knock to each of these addresses of the profile's server, all at once; returns and logs them in the order
 * of the addresses. Throws where none could be sent.
 */
export async function knockAt(
  addresses: readonly Address[],
  profile: SigningProfile,
  { target, way, log }: Pick<KnockOptions, "target" | "log"> & { readonly way: Way },
): Promise<Sent[]> {
  const { serverHost: host, serverUdpPort: port } = profile;
  const sent = await Promise.all(addresses.map(async (address) => {
    const { datagram, randomNonce } = await sealFresh(profile, target);
    const from = way.from && sourceFor(address, way.from);
    const failure = await send(datagram, { address, port, from });
    return { host, address, from, failure, randomNonce };
  }));
  for (const { address, from, failure } of sent) {
    log?.debug(failure === undefined ? "knock_sent" : "knock_not_sent", {
      address: formatAddress(address),
      port,
      bytes: PACKET_SIZE,
      from: from && formatAddress(from),
      error: failure,
    });
  }
  if (sent.every(({ failure }) => failure !== undefined)) {
    const attempts = sent.map(({ address, failure }) => `${formatAddress(address)}: ${failure}`)
      .join(", ");
    throw new OpenmeError("SOCKET", `cannot knock at ${host}: ${attempts}`, {
      hint: "is this machine online?",
    });
  }
  return sent;
}

/**
 * A knock with new keys, new nonces and the present time. The AEAD nonce is stamp and tag, and the random nonce ends with
 * the client hint (docs/protocol.md, "What openme's own client adds"), by which a server under attack tells it from junk;
 * before that is the code, if there is one.
 */
export async function sealFresh(
  { serverPublicKey, signer, code }: Pick<SigningProfile, "serverPublicKey" | "signer" | "code">,
  target: Address | undefined,
): Promise<{ readonly datagram: Bytes; readonly randomNonce: Bytes }> {
  const random = crypto.getRandomValues(new Uint8Array(OFFSET_HINT));
  if (code) new DataView(random.buffer).setUint32(OFFSET_CODE, code.digits);
  const [ephemeral, randomNonce] = await Promise.all([
    keyPairOf("X25519", crypto.getRandomValues(new Uint8Array(KEY_SIZE))),
    hintedNonce(random, signer.publicKey),
  ]);
  const nowMs = Date.now();
  const body = await sealBody(
    { timestampNs: BigInt(nowMs) * 1_000_000n, randomNonce, target },
    {
      serverPublicKey,
      ephemeral,
      aeadNonce: await knockNonce(serverPublicKey, ephemeral.publicKey, nowMs / 1000),
    },
  );
  return { datagram: concatBytes(body, await signer.sign(body)), randomNonce };
}

/** The addresses of a host that can be used; throws `OpenmeError`, code `SOCKET`, where there is none. `source`: of the name. */
export async function addressesOf(
  host: string,
  { family: only, from }: Way,
  source = "server_host in the profile",
): Promise<Address[]> {
  const found = await resolveHost(host, source);
  const ofFamily = found.filter(({ family }) => only === undefined || family === only);
  if (ofFamily.length === 0) {
    throw new OpenmeError("SOCKET", `${host} has no IPv${only} address`, {
      hint: `leave out -${only}`,
    });
  }
  const addresses = ofFamily.filter((address) => !from || sourceFor(address, from));
  if (addresses.length === 0) {
    const [theirs, ours] = [ofFamily, from ?? []].map((each) => each.map(formatAddress).join(", "));
    throw new OpenmeError("SOCKET", `${host} (${theirs}) cannot be reached from ${ours}`, {
      hint: `bind to an address or an interface that has IPv${ofFamily[0]?.family}`,
    });
  }
  return addresses;
}

/** Every address of a host, as the system resolves names; an address is itself. */
async function resolveHost(host: string, source: string): Promise<Address[]> {
  const literal = parseAddress(host) ?? parseZonedAddress(host);
  if (literal) return [literal];
  // Loaded for a name, not for an address. In Deno 2.6 it loads a module that prints a deprecation warning.
  const { default: process } = await import("node:process");
  Object.assign(process, { noDeprecation: true });
  const { lookup } = await import("node:dns/promises");
  try {
    const found = await lookup(host, { all: true });
    const texts = new Set(found.map(({ address }) => address));
    return [...texts].flatMap((text) => parseAddress(text) ?? []);
  } catch (cause) {
    throw new OpenmeError("SOCKET", `cannot resolve ${host}: ${messageOf(cause)}`, {
      hint: `check ${source}, and this machine's DNS`,
      cause,
    });
  }
}

/** Sends one datagram; returns why that failed, or `undefined`. */
async function send(
  datagram: Uint8Array,
  { address, port, from }: {
    readonly address: Address;
    readonly port: number;
    readonly from: Address | undefined;
  },
): Promise<string | undefined> {
  let socket: Deno.DatagramConn | undefined;
  try {
    socket = Deno.listenDatagram({
      transport: "udp",
      hostname: from ? formatAddress(from) : address.family === 4 ? "0.0.0.0" : "::",
      port: 0,
    });
    await socket.send(datagram, {
      transport: "udp",
      hostname: formatAddress(address),
      port,
    });
    return undefined;
  } catch (cause) {
    return messageOf(cause);
  } finally {
    socket?.close();
  }
}
