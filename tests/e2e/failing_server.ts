/**
 * A server that fails from within, with real nft: once it listens, it waits for a line on standard input, and then does
 * what its second argument says. The first one is the configuration file.
 */

import { loadServerConfig } from "../../lib/cli/load.ts";
import { createNftBackend } from "../../lib/firewall/nft/backend.ts";
import { createLog } from "../../lib/system/log.ts";
import { runProgram } from "../../lib/system/run_program.ts";
import { runServer } from "../../lib/server.ts";
import { guardPlanOf } from "../../lib/config/guard_plan.ts";
import { bootClock } from "../../lib/system/clock.ts";
import { Intake } from "../../lib/receive/intake.ts";
import { bindKnockSocket, type KnockSocket, wildcards } from "../../lib/receive/socket.ts";
import { CurrentStamps } from "../../lib/receive/stamps.ts";

/** The ways to fail. */
export const FAILURES = ["listen throws", "listen ends", "uncaught error", "rejection"] as const;

if (import.meta.main) {
  const { config } = await loadServerConfig(Deno.args[0] ?? "");
  const failure = Deno.args[1];
  Deno.mkdirSync(config.stateDir, { recursive: true, mode: 0o700 });
  const socket = bindKnockSocket(config.udpPort, await wildcards(runProgram));
  const clock = await bootClock(runProgram);
  const wake = Promise.withResolvers<void>();
  const stamps = new CurrentStamps(config, clock.now());
  const failing: KnockSocket = {
    ...socket,
    listen: async (take, signal) => {
      const listening = socket.listen(take, signal);
      await Promise.race([listening, wake.promise]);
      if (failure === "listen throws") throw new Error("as told");
      if (failure === "listen ends") return;
      await listening;
    },
  };
  await runServer({
    config,
    knocks: (sink) => new Intake(config, { socket: failing, stamps, clock, sink }),
    backend: createNftBackend(guardPlanOf(config), runProgram),
    stateDir: config.stateDir,
    stamps,
    clock,
    log: createLog({
      level: "info",
      format: "logfmt",
      now: () => new Date(),
      write: (line) => Deno.stderr.writeSync(new TextEncoder().encode(`${line}\n`)),
    }),
    signal: new AbortController().signal,
    onListening: () => {
      Deno.stdin.read(new Uint8Array(1)).then(() => {
        wake.resolve();
        if (failure === "rejection") Promise.reject(new Error("as told"));
        if (failure === "uncaught error") {
          setTimeout(() => {
            throw new Error("as told");
          });
        }
      });
    },
  });
}
