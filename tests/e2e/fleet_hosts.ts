/** Three hosts of a fleet in a lab, each a real `serve`: one key pair, one profile, one engine. */

import assert from "node:assert/strict";
import type { Agent } from "./agent_client.ts";
import { KNOCK_PORT } from "./e2e.ts";
import { IPV4, type Lab } from "./lab.ts";
import { openme, type Served } from "./openme.ts";
import { type KnockContents, Site } from "./site.ts";
import { opens } from "./timing.ts";
import { waitFor } from "../support/wait.ts";

export const HOSTS = ["server", "second", "third"] as const;
export type Host = typeof HOSTS[number];

/** Each client has a port of its own, so that no step has to wait until another one's grant has ended. */
const CLIENTS = Array.from({ length: 60 }, (_, i) => ({ name: `c${i}`, port: 1001 + i }));

/** Those from here on have an authenticator app, if the test asks for any. */
const FIRST_CODED = 40;

/** A client that has not knocked yet. */
export type FreshClient = typeof CLIENTS[number];

/** How the hosts reach their engine. */
export interface FleetOptions {
  readonly url: string;
  /** The lines of `server.fleet` in place of those that the rest gives. */
  readonly lines?: readonly string[];
  /** The path of the certificate that has signed the engine's. */
  readonly trust?: string;
  /** As for other servers, unless a test is about it. */
  readonly separate?: "auto";
  /** By host. @default {"alone"} */
  readonly whenDown?: Partial<Record<Host, "alone" | "refuse">>;
  /** @default {"1m"} */
  readonly knockTimeout?: string;
  /** The secret of some clients' authenticator apps. */
  readonly totp?: string;
}

/** The hosts, and who knocks. */
export class FleetHosts implements AsyncDisposable {
  readonly #lab: Lab;
  readonly sites: Readonly<Record<Host, Site>>;
  readonly served = new Map<Host, Served>();
  readonly client: Agent;
  readonly other: Agent;
  #fresh = 0;
  #freshCoded = FIRST_CODED;

  private constructor(lab: Lab, sites: Record<Host, Site>, client: Agent, other: Agent) {
    this.#lab = lab;
    this.sites = sites;
    this.client = client;
    this.other = other;
  }

  /** The hosts' files, and services behind their ports. Nothing is served yet. */
  static async create(lab: Lab, options: FleetOptions): Promise<FleetHosts> {
    const clients = Object.fromEntries(CLIENTS.map(({ name, port }) => [name, [`${port}/tcp`]]));
    const on = (side: Host) => ({ side, server: fleetLines(options, side) });
    const { knockTimeout = "1m", totp } = options;
    const clientLines = totp === undefined ? {} : Object.fromEntries(
      CLIENTS.slice(FIRST_CODED).map(({ name }) => [name, [`totp: ${totp}`]]),
    );
    const site = { clients, clientLines, knockTimeout, ...on("server") };
    const server = await Site.create(lab, site);
    const [second, third] = [await server.sibling(on("second")), await server.sibling(on("third"))];
    const { client, other, ...agents } = await lab.agents(...HOSTS, "client", "other");
    const tcp = CLIENTS.map(({ port }) => port);
    await Promise.all(HOSTS.map((host) => agents[host].listen({ tcp })));
    return new FleetHosts(lab, { server, second, third }, client, other);
  }

  /** Starts these hosts; resolves once they take knocks and have the engine, unless it is away. */
  async serve(hosts: readonly Host[] = HOSTS, { isUp = true } = {}): Promise<void> {
    await Promise.all(hosts.map(async (host) => {
      const served = await this.sites[host].serve(["--log-level", "debug"]);
      this.served.set(host, served);
      if (isUp) await served.waitForLine(/fleet_up/);
    }));
  }

  /** A client with a port that is closed to everyone. */
  fresh(): FreshClient {
    const fresh = CLIENTS[this.#fresh++];
    if (!fresh) throw new RangeError("no client is left: raise their number");
    return fresh;
  }

  /** One whose knocks need a code. */
  freshCoded(): FreshClient {
    const fresh = CLIENTS[this.#freshCoded++];
    if (!fresh) throw new RangeError("no client with a code is left");
    return fresh;
  }

  /** The bytes of a knock. */
  seal({ name }: FreshClient, contents: KnockContents = {}): Promise<Uint8Array> {
    return this.sites.server.seal(name, contents);
  }

  /** Sends a datagram to a host, by default from the client. */
  async send(datagram: Uint8Array, host: Host, from: Agent = this.client): Promise<void> {
    await from.send(datagram, IPV4[host], KNOCK_PORT);
  }

  /** Resolves once a client's port is open at these hosts. */
  async opens({ port }: FreshClient, hosts: readonly Host[] = HOSTS): Promise<void> {
    await Promise.all(hosts.map((host) => opens(this.client, IPV4[host], port)));
  }

  /** At which hosts a client's port is open to one side. */
  async openAt({ port }: FreshClient, from: Agent = this.client): Promise<Host[]> {
    const isOpen = await Promise.all(HOSTS.map((host) => from.reaches(IPV4[host], port)));
    return HOSTS.filter((_, i) => isOpen[i]);
  }

  /** The lines of a host's log. */
  lines(host: Host): readonly string[] {
    return this.served.get(host)!.lines;
  }

  /** The addresses that a host has let in for a client, one for each time. */
  letIn({ name }: FreshClient, host: Host): string[] {
    return this.lines(host).flatMap((line) =>
      / event=(granted|renewed) /.test(line) && line.includes(` client=${name} `)
        ? [/ address=(\S+)/.exec(line)![1]!]
        : []
    );
  }

  /** Waits until every host has let someone in, and asserts that this was that address, once. */
  async assertOnce(fresh: FreshClient, address: string): Promise<void> {
    for (const host of HOSTS) {
      await waitFor("the line", () => this.letIn(fresh, host).length > 0, { everyMs: 5 });
      assert.deepEqual(this.letIn(fresh, host), [address], this.lines(host).join("\n"));
    }
  }

  /** Does something, and resolves once each of these hosts has logged what matches, from before that on. */
  async logs(
    pattern: RegExp,
    cause: () => Promise<void> | void,
    { hosts = HOSTS, timeoutMs = 10_000 }: { hosts?: readonly Host[]; timeoutMs?: number } = {},
  ): Promise<string[]> {
    const from = hosts.map((host) => this.lines(host).length);
    await cause();
    return await Promise.all(
      hosts.map((host, i) => this.served.get(host)!.waitForLine(pattern, timeoutMs, from[i])),
    );
  }

  /** What `openme history` of a host says about a client. */
  async history({ name }: FreshClient, host: Host): Promise<string> {
    const args = ["history", "--client", name, "--config", this.sites[host].config];
    const { code, stdout, stderr } = await openme(this.#lab, host, args);
    assert.equal(code, 0, stderr);
    return stdout;
  }

  /** Ends what it serves. Rejects where a host complains. */
  async stop(hosts: readonly Host[] = HOSTS): Promise<void> {
    await Promise.all(hosts.map((host) => this.served.get(host)!.stop()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(HOSTS.map((host) => this.sites[host][Symbol.asyncDispose]()));
  }
}

function fleetLines(options: FleetOptions, host: Host): string[] {
  const { url, trust, whenDown = {}, lines, separate } = options;
  const first = separate ? [`separate: ${separate}`] : [];
  if (lines) return [...first, "fleet:", ...lines.map((line) => `  ${line}`), `  host: ${host}`];
  return [
    ...first,
    "fleet:",
    "  name: vps",
    `  host: ${host}`,
    `  url: ${JSON.stringify(url)}`,
    ...trust === undefined ? [] : [`  trust: ${trust}`],
    `  when_down: ${whenDown[host] ?? "alone"}`,
  ];
}
