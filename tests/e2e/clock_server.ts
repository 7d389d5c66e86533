/**
 * `openme serve` with a wall clock that a test moves: everything is real, only the clock handed to the server is off by
 * as many milliseconds as the last line on standard input says. Nobody touches the machine's clock.
 *
 * Arguments: the configuration file, and the first offset. Prints `clock OFFSET` for each line.
 */

import { loadServerConfig } from "../../lib/cli/load.ts";
import { createNftBackend } from "../../lib/firewall/nft.ts";
import { createLog } from "../../lib/log.ts";
import { runProgram } from "../../lib/run_program.ts";
import { guardPlanOf, runServer } from "../../lib/server.ts";
import { bootClock } from "../../lib/system_clock.ts";
import { bindKnockSocket } from "../../lib/udp.ts";

let offsetMs = Number(Deno.args[1]);

async function followStdin(): Promise<void> {
  for await (const chunk of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
    offsetMs = Number(chunk.trim());
    Deno.stdout.writeSync(new TextEncoder().encode(`clock ${offsetMs}\n`));
  }
}

if (import.meta.main) {
  const { config } = await loadServerConfig(Deno.args[0] ?? "");
  Deno.mkdirSync(config.stateDir, { recursive: true, mode: 0o700 });
  const { now, bootId } = await bootClock(runProgram);
  const controller = new AbortController();
  Deno.addSignalListener("SIGTERM", () => controller.abort());
  followStdin();
  await runServer({
    config,
    socket: await bindKnockSocket(config.udpPort, runProgram),
    backend: createNftBackend(guardPlanOf(config), runProgram),
    stateDir: config.stateDir,
    clock: {
      bootId,
      now: () => {
        const { wallNs, steadyMs } = now();
        return { wallNs: wallNs + BigInt(offsetMs) * 1_000_000n, steadyMs };
      },
    },
    log: createLog({
      level: "debug",
      format: "logfmt",
      now: () => new Date(Date.now() + offsetMs),
      write: (line) => Deno.stderr.writeSync(new TextEncoder().encode(`${line}\n`)),
    }),
    signal: controller.signal,
  });
  Deno.exit();
}
