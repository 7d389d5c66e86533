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

  /**
   * Loads what it takes, and listens. An address that cannot be had is told, and must not keep the server from starting,
   * and with it everyone out: any local user can take a port while the server restarts.
   */
  static async open(parts: MetricsPortParts): Promise<MetricsPort> {
    const port = new MetricsPort(parts, await loadMetrics());
    await port.#listen().catch((cause) => port.#complain(cause, RETRY_MS.first));
    if (parts.address.transport === "tcp") port.#keepListening();
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
    // Its own file alone, which may be gone, or is replaced by the next server.
    if (address.transport === "unix" && this.#listening) {
      await Deno.remove(address.path).catch(() => {});
    }
  }

  /** Throws `OpenmeError` where the address cannot be had. */
  async #listen(): Promise<void> {
    const { address, start } = this.#parts;
    const render = () => this.#render();
    try {
      // A Unix socket is no network's, and root says who may open its file: this process serves it.
      const listening = !start || address.transport === "unix"
        ? serveMetrics([await bindMetrics(address)], render)
        : await listenForMetrics({ address, render, process: await start() });
      if (this.#end.signal.aborted) listening.close();
      this.#listening = listening;
    } catch (cause) {
      const text = `cannot listen on server.metrics ${formatMetricsAddress(address)}`;
      throw new OpenmeError("SOCKET", `${text}: ${messageOf(cause)}`, {
        hint: address.transport === "tcp"
          ? `see who listens there: ss -ltnp sport = :${address.port}; or name another address`
          : "make its folder, or name another path",
        cause,
      });
    }
  }

  /** Listens again whenever that has ended or failed, until the port is closed. */
  async #keepListening(): Promise<void> {
    const { signal } = this.#end;
    let retryMs = RETRY_MS.first;
    // This process's own listening ends with the port alone.
    while (!signal.aborted && (!this.#listening || this.#listening.ended)) {
      const startedMs = performance.now();
      await this.#listening?.ended;
      if (signal.aborted) return;
      if (performance.now() - startedMs > LIVED_MS) retryMs = RETRY_MS.first;
      if (this.#listening) {
        this.#complain(new Error("the process that listens has ended"), retryMs);
      }
      this.#listening = undefined;
      await pause(retryMs, signal);
      if (signal.aborted) return;
      retryMs = Math.min(2 * retryMs, RETRY_MS.most);
      await this.#listen().catch((cause) => this.#complain(cause, retryMs));
    }
  }

  #complain(cause: unknown, retryMs: number): void {
    this.#parts.log.warn("metrics_unavailable", {
      address: formatMetricsAddress(this.#parts.address),
      ...errorFields(cause),
      // To bind a Unix socket takes a permission that is given up by then.
      doing: this.#parts.address.transport === "tcp"
        ? `trying again in ${formatDuration(retryMs)}`
        : "going on without metrics until a restart",
    });
  }
}
