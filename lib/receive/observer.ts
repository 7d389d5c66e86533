/** Who counts what the server does, such as the metrics. */

/** Is told of everything, also where the log bounds or leaves out lines. Must not throw, and must be quick. */
export interface Observer {
  /** An event of the log, by its name. */
  readonly logged: (event: string) => void;
  /** So many datagrams opened nothing. `backend`: the firewall refused what a knock was granted. */
  readonly dropped: (reason: string, datagrams: number) => void;
  /** The kernel has dropped so many more datagrams. */
  readonly kernelDropped: (reason: string, datagrams: number) => void;
}
