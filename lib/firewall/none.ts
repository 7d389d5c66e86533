/**
 * The backend that touches nothing: openme decides and logs. `serve --dry-run` puts it before the configured backend,
 * to show what that one would have run.
 */

import { formatNetwork, type Network } from "../network.ts";
import { formatPortRange, type PortRange } from "../ports.ts";
import type { Backend, ClientOpenings } from "./backend.ts";

/** A backend that does nothing; with `shown`, gives its text for everything that would be run to `show`. */
export function createNoneBackend(
  { shown, show = () => {} }: { shown?: Backend; show?: (text: string) => void } = {},
): Backend {
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
    openToEveryone: () => Promise.resolve(undefined),
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
