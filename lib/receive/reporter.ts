/**
 * Reports the outcome of knocks and grants: to the log, the history and the listeners. Decides nothing.
 */

import { type Address, formatAddress } from "../values/address.ts";
import { formatDuration } from "../values/duration.ts";
import { type Clock, isoTime, type Moment, wallMsOf } from "../values/moment.ts";
import { formatNetwork } from "../values/network.ts";
import { formatPortRange } from "../values/ports.ts";
import type { DropVerdict } from "../gate.ts";
import { type Grant, lastEndOf } from "../grants.ts";
import type { StateStore } from "../state/store.ts";
import type { Log } from "../system/log.ts";
import { eventsOf, type GrantChange } from "./grant_changes.ts";
import { type DropCounts, RecentDrops } from "./recent_drops.ts";
import { formatOffset, RefusalLimit, type RefusalReason } from "./refusals.ts";

/** A knock that opened something. */
export interface Opened {
  readonly grant: Grant;
  readonly renewed: boolean;
  readonly source: Address;
  readonly lifetimeMs: number;
  readonly knockedAt: Moment;
}

/** Where it is told. */
export interface ReporterParts {
  readonly store: StateStore;
  readonly clock: Clock;
  readonly log: Log;
}

/** One event, told everywhere. */
export class Reporter {
  readonly #recentDrops = new RecentDrops();
  readonly #parts: ReporterParts;
  readonly #refusals = new RefusalLimit();
  readonly #openedListeners: ((opened: Opened) => void)[] = [];

  constructor(parts: ReporterParts) {
    this.#parts = parts;
  }

  /** From now on `listener` is told of every grant once the firewall has it; it must not throw. */
  onOpened(listener: (opened: Opened) => void): void {
    this.#openedListeners.push(listener);
  }

  /** The firewall has what a knock opened. */
  opened(opened: Opened): void {
    const { grant, renewed, source, lifetimeMs } = opened;
    this.#parts.log.info(renewed ? "renewed" : "granted", {
      client: grant.client,
      address: formatNetwork(grant.address),
      source: formatAddress(source),
      ports: grant.ports.map(formatPortRange).join(","),
      lifetime: formatDuration(Math.round(lifetimeMs)),
      while_used_until: grant.extended && isoTime(lastEndOf(grant, "expiresAtMs")),
    });
    for (const tell of this.#openedListeners) tell(opened);
  }

  /** The firewall has refused what the knock of that moment opened. */
  failed(grant: Grant, source: Address, knockedAt: Moment): void {
    this.#answer(grant, "failed", knockedAt);
    const { client } = grant;
    const isFirst = this.#refusals.isFirst("backend", client, this.#parts.clock.now());
    if (isFirst) this.#refusal("backend", client, source);
  }

  /** The firewall has at last taken it. */
  carriedOut(grant: Grant, knockedAt: Moment): void {
    this.#answer(grant, "carried_out", knockedAt);
  }

  /** A grant does not go on as it was. */
  changing(change: GrantChange, healthPort: number): void {
    const atMs = wallMsOf(this.#parts.clock.now());
    for (const each of eventsOf(change, { atMs, healthPort })) this.#parts.store.recordEvent(each);
  }

  /** The firewall has that change. */
  changed({ grant, left, why }: GrantChange): void {
    const isRenamed = left && left.client !== grant.client;
    this.#parts.log.info(isRenamed ? "renamed" : left ? "narrowed" : "withdrawn", {
      client: grant.client,
      now: isRenamed ? left.client : undefined,
      address: formatNetwork(grant.address),
      why,
    });
  }

  /** A grant has ended by itself. */
  expired({ client, address: network, expiresAtMs, extended }: Grant): void {
    const address = formatNetwork(network);
    this.#parts.log.info("expired", { client, address });
    const { activeUntilMs: endsAtMs = 0 } = extended ?? {};
    if (endsAtMs <= expiresAtMs) return;
    const why = "no longer used";
    this.#parts.store.recordEvent({ event: "ended", client, address, endsAtMs, why });
  }

  /** So many datagrams were dropped. */
  dropped(reason: string, datagrams: number): void {
    this.#recentDrops.count(reason, this.#parts.clock.now().steadyMs, datagrams);
  }

  /** The gate has refused a knock. A clock that is off is worth a line in the log, since nothing else tells of it. */
  refused(verdict: DropVerdict, source: Address): void {
    const now = this.#parts.clock.now();
    if (!this.#refusals.isWorthTelling(verdict, now)) return;
    const { reason, client: { name: client }, clock } = verdict;
    const aheadMs = clock && Number(clock.aheadNs / 1_000_000n);
    this.#refusal(reason, client, source, aheadMs);
    if (aheadMs === undefined) return;
    this.#parts.log.info("clock_off", {
      client,
      source: formatAddress(source),
      offset: formatOffset(aheadMs),
      hint: "set that machine's clock, or this one's; replay_window is how far they may differ",
    });
  }

  /** Knocks of the last hour with a wrong or unknown key. */
  recentDrops(): DropCounts {
    return this.#recentDrops.lastHour(this.#parts.clock.now().steadyMs);
  }

  #answer({ client, address }: Grant, event: "failed" | "carried_out", knockedAt: Moment): void {
    const knockedAtMs = wallMsOf(knockedAt);
    this.#parts.store.recordEvent({ event, client, address: formatNetwork(address), knockedAtMs });
  }

  #refusal(reason: RefusalReason, client: string, address: Address, aheadMs?: number): void {
    const source = formatAddress(address);
    const atMs = wallMsOf(this.#parts.clock.now());
    this.#parts.store.recordEvent({ event: "refused", atMs, client, source, reason, aheadMs });
  }
}
