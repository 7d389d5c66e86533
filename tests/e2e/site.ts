/**
 * One server with its clients, as files in a folder of its own: keys are made here and the YAML is written out, so that
 * a test says in one place what it needs. Sealed knocks come from here too, for tests that send the same bytes again.
 */

import assert from "node:assert/strict";
import { parseAddress } from "../../lib/values/address.ts";
import {
  type Bytes,
  encodeBase64,
  type KeyPair,
  keyPairOf,
  knockNonce,
} from "../../lib/crypto/keys.ts";
import { hintedNonce, sealKnock } from "../../lib/packet.ts";
import { KNOCK_PORT } from "./e2e.ts";
import { IPV4, type Lab, type Output, type Side } from "./lab.ts";
import { knock, openme, serve, type Served, startServe } from "./openme.ts";

/** In how many processes servers run whose tests say nothing of it: `auto`, unless OPENME_TEST_SEPARATE says `off`. */
export const SEPARATE = Deno.env.get("OPENME_TEST_SEPARATE") ?? "auto";

/** The lines of the server's configuration that tests change. */
export interface SiteOptions {
  /** Ports, or groups, by client. Keys are made for each name that appears for the first time. */
  readonly clients: Readonly<Record<string, readonly string[]>>;
  /** @default {true} */
  readonly dropPorts?: boolean;
  /** @default {"2s"} */
  readonly knockTimeout?: string;
  /** Where it runs. @default {"server"} */
  readonly side?: Side;
  /** @default {"nft"} */
  readonly firewall?: string;
  /** Port groups: guarded, whoever may have them. */
  readonly ports?: Readonly<Record<string, readonly string[]>>;
  /** More lines for the `server` section, such as `interface: eth0`. */
  readonly server?: readonly string[];
  /** More variables for `serve`, such as a `PATH`. */
  readonly env?: Readonly<Record<string, string>>;
  /** More lines for clients, such as `expires: "2020-01-01"`. */
  readonly clientLines?: Readonly<Record<string, readonly string[]>>;
}

/** What a knock says, where it is not what `openme knock` would say. */
export interface KnockContents {
  readonly target?: string;
  readonly timestampNs?: bigint;
  /** With stamp, tag and hint, as openme's own client seals; otherwise as other programs do. */
  readonly stamped?: boolean;
  /** Of an authenticator app. */
  readonly code?: number;
}

/** A server's folder. Disposing of it ends what it serves, empties the ruleset and deletes the folder. */
export class Site implements AsyncDisposable {
  readonly dir: string;
  readonly #lab: Lab;
  readonly #server: KeyPair;
  readonly #clients = new Map<string, KeyPair>();
  readonly #served: Served[] = [];
  #options: SiteOptions;

  private constructor(lab: Lab, dir: string, server: KeyPair, options: SiteOptions) {
    this.dir = dir;
    this.#lab = lab;
    this.#server = server;
    this.#options = options;
  }

  static async create(lab: Lab, options: SiteOptions): Promise<Site> {
    const dir = await Deno.makeTempDir({ prefix: "openme-e2e-" });
    const site = new Site(lab, dir, await newKeyPair("X25519"), options);
    await site.configure({});
    return site;
  }

  /** Another server with the same keys and clients. */
  async sibling(changes: Partial<SiteOptions>): Promise<Site> {
    const dir = await Deno.makeTempDir({ prefix: "openme-e2e-" });
    const site = new Site(this.#lab, dir, this.#server, this.#options);
    for (const [name, keys] of this.#clients) site.#clients.set(name, keys);
    await site.configure(changes);
    return site;
  }

  get #side(): Side {
    return this.#options.side ?? "server";
  }

  get config(): string {
    return `${this.dir}/server.yaml`;
  }

  get stateDir(): string {
    return `${this.dir}/state`;
  }

  /** Writes the configuration anew with these changes. */
  async configure(changes: Partial<SiteOptions>): Promise<void> {
    this.#options = { ...this.#options, ...changes };
    for (const name of Object.keys(this.#options.clients)) {
      if (this.#clients.has(name)) continue;
      this.#clients.set(name, await newKeyPair("Ed25519"));
      await this.clientConfig(name, IPV4.server);
    }
    await Deno.writeTextFile(this.config, this.#serverYaml(), { mode: 0o600 });
  }

  /** Writes a client's configuration for a server at `host`, and returns its path. */
  async clientConfig(name: string, host: string): Promise<string> {
    const { privateKey, publicKey } = this.#keysOf(name);
    const path = `${this.dir}/${name}.yaml`;
    await Deno.writeTextFile(
      path,
      `profiles:
  default:
    server_host: "${host}"
    server_udp_port: ${KNOCK_PORT}
    server_pubkey: ${encodeBase64(this.#server.publicKey)}
    private_key: ${encodeBase64(Uint8Array.of(...privateKey, ...publicKey))}
    public_key: ${encodeBase64(publicKey)}
`,
      { mode: 0o600 },
    );
    return path;
  }

  /** Starts `openme serve`; resolves once it takes knocks. */
  async serve(args: readonly string[] = []): Promise<Served> {
    const served = await serve(this.#lab, this.config, args, this.#commandOptions());
    this.#served.push(served);
    return served;
  }

  /** Starts `openme serve` where it is not to come far. */
  startServe(args: readonly string[] = []): Served {
    const served = startServe(this.#lab, this.config, args, this.#commandOptions());
    this.#served.push(served);
    return served;
  }

  /** Runs `openme knock` for a client, from any side. Rejects where it fails. */
  async knock(name: string, args: readonly string[] = [], side: Side = "client"): Promise<void> {
    const { code, stderr } = await this.tryKnock(name, args, side);
    assert.equal(code, 0, stderr);
  }

  /** Runs `openme knock` for a client, whatever comes of it. */
  tryKnock(name: string, args: readonly string[] = [], side: Side = "client"): Promise<Output> {
    return knock(this.#lab, side, `${this.dir}/${name}.yaml`, args);
  }

  /** What sealing for this server takes, in a client's hands: for tests that seal by themselves. */
  keysOf(name: string): { serverPublicKey: Bytes; clientSeed: Bytes } {
    return {
      serverPublicKey: this.#server.publicKey,
      clientSeed: this.#keysOf(name).privateKey,
    };
  }

  /** The bytes of a fresh knock by a client. */
  seal(name: string, contents: KnockContents = {}): Promise<Uint8Array> {
    return this.#seal(this.#keysOf(name), contents);
  }

  /** The bytes of a knock that is right in everything, but signed by a key that the server does not know. */
  async sealAsStranger(): Promise<Uint8Array> {
    return await this.#seal(await newKeyPair("Ed25519"), {});
  }

  /** What `openme sessions --json` prints. */
  async sessions(): Promise<Record<string, unknown>> {
    const command = ["sessions", "--json", "--config", this.config];
    const { code, stdout, stderr } = await openme(this.#lab, this.#side, command);
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout) as Record<string, unknown>;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#served.map((served) => served[Symbol.asyncDispose]()));
    await this.#lab.run(this.#side, ["nft", "flush", "ruleset"]);
    await Deno.remove(this.dir, { recursive: true });
  }

  #commandOptions(): Deno.CommandOptions & { side: Side } {
    const { env } = this.#options;
    return { side: this.#side, ...env ? { env: { ...env } } : {} };
  }

  #keysOf(name: string): KeyPair {
    const keys = this.#clients.get(name);
    if (!keys) throw new Error(`no client "${name}"`);
    return keys;
  }

  async #seal(client: KeyPair, contents: KnockContents): Promise<Uint8Array> {
    const { target, stamped, code, timestampNs = BigInt(Date.now()) * 1_000_000n } = contents;
    const randomNonce = crypto.getRandomValues(new Uint8Array(16));
    if (code !== undefined) new DataView(randomNonce.buffer).setUint32(8, code);
    const ephemeral = await newKeyPair("X25519");
    return await sealKnock({
      timestampNs,
      randomNonce: stamped
        ? await hintedNonce(randomNonce.slice(0, 12), client.publicKey)
        : randomNonce,
      target: target === undefined ? undefined : parseAddress(target),
    }, {
      serverPublicKey: this.#server.publicKey,
      clientSeed: client.privateKey,
      ephemeral,
      aeadNonce: stamped
        ? await knockNonce(this.#server.publicKey, ephemeral.publicKey, Number(timestampNs) / 1e9)
        : crypto.getRandomValues(new Uint8Array(12)),
    });
  }

  #serverYaml(): string {
    const { clients, ports = {}, server = [], clientLines = {} } = this.#options;
    const { dropPorts = true, knockTimeout = "2s", firewall = "nft" } = this.#options;
    const lines = [
      "server:",
      `  host: ${IPV4[this.#side]}`,
      `  udp_port: ${KNOCK_PORT}`,
      `  firewall: ${firewall}`,
      `  knock_timeout: ${knockTimeout}`,
      `  drop_ports: ${dropPorts}`,
      `  state_dir: ${this.stateDir}`,
      `  private_key: ${encodeBase64(this.#server.privateKey)}`,
      `  public_key: ${encodeBase64(this.#server.publicKey)}`,
      ...(server.some((line) => line.startsWith("separate:")) ? [] : [`  separate: ${SEPARATE}`]),
      ...server.map((line) => `  ${line}`),
      ...(Object.keys(ports).length > 0 ? ["ports:"] : []),
      ...Object.entries(ports).map(([group, specs]) => `  ${group}: [${specs.join(", ")}]`),
      ...(Object.keys(clients).length > 0 ? ["clients:"] : []),
      ...Object.entries(clients).flatMap(([name, allowed]) => [
        `  ${name}:`,
        `    ed25519_pubkey: ${encodeBase64(this.#keysOf(name).publicKey)}`,
        `    allowed_ports: [${allowed.join(", ")}]`,
        ...(clientLines[name] ?? []).map((line) => `    ${line}`),
      ]),
    ];
    return lines.join("\n") + "\n";
  }
}

async function newKeyPair(curve: "X25519" | "Ed25519"): Promise<KeyPair> {
  return await keyPairOf(curve, crypto.getRandomValues(new Uint8Array(32)));
}
