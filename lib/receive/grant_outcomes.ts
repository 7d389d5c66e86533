/**
 * Writes down what becomes of grants after their knock: what the firewall refuses, and what ends before its time. The
 * hot path costs nothing by it: where the firewall does as it is told and time runs out, there is nothing to write.
 */

import { type Address, formatAddress } from "../values/address.ts";
import { type Clock, type Moment, wallMsOf } from "../values/moment.ts";
import type { ServerConfig } from "../config/server.ts";
import type { Grant, Grants } from "../grants.ts";
import { formatNetwork } from "../values/network.ts";
import { shownPorts, subtractPortRanges } from "../values/ports.ts";
import type { RefusalLimit } from "./refusals.ts";
import { keyOf, type WhatBecame } from "../state/outcomes.ts";
import type { StateStore } from "../state/store.ts";

/** Tells the store, and remembers which grants the firewall does not have. */
export class GrantOutcomes {
  readonly #parts: {
    readonly grants: Grants;
    readonly store: StateStore;
    readonly clock: Clock;
    readonly refusals: RefusalLimit;
  };
  /** Grants that the firewall has refused so far, by client and address. */
  readonly #refused = new Set<string>();

  constructor(
    { grants, store, clock, refusals }: {
      grants: Grants;
      store: StateStore;
      clock: Clock;
      refusals: RefusalLimit;
    },
  ) {
    this.#parts = { grants, store, clock, refusals };
  }

  /** Whether the firewall has refused this grant so far. */
  isRefused(grant: Grant): boolean {
    return this.#refused.size > 0 && this.#refused.has(nameOf(grant));
  }

  /** The firewall refused what a knock opened. Of many such refusals one a client and minute is told. */
  refused(grant: Grant, source: Address, knockedAt: Moment): void {
    const { store, clock, refusals } = this.#parts;
    const now = clock.now();
    const { client } = grant;
    this.#refused.add(nameOf(grant));
    this.#tell(grant, { what: "failed", ofMs: wallMsOf(knockedAt) });
    if (!refusals.isFirst("backend", client, now)) return;
    store.recordRefusal({
      atMs: wallMsOf(now),
      client,
      source: formatAddress(source),
      reason: "backend",
      aheadMs: undefined,
    });
  }

  /** The firewall has at last taken what a knock opened. Returns whether that is still wanted. */
  carriedOut(grant: Grant, knockedAt: Moment): boolean {
    const { grants, clock } = this.#parts;
    this.#refused.delete(nameOf(grant));
    const { steadyMs } = clock.now();
    const isHeld = grants.at(grant.address.base).some((each) =>
      nameOf(each) === nameOf(grant) && each.endsSteadyMs > steadyMs
    );
    if (isHeld) this.#tell(grant, { what: "carried_out", ofMs: wallMsOf(knockedAt) });
    return isHeld;
  }

  /** It ends before its time: now, unless `endsAtMs` says when. */
  ended(grant: Grant, why: string, endsAtMs = wallMsOf(this.#parts.clock.now())): void {
    this.#tell(grant, { what: "ended", endsAtMs, why });
  }

  /** The configuration of now leaves so much of it: fewer ports, less time, or all. */
  narrowed(grant: Grant, left: Grant, config: ServerConfig): void {
    if (subtractPortRanges(grant.ports, left.ports).length > 0) {
      const ports = shownPorts(left.ports, config.healthPort).join(" ");
      this.ended(left, `configuration changed${ports && `, ${ports} left open`}`);
    } else if (left.endsSteadyMs < grant.endsSteadyMs - 1) {
      this.ended(left, "configuration changed", left.expiresAtMs);
    }
  }

  /** It goes on as another client's. */
  renamed(grant: Grant, client: string): void {
    this.#tell(grant, { what: "renamed", why: client });
  }

  #tell(grant: Grant, outcome: WhatBecame): void {
    const { store, clock } = this.#parts;
    store.recordOutcome({
      atMs: wallMsOf(clock.now()),
      client: grant.client,
      address: formatNetwork(grant.address),
      ...outcome,
    });
  }
}

function nameOf({ client, address }: Grant): string {
  return keyOf({ client, address: formatNetwork(address) });
}
