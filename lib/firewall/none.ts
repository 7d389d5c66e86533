/**
 * Backends that touch nothing: `firewall: none`, and the configured one as `openme plan` and `serve --dry-run` run it. That
 * one looks at the host as ever; what would change it is shown and not run.
 */

import type { PortRange } from "../values/ports.ts";
import { OpenmeError } from "../values/errors.ts";
import type { ProgramRun, RunProgram } from "../system/run_program.ts";
import type { Backend, BackendParts, OpenPorts } from "./backend.ts";
import { isOwnerQuestion } from "./owner.ts";
import type { GuardPlan } from "./plan.ts";
import { hostFirewall } from "./host/summary.ts";

const nothing = () => Promise.resolve();

/** What nothing stands of. */
const IDLE = {
  name: "none",
  endsByKernel: true,
  isIntact: () => Promise.resolve(true),
  examine: () => Promise.resolve(undefined),
  list: () => Promise.resolve([]),
};

/** A backend that does nothing; for `firewall: none`. */
export function createNoneBackend(plan: GuardPlan, run: RunProgram): Backend {
  let guardedPorts = plan.guardedPorts;
  return {
    ...IDLE,
    install: nothing,
    apply: nothing,
    remove: nothing,
    leave: nothing,
    reconfigure: (plan) => guardedPorts = plan.guardedPorts,
    openToEveryone: async (): Promise<OpenPorts | undefined> => {
      const ports: readonly PortRange[] = (await hostFirewall(run)).openOf(guardedPorts);
      if (ports.length === 0) return undefined;
      return {
        ports,
        why: "firewall: none closes nothing, and this host's own firewall lets everyone in to them",
        hint: "set firewall: auto and drop_ports: true, and openme closes them itself",
      };
    },
  };
}

/** The parts of a backend that gives every command that would change something to `show`, and keeps nothing. */
export function showingParts(parts: BackendParts, show: (text: string) => void): BackendParts {
  return {
    ...parts,
    run: (each) => {
      if (each.changes || each.stdin !== undefined) {
        show(showRun(each));
        return Promise.resolve("");
      }
      // A serve that runs does not stand in the way, and what is shown belongs to no process.
      if (isOwnerQuestion(each)) return Promise.reject(new OpenmeError("COMMAND", "not asked"));
      return parts.run(each);
    },
    stateDir: undefined,
    quickSets: undefined,
    // They are others every minute, and the server puts them in.
    stamps: undefined,
    // No list shows what was not run.
    command: parts.command && { open: parts.command.open, close: parts.command.close },
  };
}

/** A backend of {@linkcode showingParts} for the server: of all that it shows nothing stands. */
export function createDryBackend(shown: Backend): Backend {
  return {
    ...IDLE,
    install: (openings) => shown.install(openings),
    apply: (changes) => shown.apply(changes),
    remove: () => shown.remove(),
    leave: () => shown.leave(),
    reconfigure: (plan) => shown.reconfigure(plan),
    openToEveryone: () => shown.openToEveryone(),
  };
}

/** A command as a person would type it. */
function showRun({ program, args, stdin }: ProgramRun): string {
  const line = [program, ...args].map((each) =>
    /^[\w./:,=@%+-]+$/.test(each) ? each : `'${each.replaceAll("'", `'\\''`)}'`
  ).join(" ");
  return stdin === undefined ? `${line}\n` : `${line} <<'END'\n${stdin}END\n`;
}
