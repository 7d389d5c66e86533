/**
 * SIGUSR1: stop for another `serve` that follows at once, as a restart by systemd and an upgrade of the package do. The
 * guard stays whatever `on_stop` says, so the ports are never open in between, and grants go on.
 */

/** Aborts on SIGUSR1. On Windows there is no such signal. */
export function restartSignal(): AbortSignal {
  const controller = new AbortController();
  if (Deno.build.os !== "windows") {
    Deno.addSignalListener("SIGUSR1", () => controller.abort());
  }
  return controller.signal;
}
