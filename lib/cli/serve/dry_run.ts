/**
 * A dry run: its state in a folder of its own, so that no nonce is spent and no grant is left for the real `serve`, and
 * what it cannot do as the real one would.
 */

import type { ServerConfig } from "../../config/server.ts";
import { diskTroubleOf, messageOf, OpenmeError } from "../../values/errors.ts";
import type { Backend } from "../../firewall/backend.ts";
import { hostFirewall } from "../../firewall/host/summary.ts";
import type { Log } from "../../system/log.ts";
import { escapeUnprintable, quote } from "../../values/text.ts";
import type { RunProgram } from "../../system/run_program.ts";
import { DRY_RUN_PREFIX } from "../../state/names.ts";

/** A folder in the state directory that goes with the run; what a killed run left goes with the next. */
export class DryState implements Disposable {
  readonly dir: string;

  /** The state directory must be locked. */
  constructor(stateDir: string) {
    for (const { name } of Deno.readDirSync(stateDir)) {
      if (name.startsWith(DRY_RUN_PREFIX)) {
        Deno.removeSync(`${stateDir}/${name}`, { recursive: true });
      }
    }
    try {
      this.dir = Deno.makeTempDirSync({ dir: stateDir, prefix: DRY_RUN_PREFIX });
    } catch (cause) {
      const [why, hint] = diskTroubleOf(cause) ??
        [messageOf(cause), "choose another folder with --state-dir"];
      throw new OpenmeError("STATE", `cannot write in ${quote(stateDir, 1000)}: ${why}`, {
        hint,
        cause,
      });
    }
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.dir, { recursive: true });
  }
}

/** The host's own rules may keep knocks out, and no hole is put there: then nothing is ever logged. */
export async function warnOfDroppedKnocks(
  { udpPort, openKnockPort }: ServerConfig,
  { backend, run, log }: { backend: Backend; run: RunProgram; log: Log },
): Promise<void> {
  const standing = await backend.examine().catch(() => undefined);
  // A guard that stands has a way in for them already.
  if (openKnockPort && standing?.wrong.length === 0 && standing.barred.length === 0) return;
  const chains = (await hostFirewall(run)).dropping([
    { protocol: "udp", first: udpPort, last: udpPort },
  ]);
  for (const { family, table, name } of new Set(chains)) {
    log.warn("knocks_dropped", {
      chain: escapeUnprintable(`${family} ${table} ${name}`),
      why:
        "it does not let everyone's knocks in, and a dry run puts no rule there: what it drops is never logged",
      hint: `let udp port ${udpPort} in there for as long as you try it`,
    });
  }
}
