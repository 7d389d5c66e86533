/** `openme setup --undo`, and what puts back a setup that ended in the middle. */

import { loadServerConfig } from "../load.ts";
import type { RunProgram } from "../../system/run_program.ts";
import { messageOf, OpenmeError } from "../../values/errors.ts";
import { escapeUnprintable } from "../../values/text.ts";
import { type Arguments, type Command, type Context } from "../context.ts";
import { keep, takeBack, type TakenBack } from "../setup/ends.ts";
import { isThere, lockSetup, lookAtUnits, outliveSetup, startWatch } from "../setup/host.ts";
import { performAll, type Tools } from "../setup/perform.ts";
import { advanceRecord, readRecord, type Record } from "../setup/record.ts";
import { lastUndoSteps, PLACES, SERVER_UNIT } from "../setup/steps.ts";
import { ask, ownTerminal, stoppedError } from "../setup/terminal.ts";
import { sheltered, toolsFor } from "./setup_tools.ts";

/** `openme setup --undo`. `program` is the path of openme. */
export async function undo(
  args: Arguments,
  given: Context,
  { program }: { program: string },
): Promise<number> {
  const { context, signal } = sheltered(given);
  using _lock = await lockSetup();
  const record = await readRecord();
  if (!record) {
    context.stderr("openme: nothing to take back: openme setup has made nothing here");
    return 0;
  }
  if (args.values["yes"] !== true) {
    await requireConsent(record, signal);
    context.stderr("");
  }
  await startWatch(program, context.run);
  // A second time where a setup that ended in the middle followed one that was done.
  for (let left: Record | undefined = record; left; left = await readRecord()) {
    // From here on the watch does the rest if this process is killed. A guard of before is the server's own by now.
    if (left.stage !== "begun") {
      left = await advanceRecord({ ...left, guardBefore: false }, "begun");
    }
    const { commands, failures } = await takeBack(left, quietTools(context));
    for (const command of commands) context.stderr(`+ ${escapeUnprintable(command)}`);
    tellFailures(failures, context);
    if (failures.length > 0) return 1;
  }
  context.stderr("openme: everything that setup made is gone, and the ports are as they were");
  if (isThere(PLACES.folder)) {
    context.stderr(
      `openme: ${PLACES.folder} stays: it was there before, or holds more than setup made`,
    );
  }
  return 0;
}

async function requireConsent({ files }: Record, signal: AbortSignal): Promise<void> {
  const clients = await loadServerConfig(PLACES.config)
    .then(({ config }) => config.clients.length, () => 0);
  const loss = files.includes(PLACES.config)
    ? `This server's key goes, and its clients (${clients}) need new profiles. `
    : "";
  const isMeant = await ask(`${loss}Take everything back? yes or no`, {
    fallback: "no",
    read: (answer) => {
      if (/^(y|yes|n|no)$/i.test(answer)) return /^y/i.test(answer);
      throw new OpenmeError("USAGE", "expected yes or no");
    },
  }, ownTerminal(signal));
  if (!isMeant) throw stoppedError();
}

/**
 * Throws where a setup ended in the middle, as by a power cut, and the server was started by hand since: what would be put
 * back is in use.
 */
export async function requireUntouched(run: RunProgram): Promise<void> {
  const record = await readRecord();
  if (record?.stage !== "begun" || record.ranBefore) return;
  const { isActive, isEnabled } = (await lookAtUnits(run)).get(SERVER_UNIT) ?? {};
  const isTrial = isActive === true && isThere(PLACES.trial);
  if (isTrial || !(isActive || (isEnabled && !record.enabledBefore.includes(SERVER_UNIT)))) return;
  throw new OpenmeError("STATE", "an earlier setup ended in the middle, and its server is in use", {
    hint: `keep it: rm ${PLACES.record}; or take everything back: openme setup --undo`,
  });
}

/** Ends a setup that ended in the middle, if there is one. Throws where that fails. */
export async function endHalfSetup(context: Context, tools: Tools): Promise<void> {
  const record = await readRecord();
  if (!record || record.stage === "done") return;
  if (record.stage === "confirmed") {
    context.stderr("openme: an earlier setup ended after its knock: doing the rest of it");
    return await keep(record, tools);
  }
  const { commands, failures } = await takeBack(record, quietTools(context));
  context.stderr("openme: an earlier setup ended in the middle: put back what it had made");
  for (const command of commands) context.stderr(`+ ${escapeUnprintable(command)}`);
  if (failures.length === 0) return;
  tellFailures(failures, context);
  throw new OpenmeError("STATE", "what an earlier setup made could not be put back");
}

/** Puts everything back after a failure, then tells of it. Gives the error to end with. */
export async function giveUp(
  record: Record,
  cause: unknown,
  context: Context,
): Promise<OpenmeError> {
  // What is confirmed would be done to the end, if this process were killed now.
  await advanceRecord(record, "begun").catch(() => {});
  const taken: TakenBack = await takeBack(record, quietTools(context));
  context.stderr("openme: put everything back:");
  for (const command of taken.commands) context.stderr(`+ ${escapeUnprintable(command)}`);
  tellFailures(taken.failures, context);
  const known = cause instanceof OpenmeError ? cause : undefined;
  const end = taken.failures.length === 0
    ? "everything is as it was before"
    : "not all is put back";
  return new OpenmeError(known?.code ?? "STATE", `${messageOf(cause)}; ${end}`, {
    hint: known?.hint,
    cause,
  });
}

function tellFailures(failures: readonly string[], context: Context): void {
  for (const failure of failures) {
    context.stderr(`openme: error: ${escapeUnprintable(failure)}`);
  }
  if (failures.length > 0) context.stderr("openme: hint: openme setup --undo tries again");
}

/** What tells waits for the end: a terminal that takes no more output holds nothing up. */
function quietTools(context: Context): Tools {
  return toolsFor(context, () => {});
}

/** Started by setup as a service of its own: outlives it, and ends what it leaves half done. */
export const setupWatch: Command = {
  about: "Waits for the end of openme setup, and puts back what one that was killed has made.",
  arguments: "[new]",
  parameters: { "new": "the configuration's folder was not there before" },
  example: "openme __setup_watch",
  run: async ({ positionals }, context) => {
    using _lock = await outliveSetup();
    await endHalfSetup(context, toolsFor(context, context.stderr));
    if (await readRecord()) return 0;
    // Killed as it wrote the record.
    const rests = lastUndoSteps({ folder: positionals.length > 0 });
    return (await performAll(rests, quietTools(context))).length === 0 ? 0 : 1;
  },
};
