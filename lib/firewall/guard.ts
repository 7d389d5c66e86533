/**
 * Keeps a backend in step with the grants: changes are gathered while a run is under way and made in one go, what fails
 * is repaired whole, and what somebody else took away is put back. Knows grants, not knocks.
 */

import { type Address, formatAddress } from "../address.ts";
import type { Clock } from "../clock.ts";
import type { Grants } from "../grants.ts";
import { errorFields, type Log } from "../log.ts";
import type { Backend, GuardPlan } from "./backend.ts";

/** How often the guard looks whether its rules are still in place. Half of what is promised (10 s). */
export const CHECK_INTERVAL_MS = 4000;

/** The edge between the grants and one backend. */
export class Guard {
  readonly #backend: Backend;
  readonly #grants: Grants;
  readonly #clock: Clock;
  readonly #log: Log;
  /** Addresses whose openings are not in the firewall yet, and whom to tell when they are. */
  #waiting = new Map<string, { address: Address; done: (() => void)[] }>();
  #broken = false;
  #running: Promise<void> | undefined;
  #checking: Promise<void> | undefined;
  #stopped = false;

  constructor(
    { backend, grants, clock, log }: { backend: Backend; grants: Grants; clock: Clock; log: Log },
  ) {
    this.#backend = backend;
    this.#grants = grants;
    this.#clock = clock;
    this.#log = log;
  }

  /** Puts the guard in place with all grants in force. Throws where the backend cannot. */
  async start(): Promise<void> {
    await this.#backend.install(this.#grants.allOpenings(this.#clock.now()));
  }

  /** The openings of this address have changed; `done` is called once the firewall has them. */
  changed(address: Address, done: () => void = () => {}): void {
    const text = formatAddress(address);
    const entry = this.#waiting.get(text);
    if (entry) entry.done.push(done);
    else this.#waiting.set(text, { address, done: [done] });
    this.#wake();
  }

  /** From now on this is guarded; what is established goes on. */
  reconfigure(plan: GuardPlan): void {
    this.#backend.reconfigure(plan);
    this.#broken = true;
    this.#wake();
  }

  /** Looks whether everything is in place, and puts it back where not. One look at a time: a program may hang. */
  check(): Promise<void> {
    return this.#checking ??= this.#check().finally(() => {
      this.#checking = undefined;
    });
  }

  async #check(): Promise<void> {
    await this.#running;
    if (this.#stopped) return;
    if (this.#broken) return this.#wake();
    try {
      if (await this.#backend.isIntact() || this.#stopped) return;
      this.#log.warn("rules_missing", { backend: this.#backend.name, doing: "putting them back" });
    } catch (error) {
      if (this.#stopped) return;
      this.#log.error("check_failed", { backend: this.#backend.name, ...errorFields(error) });
    }
    this.#broken = true;
    this.#wake();
    await this.#running;
  }

  /** Lets the run under way end, then takes everything out. Throws where the backend cannot. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#checking;
    await this.#running;
    await this.#backend.remove();
  }

  #wake(): void {
    if (this.#stopped) return;
    this.#running ??= this.#work().finally(() => {
      this.#running = undefined;
    });
  }

  async #work(): Promise<void> {
    while (!this.#stopped && (this.#broken || this.#waiting.size > 0)) {
      const taken = this.#waiting;
      this.#waiting = new Map();
      if (!this.#broken) {
        try {
          // The time left is reckoned when the rule is written, not when the knock came.
          const now = this.#clock.now();
          await this.#backend.apply(
            [...taken.values()].map(({ address }) => this.#grants.openingsOf(address, now)),
          );
        } catch (error) {
          this.#log.warn("change_failed", {
            backend: this.#backend.name,
            doing: "installing all rules anew",
            ...errorFields(error),
          });
          this.#broken = true;
        }
      }
      // Whatever failed, the whole is known: put it all in place anew, with the time that every grant has left.
      if (this.#broken && !await this.#repair()) {
        // Their grants stand: the next check or the next knock tries again with all of them.
        for (const { address, done } of taken.values()) this.#giveBack(address, done);
        return;
      }
      for (const { done } of taken.values()) for (const each of done) each();
    }
  }

  async #repair(): Promise<boolean> {
    // Before the run: whoever finds something wrong meanwhile asks for another one.
    this.#broken = false;
    try {
      await this.#backend.install(this.#grants.allOpenings(this.#clock.now()));
      this.#log.info("rules_restored", {
        backend: this.#backend.name,
        grants: this.#grants.size,
      });
      return true;
    } catch (error) {
      this.#broken = true;
      this.#log.error("firewall_failed", {
        backend: this.#backend.name,
        reason: "backend",
        ...errorFields(error),
      });
      return false;
    }
  }

  #giveBack(address: Address, done: (() => void)[]): void {
    const text = formatAddress(address);
    const entry = this.#waiting.get(text);
    if (entry) entry.done.unshift(...done);
    else this.#waiting.set(text, { address, done });
  }
}
