/**
 * What happens to one datagram: judged, written down, handed to the firewall. One synchronous step up to the firewall,
 * so that nothing interleaves; and the one place that knows which configuration holds now.
 */

import { type Address, formatAddress } from "../values/address.ts";
import { type Clock, wallMsOf } from "../values/moment.ts";
import type { ServerConfig } from "../config/server.ts";
import { keyAgreement } from "../crypto/sync.ts";
import { formatDuration } from "../values/duration.ts";
import type { Guard } from "../firewall/guard.ts";
import {
  beginJudging,
  continueJudging,
  type DropVerdict,
  type GateRules,
  type GrantVerdict,
  isStale,
  type Verdict,
  withBytesOf,
} from "../gate.ts";
import { type Grant, type Grants, narrowGrant, type Permission, resumeGrant } from "../grants.ts";
import type { DropLog } from "./drop_log.ts";
import { GrantOutcomes } from "./grant_outcomes.ts";
import { rememberingAgreement, type Waiting } from "./queue.ts";
import type { KnownKeys } from "./ephemeral_keys.ts";
import type { Log } from "../system/log.ts";
import { formatNetwork, type Network, type PrefixLengths } from "../values/network.ts";
import { ephemeralKeyOf } from "../packet.ts";
import { gateClientsOf, permissionsOf } from "./permissions.ts";
import { formatPortRange } from "../values/ports.ts";
import { RecentKnocks } from "./recent_knocks.ts";
import type { RecentKnock } from "../values/health_report.ts";
import { formatOffset, RefusalLimit } from "./refusals.ts";
import { type DropCounts, RecentDrops } from "./recent_drops.ts";
import type { ReplayMemory } from "../replay.ts";
import { type Deferred, DeferredVerifications } from "./deferred.ts";
import { FREE_CANDIDATES, Signers } from "./candidates.ts";
import type { StateStore } from "../state/store.ts";
import { TokenBucket } from "../values/token_bucket.ts";

/** What looking for clients that are not found at once may cost. */
const VERIFICATIONS = { perSecond: 4000, capacity: 400 };
/** In a row: 1 ms, or a tenth of it while others wait. */
const VERIFICATIONS_PER_STEP = { idle: 20, busy: 2 };
/** Ephemeral keys of tagged knocks whose secrets are kept. */
const SECRETS_REMEMBERED = 4096;

/** What the pipeline works on. */
export interface PipelineParts {
  readonly grants: Grants;
  readonly replay: ReplayMemory;
  readonly store: StateStore;
  readonly guard: Guard;
  readonly clock: Clock;
  readonly log: Log;
  readonly drops: DropLog;
  /** The ephemeral keys that the queue knows too. */
  readonly keys: KnownKeys;
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
  readonly #refusals = new RefusalLimit();
  readonly #recentDrops = new RecentDrops();
  #rules: GateRules & { readonly signers: Signers };
  /** The same for tagged and repeated knocks: what was agreed with an ephemeral key is remembered. */
  #rememberingRules: GateRules;
  /** By the key in hex: a client may have two, and may get another name. */
  #permissions: ReadonlyMap<string, Permission>;
  readonly #deferred = new DeferredVerifications({
    isStale: ({ knock }) => isStale(knock, this.#nowNs(), this.#rules),
    dropped: (source) => this.drop("overload", source),
  });
  readonly #outcomes: GrantOutcomes;
  readonly #verifications = new TokenBucket(VERIFICATIONS);
  readonly #knocks = new RecentKnocks();
  /** Closings that the firewall does not have yet. */
  readonly #changing = new Set<Promise<void>>();

  constructor(config: ServerConfig, parts: PipelineParts) {
    this.#parts = parts;
    this.#outcomes = new GrantOutcomes({ ...parts, refusals: this.#refusals });
    this.#rules = this.#rulesOf(config);
    this.#rememberingRules = withMemory(this.#rules);
    this.#permissions = permissionsOf(config);
  }

  /** Judges a datagram and does what follows. Its bytes are not kept. */
  take({ datagram, source, kind, tagged }: Waiting): void {
    const rules = kind === "other" ? this.#rules : this.#rememberingRules;
    const step = beginJudging(datagram, source, rules, { hintedOnly: tagged });
    if ("kind" in step) return this.#drop(step, source);
    const key = ephemeralKeyOf(datagram);
    // Whoever sealed it had this server's public key: strangers add nothing here.
    if (!tagged) this.#parts.keys.note(key);
    const keysToTry = tagged ? Infinity : FREE_CANDIDATES;
    const verdict = continueJudging(step, this.#nowNs(), rules, keysToTry);
    // What is late has cost others nothing.
    if (!verdict?.client && kind !== "late") {
      this.#parts.keys.charge(key, tagged ? 1 : FREE_CANDIDATES);
    }
    if (verdict) return this.#act(verdict, source, { key, tagged });
    const own = datagram.slice();
    this.#deferred.add({ datagram: own, source, knock: withBytesOf(own, step) });
  }

  /**
   * Looks a little further for the client of one of the knocks that wait for it, by turns; less far where there is other
   * work. Returns whether more wait.
   */
  search(idle = true): boolean {
    if (this.#deferred.size === 0) return false;
    const allowed = this.#verifications.take(
      idle ? VERIFICATIONS_PER_STEP.idle : VERIFICATIONS_PER_STEP.busy,
      this.#parts.clock.now().steadyMs,
    );
    if (allowed === 0) return true;
    const deferred = this.#deferred.take();
    if (!deferred) return false;
    const verdict = continueJudging(deferred.knock, this.#nowNs(), this.#rules, allowed);
    const key = ephemeralKeyOf(deferred.datagram);
    if (!verdict?.client) this.#parts.keys.charge(key, allowed);
    if (verdict) this.#act(verdict, deferred.source, { key, tagged: false });
    else this.#deferred.add(deferred);
    return this.#deferred.size > 0;
  }

  /** Counts, and at debug says, that a datagram was dropped before it was judged. */
  drop(reason: string, source: Address, client?: string): void {
    this.#parts.drops.dropped(reason, () => ({ source: formatAddress(source), client }));
  }

  /**
   * From now on this configuration holds. Grants that it no longer allows are withdrawn, those of which it allows less
   * are cut down, in the firewall and on disk.
   */
  reconfigure(config: ServerConfig): void {
    const { grants, store, clock, log } = this.#parts;
    this.#rules = this.#rulesOf(config, this.#rules.signers);
    this.#rememberingRules = withMemory(this.#rules);
    this.#permissions = permissionsOf(config);
    // Whose keys are good has changed: the searches under way begin anew, with the clients of now.
    const deferred: Deferred[] = [];
    for (let each = this.#deferred.take(); each; each = this.#deferred.take()) deferred.push(each);
    for (const { datagram, source } of deferred) {
      const knock = beginJudging(datagram, source, this.#rules);
      if (!("kind" in knock)) this.#deferred.add({ datagram, source, knock });
    }
    const now = clock.now();
    for (const grant of [...grants.list()]) {
      const allowed = narrowGrant(grant, this.#permissions.get(grant.key), now);
      if (allowed && sameGrant(allowed, grant)) continue;
      if (allowed?.client !== grant.client) {
        grants.withdraw((each) => each === grant);
        store.forgetGrants([grant]);
      }
      if (allowed) {
        grants.put(allowed);
        store.recordGrant(allowed);
      }
      const renamed = allowed && allowed.client !== grant.client;
      if (!allowed) this.#outcomes.ended(grant, this.#whyNotAllowed(grant));
      else {
        if (renamed) this.#outcomes.renamed(grant, allowed.client);
        this.#outcomes.narrowed(grant, allowed, config);
      }
      const event = renamed ? "renamed" : allowed ? "narrowed" : "withdrawn";
      this.#change(grant.address, () => {
        log.info(event, {
          client: grant.client,
          now: renamed ? allowed.client : undefined,
          address: formatNetwork(grant.address),
          why: "configuration changed",
        });
      });
    }
  }

  /** Knocks of the last hour with a wrong or unknown key. */
  recentDrops(): DropCounts {
    return this.#recentDrops.lastHour(this.#parts.clock.now().steadyMs);
  }

  /** Whether a key, in hex, is some client's now. */
  isRegistered(key: string): boolean {
    return this.#permissions.has(key);
  }

  /**
   * Ends these grants now; connections that are established go on. Resolves once the firewall has closed them, and what
   * was withdrawn before; who was let in is then in the history on disk.
   */
  async withdraw(unwanted: (grant: Grant) => boolean, why: string): Promise<Grant[]> {
    const { grants, store, log } = this.#parts;
    const withdrawn = grants.withdraw(unwanted);
    store.forgetGrants(withdrawn);
    for (const grant of withdrawn) this.#outcomes.ended(grant, why);
    store.tellHistory();
    for (const { address, client } of withdrawn) {
      this.#change(address, () => {
        log.info("withdrawn", { client, address: formatNetwork(address), why });
      });
    }
    await Promise.all(this.#changing);
    return withdrawn;
  }

  /** Whether the firewall has refused this grant so far. */
  isRefused(grant: Grant): boolean {
    return this.#outcomes.isRefused(grant);
  }

  /** The latest knocks for this grant, the oldest first. */
  knocksOf(grant: Grant): readonly RecentKnock[] {
    return this.#knocks.of(grant);
  }

  /** `done` is called once the firewall has what changed; until then it is under way. */
  #change(address: Network, done: () => void): void {
    const changing = new Promise<void>((resolve) =>
      this.#parts.guard.changed(address, { done: resolve })
    ).then(done);
    this.#changing.add(changing);
    changing.finally(() => this.#changing.delete(changing));
  }

  /** Puts back the grants of an earlier process that may go on; forgets the others. */
  resume(stored: { readonly grants: readonly Grant[]; readonly sameBoot: boolean }): void {
    const { grants, store, clock } = this.#parts;
    for (const grant of stored.grants) {
      const resumed = resumeGrant(grant, this.#permissions.get(grant.key), clock.now(), stored);
      if (resumed) {
        grants.put(resumed);
        if (resumed.client !== grant.client) this.#outcomes.renamed(grant, resumed.client);
      } else if (grant.expiresAtMs > wallMsOf(clock.now())) {
        this.#outcomes.ended(grant, this.#whyNotAllowed(grant));
      }
    }
    // As they are now, or each restart would measure from what there was before the configuration took from it.
    store.replaceGrants([...grants.list()]);
  }

  #nowNs(): bigint {
    return this.#parts.clock.now().wallNs;
  }

  #act(
    verdict: Verdict,
    source: Address,
    { key, tagged }: { readonly key: Uint8Array; readonly tagged: boolean },
  ): void {
    if (verdict.client) {
      // Without a tag it may be another client's signature on a watched body: the genuine one is still to come.
      if (tagged) this.#parts.keys.spend(key);
      else this.#parts.keys.charge(key, FREE_CANDIDATES);
    }
    if (verdict.kind === "grant") this.#open(verdict, source);
    else this.#drop(verdict, source);
  }

  #open(verdict: GrantVerdict, source: Address): void {
    const { grants, store, guard, clock, log, opened: tell } = this.#parts;
    const permission = this.#permissions.get(verdict.client.key);
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
    const id = this.#knocks.accept(grant, verdict.randomNonce);
    let refused = false;
    guard.changed(grant.address, {
      done: () => {
        // It may have ended while the firewall refused.
        if (refused && !this.#outcomes.carriedOut(grant, now)) return;
        this.#knocks.settle(grant, id, "open");
        log.info(renewed ? "renewed" : "granted", {
          client: grant.client,
          address: formatNetwork(grant.address),
          source: formatAddress(source),
          ports: permission.ports.map(formatPortRange).join(","),
          lifetime: formatDuration(Math.round(grant.endsSteadyMs - now.steadyMs)),
        });
        tell?.({ grant, renewed, source, lifetimeMs: grant.endsSteadyMs - now.steadyMs });
      },
      failed: () => {
        if (!refused) this.#outcomes.refused(grant, source, now);
        this.#knocks.settle(grant, id, "refused");
        refused = true;
      },
    });
  }

  /** Why the configuration of now does not allow a grant. */
  #whyNotAllowed({ key }: Grant): string {
    return this.#permissions.has(key) ? "configuration changed" : "key revoked";
  }

  #drop(verdict: DropVerdict, source: Address): void {
    const { reason, client, remembered } = verdict;
    const { store, clock } = this.#parts;
    this.#recentDrops.count(reason, clock.now().steadyMs);
    this.#tellRefusal(verdict, source);
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
    this.drop(reason, source, client?.name);
  }

  /** For people: what kept a registered client out. A clock that is off is worth a line, since nothing else tells. */
  #tellRefusal(verdict: DropVerdict, source: Address): void {
    const { store, clock, log } = this.#parts;
    const now = clock.now();
    if (!this.#refusals.isWorthTelling(verdict, now)) return;
    const { client: { name: client }, reason } = verdict;
    const aheadMs = verdict.clock && Number(verdict.clock.aheadNs / 1_000_000n);
    store.recordRefusal({
      atMs: wallMsOf(now),
      client,
      source: formatAddress(source),
      reason,
      aheadMs,
    });
    if (aheadMs === undefined) return;
    log.info("clock_off", {
      client,
      source: formatAddress(source),
      offset: formatOffset(aheadMs),
      hint: "set that machine's clock, or this one's; replay_window is how far they may differ",
    });
  }

  #rulesOf(config: ServerConfig, before?: Signers): GateRules & { readonly signers: Signers } {
    const prefixes = new Map<string, PrefixLengths>(
      config.clients.map(({ name, prefix }) => [name, prefix]),
    );
    return {
      agree: keyAgreement(config.privateKey),
      previousAgree: config.previousPrivateKey && keyAgreement(config.previousPrivateKey),
      signers: new Signers(gateClientsOf(config), before),
      replayWindowNs: BigInt(config.replayWindowMs) * 1_000_000n,
      replay: this.#parts.replay,
      hasRoom: (client, address) =>
        this.#parts.grants.hasRoom(client, address, prefixes.get(client)),
    };
  }
}

function withMemory(rules: GateRules): GateRules {
  const { agree, previousAgree } = rules;
  return {
    ...rules,
    agree: rememberingAgreement(agree, SECRETS_REMEMBERED),
    previousAgree: previousAgree && rememberingAgreement(previousAgree, SECRETS_REMEMBERED),
  };
}

/** Whether a grant may go on as it is. Rounding of the time left does not make it another. */
function sameGrant(a: Grant, b: Grant): boolean {
  return a.client === b.client && Math.abs(a.endsSteadyMs - b.endsSteadyMs) < 1 &&
    a.ports.map(formatPortRange).join() === b.ports.map(formatPortRange).join();
}
