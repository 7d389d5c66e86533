/**
 * Lets V8 compile what judges a knock before the first one comes, which would take twice as long as later ones. Knocks to
 * this server by a client that nobody knows, judged by rules of their own: nothing of them reaches the state or the log.
 */

import { parseAddress } from "../../values/address.ts";
import { freshKnock } from "../../client/knock.ts";
import { bytesToHex, keyPairOf } from "../../crypto/keys.ts";
import type { ServerConfig } from "../../config/server.ts";
import { keyAgreement, knockTags, signatureVerifier } from "../../crypto/sync.ts";
import { judge } from "../../gate.ts";
import { bearsTag } from "../../packet.ts";
import { ReplayMemory } from "../../replay.ts";
import { Signers } from "../../receive/candidates.ts";

const KNOCKS = 200;
/** In between there is time for everything else. */
const APART_MS = 5;
/** For documentation (RFC 5737). */
const SOURCE = parseAddress("192.0.2.1")!;

/** Resolves when it is done, a second or two later, or when `signal` aborts. */
export async function warmUp(
  { privateKey, publicKey }: Pick<ServerConfig, "privateKey" | "publicKey">,
  signal: AbortSignal,
): Promise<void> {
  const clientSeed = crypto.getRandomValues(new Uint8Array(32));
  const client = await keyPairOf("Ed25519", clientSeed);
  const profile = { serverPublicKey: publicKey, clientSeed, clientPublicKey: client.publicKey };
  const tags = knockTags(publicKey);
  const rules = {
    agree: keyAgreement(privateKey),
    previousAgree: undefined,
    signers: new Signers([{
      name: "nobody",
      key: bytesToHex(client.publicKey),
      verify: signatureVerifier(client.publicKey),
      expiresNs: undefined,
    }]),
    replayWindowNs: 60_000_000_000n,
    replay: new ReplayMemory(),
    hasRoom: () => true,
  };
  for (let i = 0; i < KNOCKS && !signal.aborted; i++) {
    const datagram = await freshKnock(profile, undefined);
    if (bearsTag(datagram, tags)) judge(datagram, SOURCE, BigInt(Date.now()) * 1_000_000n, rules);
    await new Promise((resolve) => setTimeout(resolve, APART_MS));
  }
}
