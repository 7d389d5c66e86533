/** A running server that the tests of metrics play, and the text of its metrics. */

import { parseServerConfig } from "../../lib/config/server.ts";
import type { Grant } from "../../lib/grants.ts";
import { loadMetrics } from "../../lib/metrics/text.ts";
import type { Observer } from "../../lib/receive/observer.ts";
import type { Opened } from "../../lib/receive/reporter.ts";
import type { Running } from "../../lib/server.ts";
import { address, grantOf, must } from "../support/knocks.ts";
import { serverYaml } from "../support/server_yaml.ts";
import { StillClock } from "../support/still_clock.ts";

/** Plays one; disposing of it ends its timer. */
export class Played implements Disposable {
  readonly clock = new StillClock();
  readonly grants: Grant[] = [];
  condition = { isSound: true, waiting: 0 };
  observer!: Observer;
  #opened: (opened: Opened) => void = () => {};
  readonly #end = new AbortController();
  #render!: () => Promise<string | undefined>;

  static async start(server: string[] = []): Promise<Played> {
    const played = new Played();
    const config = parseServerConfig(serverYaml({ server }), "server.yaml");
    const running = {
      config: () => config,
      grants: () => played.grants,
      condition: () => played.condition,
      observe: (observer) => played.observer = observer,
      onOpened: (listener) => played.#opened = listener,
    } as Partial<Running> as Running;
    const { clock } = played;
    played.#render = (await loadMetrics())({
      ...{ running, clock, signal: played.#end.signal },
      fleet: () => ({
        isUp: true,
        roundTripMs: 2,
        lagMs: 3,
        hosts: [{ host: "b.example", lagMs: null, aheadMs: -1500 }],
      }),
    });
    return played;
  }

  /** A knock that opened a grant after so many ms. */
  open(client: string, { renewed = false, tookMs = 0 } = {}): void {
    const now = this.clock.now();
    const endsSteadyMs = now.steadyMs + 30_000;
    const grant = grantOf(client, "198.51.100.20", { endsSteadyMs });
    if (!renewed) this.grants.push(grant);
    const knockedAt = { ...now, steadyMs: now.steadyMs - tookMs };
    this.#opened({ grant, renewed, source: address("192.0.2.9"), lifetimeMs: 30_000, knockedAt });
  }

  /** The text; a little later than the one before, which serves some requests. */
  async text(): Promise<string> {
    this.clock.steadyMs += 1000;
    this.clock.wallNs += 1_000_000_000n;
    return must(await this.#render());
  }

  /** Each series of the text and its value, without help and types. */
  async series(): Promise<Map<string, number>> {
    const lines = (await this.text()).split("\n").filter((line) => /^\w/.test(line));
    return new Map(lines.map((line) => {
      const end = line.lastIndexOf(" ");
      return [line.slice(0, end), Number(line.slice(end + 1))];
    }));
  }

  [Symbol.dispose](): void {
    this.#end.abort();
  }
}
