/** What the attack tests do to a lab: floods with good knocks in them, and faults at the firewall program. */

import { fileURLToPath } from "node:url";
import { parseAddress } from "../../lib/values/address.ts";
import { sealFresh } from "../../lib/client/knock.ts";
import { parseClientConfig, pickProfile } from "../../lib/config/profiles.ts";
import { parseKnockCounters } from "../../lib/firewall/nft/rules.ts";
import { bytesToHex } from "../../lib/crypto/keys.ts";
import { seedSigner } from "../../lib/crypto/signer.ts";
import { OFFSET_AEAD_NONCE } from "../../lib/packet.ts";
import { KNOCK_PORT } from "../e2e/e2e.ts";
import { IPV4, type Lab } from "../e2e/lab.ts";
import type { Site } from "../e2e/site.ts";
import { ONE_USER } from "../support/one_user.ts";
import type { Flood, Flooded } from "./flood.ts";

/**
 * Why some floods take too many good knocks with them here, or `undefined` where they do not: only the machine's own root
 * gets a receive buffer for more than 277 knocks, which is full in the time that another program takes.
 */
export const smallBuffer = ONE_USER
  ? "needs the receive buffer that only the machine's own root gets"
  : undefined;

/** The bytes that `openme knock` would send now for a client, with tag and hint. */
export async function taggedKnock(site: Site, name: string, target?: string): Promise<Uint8Array> {
  const path = `${site.dir}/${name}.yaml`;
  const { serverPublicKey, clientSeed, clientPublicKey } = pickProfile(
    await parseClientConfig(await Deno.readTextFile(path), path),
    undefined,
  );
  const address = target === undefined ? undefined : parseAddress(target);
  const signer = seedSigner({ privateKey: clientSeed!, publicKey: clientPublicKey! });
  return (await sealFresh({ serverPublicKey, signer }, address)).datagram;
}

/** What an observer of a client's knock learns for the next minute: its stamp, in hex. */
export async function watchedStamp(site: Site, name: string): Promise<string> {
  const knock = await taggedKnock(site, name);
  return bytesToHex(knock.subarray(OFFSET_AEAD_NONCE, OFFSET_AEAD_NONCE + 4));
}

/** Addresses to let in, one a knock, so that each good knock that was accepted can be counted. */
export const targetOf = (i: number) => `172.16.${i >> 8}.${i & 255}`;

/** Good knocks for different targets, by clients in turn: a client may hold 256 grants. */
export async function goodKnocks(
  site: Site,
  names: readonly string[],
  { count, from = 0, tagged }: { count: number; from?: number; tagged: boolean },
): Promise<string[]> {
  return await Promise.all(
    Array.from({ length: count }, async (_, i) => {
      const [name, target] = [names[i % names.length]!, targetOf(from + i)];
      return bytesToHex(
        tagged ? await taggedKnock(site, name, target) : await site.seal(name, { target }),
      );
    }),
  );
}

/** Runs a flood against the lab's server, from the client's namespace; `dir` is for what it is told. */
export async function flood(
  lab: Lab,
  { dir }: { readonly dir: string },
  flood: Omit<Flood, "target" | "port" | "goodSource"> & Partial<Flood>,
): Promise<Flooded> {
  const path = `${dir}/flood.json`;
  const whole: Flood = {
    target: IPV4.server,
    port: KNOCK_PORT,
    goodSource: IPV4.client,
    ...flood,
  };
  await Deno.writeTextFile(path, JSON.stringify(whole));
  const script = fileURLToPath(new URL("./flood.ts", import.meta.url));
  const flags = ["--quiet", "--no-config", "--no-lock", "-A"];
  const output = await lab.run("client", [Deno.execPath(), "run", ...flags, script, path]);
  return JSON.parse(output) as Flooded;
}

/** Every IPv4 address that the kernel lets in now. */
export async function letIn(lab: Lab): Promise<Set<string>> {
  const listing = await lab.run("server", ["nft", "list", "set", "inet", "openme", "granted4"]);
  return new Set(listing.match(/\d+\.\d+\.\d+\.\d+(?= \. tcp)/g) ?? []);
}

/** How many of the first so many targets are let in. */
export async function countLetIn(lab: Lab, count: number, from = 0): Promise<number> {
  const open = await letIn(lab);
  return Array.from({ length: count }, (_, i) => targetOf(from + i)).filter((each) =>
    open.has(each)
  ).length;
}

/** What the kernel has dropped at the knock port, by reason. */
export async function kernelDrops(lab: Lab): Promise<Record<string, number>> {
  return parseKnockCounters(
    await lab.run("server", ["nft", "list", "chain", "inet", "openme", "knock"]),
  );
}
