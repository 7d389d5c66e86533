/**
 * What happens to one datagram: judged, written down, handed to the firewall. One synchronous step up to the firewall,
 * so that nothing interleaves; and the one place that knows which configuration holds now.
 */

import { type Address, formatAddress } from "./address.ts";
import { type Clock, wallMsOf } from "./clock.ts";
import type { ServerConfig } from "./config/server_config.ts";
import { keyAgreement } from "./crypto_sync.ts";
import { formatDuration } from "./duration.ts";
import type { Guard } from "./firewall/guard.ts";
import {
  type DropVerdict,
  type GateClient,
  type GateRules,
  type GrantVerdict,
  judge,
} from "./gate.ts";
import { type Grant, type Grants, type Permission, resumeGrant } from "./grants.ts";
import type { Log } from "./log.ts";
import { formatPortRange } from "./ports.ts";
import type { ReplayMemory } from "./replay.ts";
import type { StateStore } from "./state/store.ts";

/** What the pipeline works on. */
export interface PipelineParts {
  readonly grants: Grants;
  readonly replay: ReplayMemory;
  readonly store: StateStore;
  readonly guard: Guard;
  readonly clock: Clock;
  readonly log: Log;
  /** Told of every grant once the firewall has it; must not throw. */
  readonly opened?: (opened: Opened) => void;
}

/** A knock that opened something. */
export interface Opened {
  readonly grant: Grant;
  readonly renewed: boolean;
  readonly source: Address;
  readonly lifetimeMs: number;
}

/** The way of every datagram, under the configuration of now. */
export class Pipeline {
  readonly #parts: PipelineParts;
  #rules: GateRules;
  #permissions: ReadonlyMap<string, Permission>;

  constructor(config: ServerConfig, parts: PipelineParts) {
    this.#parts = parts;
    this.#rules = this.#rulesOf(config);
    this.#permissions = permissionsOf(config);
  }

  /** Judges a datagram and does what follows. The bytes are not kept. */
  take(datagram: Uint8Array, source: Address): void {
    const verdict = judge(datagram, source, this.#parts.clock.now().wallNs, this.#rules);
    if (verdict.kind === "grant") this.#open(verdict, source);
    else this.#drop(verdict, source);
  }

  /**
   * From now on this configuration holds. Grants that it no longer allows are withdrawn, those of which it allows less
   * are cut down, in the firewall and on disk.
   */
  reconfigure(config: ServerConfig): void {
    const { grants, store, guard, clock, log } = this.#parts;
    this.#rules = this.#rulesOf(config);
    this.#permissions = permissionsOf(config);
    const now = clock.now();
    for (const grant of [...grants.list()]) {
      const allowed = resumeGrant(grant, this.#permissions.get(grant.client), now, {
        sameBoot: true,
      });
      if (allowed && sameGrant(allowed, grant)) continue;
      if (allowed) {
        grants.put(allowed);
        store.recordGrant(allowed);
      } else {
        grants.withdraw((each) => each === grant);
        store.forgetGrants([grant]);
      }
      const event = allowed ? "narrowed" : "withdrawn";
      guard.changed(grant.address, () => {
        log.info(event, {
          client: grant.client,
          address: formatAddress(grant.address),
          why: "configuration changed",
        });
      });
    }
  }

  /** Ends these grants now; connections that are established go on. Resolves once the firewall has closed them. */
  async withdraw(unwanted: (grant: Grant) => boolean, why: string): Promise<Grant[]> {
    const { grants, store, guard, log } = this.#parts;
    const withdrawn = grants.withdraw(unwanted);
    store.forgetGrants(withdrawn);
    await Promise.all(
      withdrawn.map((grant) =>
        new Promise<void>((resolve) =>
          guard.changed(grant.address, () => {
            log.info("withdrawn", {
              client: grant.client,
              address: formatAddress(grant.address),
              why,
            });
            resolve();
          })
        )
      ),
    );
    return withdrawn;
  }

  /** Puts back the grants of an earlier process that may go on; forgets the others. */
  resume(stored: { readonly grants: readonly Grant[]; readonly sameBoot: boolean }): void {
    const { grants, store, clock } = this.#parts;
    for (const grant of stored.grants) {
      const resumed = resumeGrant(grant, this.#permissions.get(grant.client), clock.now(), stored);
      if (resumed) grants.put(resumed);
      else store.forgetGrants([grant]);
    }
  }

  #open(verdict: GrantVerdict, source: Address): void {
    const { grants, store, guard, clock, log, opened: tell } = this.#parts;
    const permission = this.#permissions.get(verdict.client.name);
    if (!permission) return;
    const now = clock.now();
    const opened = grants.open(verdict.address, permission, now);
    store.recordKnock({
      key: verdict.client.key,
      randomNonce: verdict.randomNonce,
      timestampNs: verdict.timestampNs,
      client: verdict.client.name,
      atMs: wallMsOf(now),
      source: formatAddress(source),
      opened,
    });
    const { grant, renewed } = opened;
    guard.changed(grant.address, () => {
      log.info(renewed ? "renewed" : "granted", {
        client: grant.client,
        address: formatAddress(grant.address),
        source: formatAddress(source),
        ports: permission.ports.map(formatPortRange).join(","),
        lifetime: formatDuration(Math.round(grant.endsSteadyMs - now.steadyMs)),
      });
      tell?.({ grant, renewed, source, lifetimeMs: grant.endsSteadyMs - now.steadyMs });
    });
  }

  #drop({ reason, client, remembered }: DropVerdict, source: Address): void {
    const { store, clock, log } = this.#parts;
    if (client && remembered) {
      store.recordKnock({
        key: client.key,
        ...remembered,
        client: client.name,
        atMs: wallMsOf(clock.now()),
        source: formatAddress(source),
        opened: undefined,
      });
    } else if (client && reason === "limit") {
      store.recordMark(client.key);
    }
    if (log.enabled("debug")) {
      log.debug("dropped", { reason, source: formatAddress(source), client: client?.name });
    }
  }

  #rulesOf(config: ServerConfig): GateRules {
    return {
      agree: keyAgreement(config.privateKey),
      clients: gateClientsOf(config),
      replayWindowNs: BigInt(config.replayWindowMs) * 1_000_000n,
      replay: this.#parts.replay,
      hasRoom: (client, address) => this.#parts.grants.hasRoom(client, address),
    };
  }
}

/** What each client may have, by its name. */
function permissionsOf(config: ServerConfig): Map<string, Permission> {
  return new Map(config.clients.map((client) => [client.name, {
    client: client.name,
    key: client.key,
    ports: client.ports,
    lifetimeMs: config.knockTimeoutMs,
    expiresAtMs: client.expiresAtMs,
  }]));
}

function gateClientsOf(config: ServerConfig): GateClient[] {
  return config.clients.map(({ name, key, verify, expiresAtMs }) => ({
    name,
    key,
    verify,
    expiresNs: expiresAtMs === undefined ? undefined : BigInt(expiresAtMs) * 1_000_000n,
  }));
}

/** Whether a grant may go on as it is. Rounding of the time left does not make it another. */
function sameGrant(a: Grant, b: Grant): boolean {
  return Math.abs(a.endsSteadyMs - b.endsSteadyMs) < 1 &&
    a.ports.map(formatPortRange).join() === b.ports.map(formatPortRange).join();
}
