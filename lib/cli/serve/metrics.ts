/** The metrics of `serve`: loaded and bound at the start, where the configuration asks for them. */

import { formatMetricsAddress, type MetricsAddress } from "../../config/metrics.ts";
import { bindMetrics, type Render, serveMetrics } from "../../metrics/listener.ts";
import { loadMetrics, type MetricsParts } from "../../metrics/text.ts";
import type { StartedProcess } from "../../separate/process.ts";
import { listenForMetrics } from "../../separate/metrics.ts";
import { pause } from "../../system/clock.ts";
import type { Listening } from "../../system/http.ts";
import { errorFields, type Log } from "../../system/log.ts";
import { formatDuration } from "../../values/duration.ts";
import { messageOf, OpenmeError } from "../../values/errors.ts";

/** How long after the end of its process another one is started: twice as long after each, up to the most. */
const RETRY_MS = { first: 1000, most: 60_000 };
/** A process that has lived so long begins anew with the first pause. */
const LIVED_MS = 60_000;

/** What it takes to listen. */
export interface MetricsPortParts {
  readonly address: MetricsAddress;
  /** Starts a process without rights, which then listens; `undefined` where `serve` is one process. */
  readonly start: (() => Promise<StartedProcess>) | undefined;
  readonly log: Log;
}

/** Metrics that are listened for; requests are answered 503 until {@linkcode MetricsPort.serve}. */
export class MetricsPort {
  readonly #parts: MetricsPortParts;
  readonly #count: (parts: MetricsParts) => Render;
  readonly #end = new AbortController();
  #listening: Listening | undefined;
  #render: Render = () => Promise.resolve(undefined);

  private constructor(parts: MetricsPortParts, count: (parts: MetricsParts) => Render) {
    this.#parts = parts;
    this.#count = count;
  }

  /** Loads what it takes, and listens. Throws `OpenmeError` where the address cannot be had. */
  static async open(parts: MetricsPortParts): Promise<MetricsPort> {
    const port = new MetricsPort(parts, await loadMetrics());
    try {
      await port.#listen();
    } catch (cause) {
      const address = formatMetricsAddress(parts.address);
      throw new OpenmeError(
        "SOCKET",
        `cannot listen on server.metrics ${address}: ${messageOf(cause)}`,
        {
          hint: parts.address.transport === "tcp"
            ? `see who listens there: ss -ltnp sport = :${parts.address.port}; or name another address`
            : "make its folder, or name another path",
          cause,
        },
      );
    }
    return port;
  }

  /** From now on the metrics of this server are counted and served. */
  serve(parts: MetricsParts): void {
    this.#render = this.#count(parts);
  }

  /** Resolves once the address is free. */
  async close(): Promise<void> {
    this.#end.abort();
    this.#listening?.close();
    await this.#listening?.ended;
    const { address } = this.#parts;
    // A file that is gone, or that the next server replaces.
    if (address.transport === "unix") await Deno.remove(address.path).catch(() => {});
  }

  async #listen(): Promise<void> {
    const { address, start } = this.#parts;
    const render = () => this.#render();
    // A Unix socket is no network's, and root says who may open its file: this process serves it.
    if (!start || address.transport === "unix") {
      this.#listening = serveMetrics([await bindMetrics(address)], render);
      return;
    }
    const listen = async () => {
      const listening = await listenForMetrics({ address, render, process: await start() });
      if (this.#end.signal.aborted) listening.close();
      this.#listening = listening;
    };
    await listen();
    this.#keepListening(listen);
  }

  /** Starts another process whenever one has ended, until the port is closed. */
  async #keepListening(listen: () => Promise<void>): Promise<void> {
    const { signal } = this.#end;
    let retryMs = RETRY_MS.first;
    for (let startedMs = performance.now();; startedMs = performance.now()) {
      await this.#listening?.ended;
      if (signal.aborted) return;
      if (performance.now() - startedMs > LIVED_MS) retryMs = RETRY_MS.first;
      this.#listening = undefined;
      this.#complain(new Error("the process that listens has ended"), retryMs);
      await pause(retryMs, signal);
      retryMs = Math.min(2 * retryMs, RETRY_MS.most);
      if (signal.aborted) return;
      await listen().catch((cause) => this.#complain(cause, retryMs));
    }
  }

  #complain(cause: unknown, retryMs: number): void {
    this.#parts.log.warn("metrics_unavailable", {
      address: formatMetricsAddress(this.#parts.address),
      ...errorFields(cause),
      doing: `trying again in ${formatDuration(retryMs)}`,
    });
  }
}
