/** Passes on what the server tells its observer, to the metrics that count it. */

import type { Observer } from "../receive/observer.ts";

type Counting = (reason: string, datagrams: number) => void;

/** The one observer of a server, with listeners of its own. */
export class Told implements Observer {
  readonly #dropped: Counting[] = [];
  readonly #kernelDropped: Counting[] = [];
  readonly #logged = new Map<string, (() => void)[]>();

  onDropped(listener: Counting): void {
    this.#dropped.push(listener);
  }

  onKernelDropped(listener: Counting): void {
    this.#kernelDropped.push(listener);
  }

  /** `listener` is called for each event of this name. */
  onLogged(event: string, listener: () => void): void {
    this.#logged.set(event, [...this.#logged.get(event) ?? [], listener]);
  }

  readonly dropped: Counting = (reason, datagrams) => {
    for (const tell of this.#dropped) tell(reason, datagrams);
  };

  readonly kernelDropped: Counting = (reason, datagrams) => {
    for (const tell of this.#kernelDropped) tell(reason, datagrams);
  };

  readonly logged = (event: string): void => {
    for (const tell of this.#logged.get(event) ?? []) tell();
  };
}
