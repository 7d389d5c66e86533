/** Configuration files with fixed keys: a server and its client, and profiles. */

import { concatBytes, encodeBase64, hexToBytes } from "../../lib/crypto/keys.ts";
import { publicKeyOf } from "../../lib/crypto/sync.ts";
import { ALICE, filled, SERVER_PRIVATE_KEY, SERVER_PUBLIC_KEY } from "./knocks.ts";

export const SERVER_PRIVATE = encodeBase64(SERVER_PRIVATE_KEY);
export const SERVER_PUBLIC = encodeBase64(SERVER_PUBLIC_KEY);
export const ALICE_PUBLIC = encodeBase64(hexToBytes(ALICE.key));
/** Seed and public key in one, as deployed files have it. */
export const ALICE_PRIVATE = encodeBase64(concatBytes(ALICE.seed, hexToBytes(ALICE.key)));

/** What no line of stderr may repeat: the server's key, and the part of the client's that is its seed. */
export const SECRETS = [SERVER_PRIVATE, ALICE_PRIVATE.slice(0, 40)];

/** Another client's public key. */
export const OTHER_PUBLIC = encodeBase64(publicKeyOf("Ed25519", filled(0x0b)));

/** A server with one client; `server` are more lines of that section. */
export function serverYaml(
  { server = [], rest }: { server?: string[]; rest?: string } = {},
): string {
  return [
    "server:",
    "  host: box.example",
    `  private_key: ${SERVER_PRIVATE}`,
    ...server.map((line) => `  ${line}`),
    rest ?? [
      "ports:",
      "  ssh: [22/tcp]",
      "clients:",
      "  alice:",
      `    ed25519_pubkey: ${ALICE_PUBLIC}`,
      "    allowed_ports: [ssh]",
    ].join("\n"),
    "",
  ].join("\n");
}

/** What a profile says, unless a test wants it otherwise. */
export interface ProfileKeys {
  readonly host?: string;
  readonly port?: number;
  readonly postKnock?: string;
}

/** Profiles by name, all with alice's key. */
export function profilesYaml(profiles: Readonly<Record<string, ProfileKeys>>): string {
  return "profiles:\n" +
    Object.entries(profiles).map(([name, { host = "127.0.0.1", port = 9, postKnock }]) =>
      [
        `  ${name}:`,
        `    server_host: ${JSON.stringify(host)}`,
        `    server_udp_port: ${port}`,
        `    server_pubkey: ${SERVER_PUBLIC}`,
        `    private_key: ${ALICE_PRIVATE}`,
        ...(postKnock === undefined ? [] : [`    post_knock: ${JSON.stringify(postKnock)}`]),
        "",
      ].join("\n")
    ).join("");
}
