/** Whether systemd runs the server here, as packaging/openme.service has it. */

import type { RunProgram } from "../system/run_program.ts";

export const UNIT = "openme.service";

/** What systemd says of the unit. */
export interface Unit {
  /** `active`, `inactive`, `failed`, `activating` … */
  readonly state: string;
  /** 0 where none runs. */
  readonly mainPid: number;
}

/** `undefined` where there is no systemd, or no such unit. */
export async function unitOf(run: RunProgram): Promise<Unit | undefined> {
  const text = await run({
    program: "systemctl",
    args: ["show", UNIT, "--property=LoadState,ActiveState,MainPID"],
    timeoutMs: 5000,
  }).catch(() => "");
  const valueOf = (name: string) => new RegExp(`^${name}=(.*)$`, "m").exec(text)?.[1];
  if (valueOf("LoadState") !== "loaded") return undefined;
  return { state: valueOf("ActiveState") ?? "unknown", mainPid: Number(valueOf("MainPID") ?? 0) };
}
