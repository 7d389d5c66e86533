/**
 * When the health port is listened on, and what an address is told there: only while some grant opens that port, and only
 * what this address holds. Who listens is a matter of `listen`: this process, or one of its own.
 */

import { type Address, formatAddress } from "../values/address.ts";
import { openAt } from "../values/extended.ts";
import { type Clock, wallMsOf } from "../values/moment.ts";
import type { Grant } from "../grants.ts";
import { errorFields, type Log } from "../system/log.ts";
import type { Running } from "../server.ts";
import type { Listening } from "../system/http.ts";
import type { HealthAnswer, HealthSource } from "./listener.ts";
import { reportOn } from "./report.ts";

/** Listens on a port; throws or rejects where it cannot. */
export type Listen = (port: number, source: HealthSource) => Listening | Promise<Listening>;

/** What the keeping of the port works with. */
export interface HealthPortParts {
  readonly running: Running;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly listen: Listen;
}

/** How often it looks whether a grant for the health port is left. */
const TICK_MS = 500;
/** How long after a failure it tries again: twice as long after each one in a row, up to the most. */
const RETRY_MS = { first: 500, most: 8000 };
/** Failures of a port that follow one another within this time are one trouble, and logged once. */
const TROUBLE_MS = 60_000;

/** Listens while a grant opens the health port, until `signal` aborts. */
export function keepHealthListener(parts: HealthPortParts): void {
  const health = new HealthPort(parts);
  parts.running.onOpened(({ grant }) => health.opened(grant));
  const timer = setInterval(() => health.tend(), TICK_MS);
  parts.signal.addEventListener("abort", () => {
    clearInterval(timer);
    health.tend();
  }, { once: true });
  health.tend();
}

/** What listens, or is about to. */
interface Attempt {
  readonly port: number;
  listening?: Listening;
}

class HealthPort {
  readonly #parts: HealthPortParts;
  readonly #source: HealthSource;
  #current: Attempt | undefined;
  #trouble: { readonly port: number; readonly atMs: number; readonly retryMs: number } | undefined;

  constructor(parts: HealthPortParts) {
    this.#parts = parts;
    this.#source = {
      knows: (address) => Promise.resolve(this.#grantsOf(address).length > 0),
      answerFor: (address) => Promise.resolve(this.#answerFor(address)),
    };
  }

  /** Starts or stops listening, as the current grants ask for. */
  tend(): void {
    const wanted = this.#wantedPort();
    if (wanted === this.#current?.port) return;
    this.#current?.listening?.close();
    this.#current = undefined;
    if (wanted !== undefined && this.#mayTry(wanted)) this.#listen(wanted);
  }

  /** Called for each new or renewed grant. */
  opened(grant: Grant): void {
    if (!this.#current && this.#concerns(grant)) this.tend();
  }

  #wantedPort(): number | undefined {
    const { running, signal } = this.#parts;
    if (signal.aborted) return undefined;
    for (const grant of running.grants()) {
      if (this.#concerns(grant)) return running.config().healthPort;
    }
    return undefined;
  }

  #concerns(grant: Grant): boolean {
    const { running, clock } = this.#parts;
    const { healthPort } = running.config();
    const now = clock.now();
    const nowMs = wallMsOf(now);
    const isOpen = grant.endsSteadyMs > now.steadyMs ||
      (grant.extended?.activeUntilMs ?? 0) > nowMs;
    return isOpen &&
      openAt(grant, nowMs).ports.some(({ protocol, first, last }) =>
        protocol === "tcp" && first <= healthPort && healthPort <= last
      );
  }

  async #listen(port: number): Promise<void> {
    const current: Attempt = this.#current = { port };
    try {
      const listening = await this.#parts.listen(port, this.#source);
      if (this.#current !== current) return listening.close();
      current.listening = listening;
      if (!listening.ended) return;
      await listening.ended;
      if (this.#current === current) throw new Error("the process that listens has ended");
    } catch (error) {
      if (this.#current !== current) return;
      this.#current = undefined;
      this.#noteFailure(port, error);
    }
  }

  #noteFailure(port: number, error: unknown): void {
    const { clock, log } = this.#parts;
    const atMs = clock.now().steadyMs;
    const last = this.#trouble;
    const goesOn = last?.port === port && atMs - last.atMs < TROUBLE_MS;
    const retryMs = goesOn ? Math.min(2 * last.retryMs, RETRY_MS.most) : RETRY_MS.first;
    this.#trouble = { port, atMs, retryMs };
    if (!goesOn) log.warn("health_unavailable", { port, ...errorFields(error) });
  }

  #mayTry(port: number): boolean {
    const { port: troubled, atMs, retryMs } = this.#trouble ?? {};
    return troubled !== port || this.#parts.clock.now().steadyMs - atMs! >= retryMs!;
  }

  #grantsOf(address: Address): Grant[] {
    return this.#parts.running.grantsAt(address).filter((grant) => this.#concerns(grant));
  }

  #answerFor(address: Address): HealthAnswer | undefined {
    const grants = this.#grantsOf(address);
    if (grants.length === 0) return undefined;
    const { running, clock, log } = this.#parts;
    const { healthPort, host, knockTimeoutMs } = running.config();
    const report = reportOn(address, grants, clock.now(), {
      healthPort,
      isRefused: (grant) => running.isRefused(grant),
      knocksOf: (grant) => running.knocksOf(grant),
    });
    log.debug("health_asked", { address: formatAddress(address) });
    return { report, host, lifetimeMs: knockTimeoutMs };
  }
}
