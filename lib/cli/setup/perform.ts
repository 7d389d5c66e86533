/** Does the steps of `openme setup`. */

import { dirname } from "node:path";
import { isOwnName } from "../../state/names.ts";
import type { RunProgram } from "../../system/run_program.ts";
import { removeWritten, replaceFile } from "../../system/write_file.ts";
import { messageOf } from "../../values/errors.ts";
import { escapeUnprintable } from "../../values/text.ts";
import { commandOf, type Step } from "./steps.ts";
import { writeUnits } from "./units.ts";

/** A stop may wait for a firewall program that hangs, and the unit gives it 30 s. */
const SYSTEMCTL_MS = 90_000;

/** What steps are done with. */
export interface Tools {
  readonly run: RunProgram;
  /** Runs a command of openme; throws where it fails. */
  readonly openme: (argv: readonly [command: string, ...args: string[]]) => Promise<void>;
  readonly tell: (line: string) => void;
}

/** Says each step as a command, and does it. Throws where one fails. */
export async function perform(steps: readonly Step[], tools: Tools): Promise<void> {
  for (const step of steps) {
    tools.tell(`+ ${escapeUnprintable(commandOf(step))}`);
    await performOne(step, tools);
  }
}

/** Does every step, whether or not others fail, and tells nothing meanwhile; gives the failures, in words. */
export async function performAll(steps: readonly Step[], tools: Tools): Promise<string[]> {
  const failures: string[] = [];
  for (const step of steps) {
    await performOne(step, tools).catch((cause) => failures.push(messageOf(cause)));
  }
  return failures;
}

async function performOne(step: Step, { run, openme }: Tools): Promise<void> {
  switch (step.kind) {
    case "run": {
      const [program, ...args] = step.argv;
      const running = run({ program, args, timeoutMs: SYSTEMCTL_MS });
      await (step.mayFail ? running.catch(() => {}) : running);
      return;
    }
    case "openme":
      return await openme(step.argv);
    case "units":
      await writeUnits(step.folder);
      return;
    case "write":
      await Deno.mkdir(dirname(step.path), { recursive: true, mode: 0o755 });
      await replaceFile(step.path, step.text);
      return await Deno.chmod(step.path, 0o644); // systemctl cat is for everyone
    case "remove":
      for (const path of step.paths) await removeWritten(path);
      return;
    case "remove_state":
      return await removeState(step.folder);
    case "remove_folder":
      await Deno.remove(step.folder).catch((cause) => {
        if (!isNotEmpty(cause)) requireMissing(cause);
      });
  }
}

/** Only what openme keeps there: the folder may be another's, too. */
async function removeState(folder: string): Promise<void> {
  try {
    for await (const { name, isDirectory } of Deno.readDir(folder)) {
      if (isOwnName(name)) await Deno.remove(`${folder}/${name}`, { recursive: isDirectory });
    }
    await Deno.remove(folder);
  } catch (cause) {
    if (!isNotEmpty(cause)) requireMissing(cause);
  }
}

function requireMissing(cause: unknown): void {
  if (!(cause instanceof Deno.errors.NotFound)) throw cause;
}

function isNotEmpty(cause: unknown): boolean {
  return (cause as { code?: unknown } | undefined)?.code === "ENOTEMPTY";
}
