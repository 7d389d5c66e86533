/**
 * The backend that touches nothing: openme decides and logs. `serve --dry-run` puts it before the configured backend,
 * to show what that one would have run.
 */

import { formatNetwork, type Network } from "../values/network.ts";
import { formatPortRange, type PortRange } from "../values/ports.ts";
import type { RunProgram } from "../system/run_program.ts";
import type { Backend, ClientOpenings, OpenPorts } from "./backend.ts";
import type { GuardPlan } from "./plan.ts";
import { hostFirewall } from "./host/summary.ts";

/** A backend that does nothing; for `firewall: none`. */
export function createNoneBackend(plan: GuardPlan, run: RunProgram): Backend {
  let guardedPorts = plan.guardedPorts;
  return {
    ...idleBackend({}),
    reconfigure: (plan) => guardedPorts = plan.guardedPorts,
    openToEveryone: async (): Promise<OpenPorts | undefined> => {
      const ports = (await hostFirewall(run)).openOf(guardedPorts);
      if (ports.length === 0) return undefined;
      return {
        ports,
        why: "firewall: none closes nothing, and this host's own firewall lets everyone in to them",
        hint: "set firewall: auto and drop_ports: true, and openme closes them itself",
      };
    },
  };
}

/** A backend that does nothing, and gives what `shown` would run to `show`: for a dry run. */
export function createDryBackend(shown: Backend, show: (text: string) => void): Backend {
  return { ...idleBackend({ shown, show }), openToEveryone: () => shown.openToEveryone() };
}

function idleBackend(
  { shown, show = () => {} }: { shown?: Backend; show?: (text: string) => void },
): Omit<Backend, "openToEveryone"> {
  const nothing = () => Promise.resolve();
  const ends = new Ends((address, ports, clients) => {
    const text = shown?.previewEnd?.(address, ports, clients);
    if (text) show(text);
  });
  return {
    name: "none",
    endsByKernel: true,
    install: async (openings) => {
      if (shown) show(await shown.preview(openings));
      if (shown?.previewEnd) openings.forEach((each) => ends.set(each));
    },
    apply: (changes) => {
      const text = shown?.previewChanges(changes);
      if (text) show(text);
      if (shown?.previewEnd) changes.forEach((each) => ends.set(each));
      return Promise.resolve();
    },
    reconfigure: (plan) => shown?.reconfigure(plan),
    isIntact: () => Promise.resolve(true),
    examine: () => Promise.resolve(undefined),
    list: () => Promise.resolve([]),
    remove: () => {
      ends.all();
      return Promise.resolve();
    },
    leave: nothing,
    preview: () => Promise.resolve(""),
    previewChanges: () => "",
  };
}

interface End {
  readonly timer: ReturnType<typeof setTimeout>;
  readonly now: () => void;
}

/** When the openings end that were shown: what a backend would run then is shown, too. */
class Ends {
  readonly #ends = new Map<string, End>();
  readonly #end: (address: Network, ports: PortRange, clients: readonly string[]) => void;

  constructor(end: (address: Network, ports: PortRange, clients: readonly string[]) => void) {
    this.#end = end;
  }

  /** This is what the address has from now on. */
  set({ address, openings, clients }: ClientOpenings): void {
    const prefix = `${formatNetwork(address)} `;
    const wanted = new Set(openings.map((each) => prefix + formatPortRange(each)));
    for (const [key, { timer, now }] of this.#ends) {
      if (!key.startsWith(prefix)) continue;
      clearTimeout(timer);
      this.#ends.delete(key);
      if (!wanted.has(key)) now();
    }
    for (const { timeoutMs, ...ports } of openings) {
      const key = prefix + formatPortRange(ports);
      const now = () => {
        this.#ends.delete(key);
        this.#end(address, ports, clients);
      };
      this.#ends.set(key, { timer: setTimeout(now, timeoutMs), now });
    }
  }

  /** Everything ends now. */
  all(): void {
    for (const { timer, now } of this.#ends.values()) {
      clearTimeout(timer);
      now();
    }
  }
}
