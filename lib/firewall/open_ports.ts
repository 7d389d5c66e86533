/** Warnings about ports that everyone can reach although openme is there to keep them closed. */

import { errorFields, type Log } from "../system/log.ts";
import { formatPortRange, subtractPortRanges } from "../values/ports.ts";
import type { Backend } from "./backend.ts";
import type { GuardPlan } from "./plan.ts";

/** Ports that openme kept closed and closes no longer: the editor of the file may not mean that. */
export function warnOfPortsLeft(before: GuardPlan, after: GuardPlan, log: Log): void {
  if (!before.dropPorts) return;
  const left = subtractPortRanges(before.guardedPorts, after.dropPorts ? after.guardedPorts : []);
  if (left.length === 0) return;
  log.warn("ports_no_longer_guarded", {
    ports: left.map(formatPortRange).join(","),
    hint: after.dropPorts
      ? "to keep them closed, put them into a group under ports in the configuration"
      : "with drop_ports: false your own firewall has to close them",
  });
}

/** Guarded ports that everyone can reach in spite of the guard. */
export async function warnOfOpenPorts(backend: Backend, log: Log): Promise<void> {
  try {
    const open = await backend.openToEveryone();
    if (!open) return;
    log.warn("ports_open_to_everyone", {
      ports: open.ports.map(formatPortRange).join(","),
      why: open.why,
      hint: open.hint ?? "set drop_ports: true in the configuration, and openme closes them itself",
    });
  } catch (error) {
    log.warn("check_failed", errorFields(error));
  }
}
