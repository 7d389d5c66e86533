/** Waiting for several runs of a firewall's programs. */

/** What one of them threw, but not before all have ended: whoever puts things right must not be overtaken by the rest. */
export async function allEnded(runs: readonly Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(runs)).find(({ status }) => status === "rejected");
  if (failed) throw (failed as PromiseRejectedResult).reason;
}
