/**
 * Guards of openme's that the configured firewall does not take over: they go on closing ports to everyone, also to
 * those whom it lets in.
 */

import { isBackendName } from "../../firewall/plan.ts";
import type { Backend } from "../../firewall/backend.ts";
import { BACKENDS } from "../../firewall/catalog.ts";
import { type Firewall, standingGuards } from "../../firewall/orphans.ts";
import type { RunProgram } from "../../system/run_program.ts";

/** One of them, in words. */
export interface GuardInTheWay {
  readonly firewall: Firewall;
  readonly why: string;
  readonly hint: string;
}

/** Finds them; none where the backend takes out what it finds. */
export async function guardsInTheWay(
  { name }: Backend,
  run: RunProgram,
): Promise<GuardInTheWay[]> {
  if (isBackendName(name) && BACKENDS[name].clearsLeftOvers) return [];
  return (await standingGuards(run)).map(({ firewall, livingPid }) => ({
    firewall,
    why:
      `a guard of openme's stands in ${firewall}, and may close ports to everyone: ${name} neither sees it nor takes it out`,
    hint: livingPid === undefined
      ? "openme uninstall takes it out, while no openme serve runs"
      : `it belongs to another openme serve, process ${livingPid}: stop that one`,
  }));
}
