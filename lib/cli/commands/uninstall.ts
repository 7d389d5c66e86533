/** `openme uninstall`: removes every rule and hole of openme, also those that a crash left. */

import { join } from "node:path";
import { messageOf, OpenmeError } from "../../values/errors.ts";
import { BACKENDS } from "../../firewall/catalog.ts";
import { standingGuards } from "../../firewall/orphans.ts";
import { DEFAULT_MARK } from "../../config/firewall.ts";
import { DEFAULT_STATE_DIR, type ServerConfig } from "../../config/server.ts";
import { guardPlanOf } from "../../config/guard_plan.ts";
import type { RunProgram } from "../../system/run_program.ts";
import { recordGuard } from "../../state/guard_record.ts";
import { isLocked } from "../../state/lock.ts";
import { DATABASE_NAME } from "../../state/names.ts";
import { type BackendName, type GuardPlan, isBackendName } from "../../firewall/plan.ts";
import { type Command, configPath, type Context, logOf, STATE_DIR, textFlag } from "../context.ts";
import { loadServerConfig } from "../load.ts";

/** A plan that guards nothing: a backend needs no more to remove its rules. */
const NO_PLAN: GuardPlan = {
  knockPort: 1,
  guardedPorts: [],
  forwardedPorts: [],
  dropPorts: false,
  closedAs: "drop",
  openKnockPort: false,
  onlyStampedKnocks: false,
  interface: undefined,
  mark: DEFAULT_MARK,
  prefixes: [],
  lifetimeMs: 0,
};

export const uninstall: Command = {
  about:
    `Removes every rule, table and hole of openme from this host's firewalls, also what a crash left.
Ports are then as open as they were without openme. Configuration, keys and state stay where they
are.`,
  parameters: STATE_DIR,
  example: "sudo systemctl disable --now openme openme-guard && sudo openme uninstall",
  run: async (args, context) => {
    const given = textFlag(args, "state-dir");
    const config = await readConfig(configPath(args), given, context);
    const stateDir = given ?? config?.stateDir ?? DEFAULT_STATE_DIR;
    if (isLocked(stateDir)) throw runningError();
    // A serve with another state directory: its rules name its process.
    const guards = await standingGuards(context.run);
    for (const { livingPid } of guards) {
      if (livingPid !== undefined) throw runningError(livingPid);
    }
    const log = logOf(args, context);
    let failed = false;
    let denied = false;
    const cleared: string[] = [];
    for (const name of Object.keys(BACKENDS).filter(isBackendName)) {
      if (!await isPresent(name, { config, run: context.run })) continue;
      try {
        const backend = await BACKENDS[name].make({
          plan: config && name === config.firewall ? guardPlanOf(config) : NO_PLAN,
          run: context.run,
          log,
          stateDir,
          command: config?.command,
        });
        await backend.remove();
        cleared.push(name);
      } catch (error) {
        failed = true;
        context.stderr(`openme: error: ${name}: ${messageOf(error)}`);
        denied ||= /permission denied|not permitted/i.test(messageOf(error));
      }
    }
    if (!failed) {
      forgetGuard(stateDir);
      for (const { firewall } of guards) context.stderr(`openme: removed the guard in ${firewall}`);
    }
    if (denied) context.stderr("openme: hint: firewalls are root's to change: try sudo");
    else if (cleared.length > 0) {
      context.stderr(`openme: nothing of openme's is left in ${cleared.join(", ")}`);
    } else if (!failed) {
      context.stderr("openme: no firewall that openme drives works here");
    }
    return failed ? 1 : 0;
  },
};

/** Records that no guard stands. Best effort: a roll-back puts back only a guard that it finds standing. */
function forgetGuard(stateDir: string): void {
  try {
    Deno.statSync(join(stateDir, DATABASE_NAME));
    recordGuard(stateDir, "");
  } catch {
    // There is no database, or it cannot be written.
  }
}

function runningError(pid?: number): OpenmeError {
  const process = pid === undefined ? "" : `, process ${pid}`;
  return new OpenmeError(
    "STATE",
    `openme serve is running${process}, and would put its rules back`,
    { hint: "stop it first: systemctl disable --now openme openme-guard" },
  );
}

/**
 * The configuration; `undefined` where there is none, for it may be gone already. One with a mistake in it hides which
 * `serve` may be running and what `firewall: command` opened, so it needs `--state-dir`.
 */
async function readConfig(
  path: string,
  stateDir: string | undefined,
  { stderr }: Context,
): Promise<ServerConfig | undefined> {
  try {
    return (await loadServerConfig(path)).config;
  } catch (error) {
    const { cause } = error as Error;
    if (cause instanceof Deno.errors.NotFound) return undefined;
    if (stateDir === undefined) {
      if (cause instanceof Deno.errors.PermissionDenied) throw error;
      throw new OpenmeError("CONFIG", messageOf(error), {
        hint: "set that right, or go on without it: openme uninstall --state-dir DIR",
      });
    }
    stderr(`openme: warning: ${messageOf(error)}: what firewall: command opened stays open`);
    return undefined;
  }
}

/** Whether there may be rules of openme. A firewall whose program does not run holds none. */
async function isPresent(
  name: BackendName,
  { config, run }: { config: ServerConfig | undefined; run: RunProgram },
): Promise<boolean> {
  const { leaves } = BACKENDS[name];
  if (leaves === "nothing") return false;
  if (leaves === "where configured") return config?.firewall === name;
  const [program, ...args] = leaves;
  return await run({ program, args, timeoutMs: 5000 }).then(() => true, () => false);
}
