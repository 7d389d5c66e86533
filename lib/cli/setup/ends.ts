/** The two ends of a setup: everything stays, or everything is put back. Each may be begun anew after a crash. */

import { messageOf, OpenmeError } from "../../values/errors.ts";
import { commandOf, keepingSteps, lastUndoSteps, undoSteps } from "./steps.ts";
import { perform, performAll, type Tools } from "./perform.ts";
import { endRecord, type Record, restoreRecord } from "./record.ts";

/** Makes a confirmed server permanent. Where that fails, the server goes on, until the next boot. */
export async function keep(record: Record, tools: Tools): Promise<void> {
  try {
    await perform(keepingSteps(record), tools);
    await endRecord(record);
  } catch (cause) {
    throw new OpenmeError("STATE", `the server runs, but does not stay: ${messageOf(cause)}`, {
      hint: "set that right and run openme setup again: it does the rest",
      cause,
    });
  }
}

/** What taking back did. */
export interface TakenBack {
  readonly commands: readonly string[];
  /** In words. The record is left where there are any, so that it can be tried again. */
  readonly failures: readonly string[];
}

/**
 * Takes everything back and tells nothing meanwhile: a terminal that takes no more output would hold it up. What tells is
 * for afterwards. The record's stage must be `begun`: where this is killed, it is gone on with.
 */
export async function takeBack(record: Record, tools: Tools): Promise<TakenBack> {
  const steps = undoSteps(record);
  const failures = await performAll(steps, tools);
  const commands = steps.map(commandOf);
  if (failures.length > 0) return { commands, failures };
  if (record.earlier) {
    await restoreRecord(record.earlier);
    return { commands, failures };
  }
  const last = lastUndoSteps(record);
  return {
    commands: [...commands, ...last.map(commandOf)],
    failures: await performAll(last, tools),
  };
}
