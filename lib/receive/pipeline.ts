/**
 * What follows a signed knock: decided, written down, handed to the firewall, told. One synchronous step up to the
 * firewall, so that nothing interleaves. What a command, another configuration or a restart changes of grants goes the
 * same way.
 */

import { type Address, formatAddress } from "../values/address.ts";
import { type Moment, wallMsOf } from "../values/moment.ts";
import { hoursEndMs, judgeByRules, type JudgedKnock } from "../config/client_rules.ts";
import { capsFrom, earlier } from "../config/extend.ts";
import type { ServerConfig } from "../config/server.ts";
import type { Guard } from "../firewall/guard.ts";
import {
  decide,
  type DropVerdict,
  type GateClient,
  type GrantVerdict,
  type SignedKnock,
  type Verdict,
} from "../gate.ts";
import { type Grant, type Grants, lastEndOf } from "../grants.ts";
import type { ReplayMemory } from "../replay.ts";
import { codeOf } from "../packet.ts";
import type { KnockRecord } from "../state/history_writer.ts";
import {
  changesUnder,
  type GrantChange,
  type PermissionOf,
  resumeGrant,
  whyUnder,
} from "./grant_changes.ts";
import { Companions } from "./companions.ts";
import type { KnockSink } from "./intake.ts";
import { RecentKnocks } from "./recent_knocks.ts";
import { Reporter, type ReporterParts } from "./reporter.ts";
import type { ServerLog } from "./server_log.ts";

/** A grant that has so much left on the wall clock at its end shows that this clock was set back. */
const CLOCK_SET_BACK_MS = 1000;

/** What the pipeline works on. */
export interface PipelineParts extends ReporterParts {
  readonly grants: Grants;
  readonly replay: ReplayMemory;
  readonly guard: Guard;
  /** Told of each datagram that was dropped. */
  readonly drops: Pick<ServerLog, "dropped" | "droppedMore" | "observer">;
  /** Whether the firewall keeps open what is used. */
  readonly canExtend?: boolean;
  /** Told of each knock that passed every check. */
  readonly accepted: (key: string, source: Address) => void;
}

/** From signed knocks to grants, under the configuration of now. */
export class Pipeline implements KnockSink {
  readonly #parts: PipelineParts;
  readonly reporter: Reporter;
  readonly knocks = new RecentKnocks();
  readonly #companions = new Companions();
  readonly #grantedListeners: ((knock: SignedKnock) => void)[] = [];
  #config: ServerConfig;
  /** Closings that the firewall does not have yet. */
  readonly #changing = new Set<Promise<void>>();

  constructor(config: ServerConfig, parts: PipelineParts) {
    this.#parts = parts;
    this.#config = config;
    this.reporter = new Reporter(parts);
  }

  /** Decides about a knock, and lets in whom it names. */
  readonly signed = (knock: SignedKnock): void => {
    const { steadyMs } = this.#parts.clock.now();
    const verdict = this.#decide(knock);
    if (verdict.kind === "grant") {
      this.#open(verdict, knock);
      this.#parts.accepted(knock.key, knock.source);
    } else {
      this.#refuse(verdict, knock.source);
      if (verdict.reason !== "needs") return;
    }
    const waits = verdict.kind === "drop" ? knock : undefined;
    this.#companions.knocked(verdict.client!.name, steadyMs, waits);
    this.#companions.release(steadyMs, (waiting) => {
      const again = this.#decide(waiting, { isRemembered: true });
      if (again.kind === "grant") this.#open(again, waiting);
      return again.kind === "grant";
    });
  };

  #decide(knock: SignedKnock, { isRemembered = false } = {}): Verdict & Partial<JudgedKnock> {
    const { replay, grants, store, clock } = this.#parts;
    const { keys: { byKey: clients }, replayWindowMs, codeAt, knockTimeoutMs } = this.#config;
    const replayWindowNs = BigInt(replayWindowMs) * 1_000_000n;
    let judged: JudgedKnock | undefined;
    const verdict = decide(knock, clock.now().wallNs, {
      ...{ clients, replayWindowNs, replay },
      hasRoom: ({ key }, address) => {
        const permission = this.#permissionOf(key);
        return permission !== undefined &&
          grants.hasRoom(permission.client, address, permission.prefix);
      },
      ruleAgainst: ({ key }, address) => {
        if (knock.fleet?.unclaimed === "knock") return "unclaimed";
        if (this.#lifetimeOf(knock) <= 0) return "late";
        const { client: { rules, ...client } } = clients.get(key)!;
        const now = clock.now();
        judged = rules && judgeByRules({ ...client, rules }, {
          ...{ key, address, source: knock.source, code: codeOf(knock.randomNonce), codeAt },
          ...{ isRemembered, knockTimeoutMs, nowMs: wallMsOf(now), floorNs: replay.floorNs },
          fleet: knock.fleet ?? {},
          recordOf: (each) => store.recordOf(each),
          isHeld: () => this.#isHeld(key, address),
          isInUse: () => grants.endOfKey(key, now) !== undefined,
          hasKnocked: (other) => this.#companions.hasKnocked(other, now.steadyMs),
        });
        return judged?.refusal;
      },
    }, { isRemembered });
    return { ...verdict, ...judged };
  }

  /** Counts, and at debug says, that a datagram was dropped. */
  readonly dropped = (reason: string, source: () => Address, client?: string): void => {
    this.reporter.dropped(reason, 1);
    this.#parts.drops.dropped(reason, () => ({ source: formatAddress(source()), client }));
  };

  readonly droppedMore = (reason: string, datagrams: number): void => {
    this.reporter.dropped(reason, datagrams);
    this.#parts.drops.droppedMore(reason, datagrams);
  };

  /** Puts back the grants of an earlier process that may go on; forgets the others. */
  resume(stored: { readonly grants: readonly Grant[]; readonly sameBoot: boolean }): void {
    const { grants, store, clock } = this.#parts;
    const now = clock.now();
    for (const grant of stored.grants) {
      const resumed = resumeGrant(grant, this.#permissionOf(grant.key), now, stored);
      if (resumed) grants.put(resumed);
      else if (lastEndOf(grant, "expiresAtMs") <= wallMsOf(now)) continue;
      // Of what goes on only another name is told.
      const left = resumed && { ...grant, client: resumed.client };
      const why = whyUnder(this.#permissionOf, grant);
      this.reporter.changing({ grant, left, why }, this.#config.healthPort);
    }
    // Written as they are now: otherwise the next restart would compare with grants that the configuration has cut since.
    store.replaceGrants([...grants.list()]);
  }

  /** What this key, in hex, may open; `undefined` where it is no client's. */
  readonly #permissionOf: PermissionOf = (key) => {
    const found = this.#config.keys.byKey.get(key);
    if (!found) return undefined;
    const { client: { name, ports, prefix, rules, extensions } } = found;
    const lifetimeMs = rules?.lifetimeMs ?? this.#config.knockTimeoutMs;
    const now = this.#parts.clock.now();
    const hoursMs = hoursEndMs(rules, wallMsOf(now));
    const expiresAtMs = Math.min(found.expiresAtMs ?? Infinity, hoursMs ?? Infinity);
    const caps = this.#parts.canExtend ? capsFrom(extensions, now, expiresAtMs) : undefined;
    return { client: name, key, ports, lifetimeMs, expiresAtMs, prefix, caps };
  };

  /** From now on this configuration holds; grants are withdrawn or narrowed to what it allows. */
  reconfigure(config: ServerConfig): void {
    this.#config = config;
    const { grants, clock } = this.#parts;
    this.#apply(changesUnder(this.#permissionOf, grants.list(), clock.now()));
  }

  /**
   * Ends these grants now; connections that are established go on. Resolves once the firewall has closed them, and what
   * was withdrawn before; who was let in is then in the history on disk.
   */
  async withdraw(unwanted: (grant: Grant) => boolean, why: string): Promise<Grant[]> {
    const { grants, store } = this.#parts;
    const withdrawn = [...grants.list()].filter(unwanted);
    this.#apply(withdrawn.map((grant) => ({ grant, left: undefined, why })));
    store.flushHistory();
    await Promise.all(this.#changing);
    return withdrawn;
  }

  /** Forgets the grants that have ended. The kernel has closed them already, by its own clock. */
  expire(): void {
    const { grants, store, guard, clock } = this.#parts;
    const now = clock.now();
    const ended = grants.takeExpired(now);
    for (const grant of ended) {
      this.reporter.expired(grant);
      // The wall clock was set back, and a firewall that ends grants by their date (iptables) does not know.
      if (grant.expiresAtMs > wallMsOf(now) + CLOCK_SET_BACK_MS) guard.changed(grant.address);
    }
    store.forgetGrants(ended);
  }

  /** Changes grants in memory, on disk and in the firewall, in this order, and tells history and log. */
  #apply(changes: readonly GrantChange[]): void {
    const { grants, store, guard } = this.#parts;
    const gone = new Set(
      changes.filter(({ grant, left }) => left?.client !== grant.client).map(({ grant }) => grant),
    );
    grants.withdraw((grant) => gone.has(grant));
    store.forgetGrants([...gone]);
    for (const { left } of changes) {
      if (!left) continue;
      grants.put(left);
      store.recordGrant(left);
    }
    for (const change of changes) {
      this.reporter.changing(change, this.#config.healthPort);
      const changing = new Promise<void>((done) => guard.changed(change.grant.address, { done }))
        .then(() => this.reporter.changed(change));
      this.#changing.add(changing);
      changing.finally(() => this.#changing.delete(changing));
    }
  }

  /** From now on `listener` is told of every knock that lets somebody in, before the firewall answers. */
  onGranted(listener: (knock: SignedKnock) => void): void {
    this.#grantedListeners.push(listener);
  }

  /** How long a knock opens, ms: one of another host has used up some of it. */
  #lifetimeOf({ key, fleet }: SignedKnock): number {
    return (this.#permissionOf(key)?.lifetimeMs ?? 0) - (fleet?.ageMs ?? 0);
  }

  #open(verdict: GrantVerdict & Partial<JudgedKnock>, knock: SignedKnock): void {
    const { source } = knock;
    const { grants, store, guard, clock } = this.#parts;
    const { client, randomNonce, timestampNs, keyRecord } = verdict;
    const permission = this.#permissionOf(client.key);
    if (!permission) return;
    const now = clock.now();
    // Further knocks within a use belong to it, and do not lengthen it.
    const useEndsMs = verdict.continues ? grants.endOfKey(client.key, now) : undefined;
    const lifetimeMs = Math.min(this.#lifetimeOf(knock), (useEndsMs ?? Infinity) - now.steadyMs);
    const caps = earlier(permission.caps, permission.lifetimeMs - lifetimeMs);
    const permitted = { ...permission, lifetimeMs, caps };
    const { grant, renewed } = grants.open(verdict.address, permitted, now);
    const record = { client, randomNonce, timestampNs, source, at: now, keyRecord };
    // On disk before the firewall is asked for anything.
    store.recordKnock(recordOf({ ...record, opened: { grant, renewed } }));
    let failed = false;
    let id: string | undefined;
    const accept = () => id ??= this.knocks.accept(grant, randomNonce);
    guard.changed(grant.address, {
      done: () => {
        this.knocks.settle(grant, accept(), "open");
        if (failed) {
          if (!this.#isHeld(grant.key, grant.address.base)) return; // ended meanwhile
          this.reporter.carriedOut(grant, now);
        }
        const lifetimeMs = grant.endsSteadyMs - now.steadyMs;
        this.reporter.opened({ grant, renewed, source, lifetimeMs, knockedAt: now });
      },
      failed: () => {
        this.knocks.settle(grant, accept(), "refused");
        if (!failed) this.reporter.failed(grant, source, now);
        if (!failed) this.#parts.drops.observer?.dropped("backend", 1);
        failed = true;
      },
    });
    accept(); // while the firewall is at work, unless it has failed at once
    for (const tell of this.#grantedListeners) tell(knock);
  }

  /** Whether a grant of this key, first or renewed, is in force for an address. */
  #isHeld(key: string, address: Address): boolean {
    const { grants, clock } = this.#parts;
    const { steadyMs } = clock.now();
    return grants.at(address).some((each) => each.key === key && each.endsSteadyMs > steadyMs);
  }

  #refuse(verdict: DropVerdict & Partial<JudgedKnock>, source: Address): void {
    const { reason, client, remembered, keyRecord } = verdict;
    const { store, clock } = this.#parts;
    if (client && remembered) {
      store.recordKnock(recordOf({ ...remembered, client, source, at: clock.now(), keyRecord }));
    } else if (client && reason === "limit") store.recordWatermarks();
    this.reporter.refused(verdict, source);
    this.dropped(reason, () => source, client?.name);
  }
}

function recordOf(
  { client: { key, name: client }, source, at, ...knock }:
    & Pick<KnockRecord, "randomNonce" | "timestampNs" | "opened" | "keyRecord">
    & { readonly client: GateClient; readonly source: Address; readonly at: Moment },
): KnockRecord {
  return { ...knock, key, client, atMs: wallMsOf(at), source: formatAddress(source) };
}
