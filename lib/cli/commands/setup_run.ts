/** The steps of `openme setup` in their order, and the way back from each. */

import type { HistoryEntry } from "../../state/read.ts";
import { OpenmeError } from "../../values/errors.ts";
import { shownPorts } from "../../values/ports.ts";
import { escapeUnprintable, quote } from "../../values/text.ts";
import type { Arguments, Context } from "../context.ts";
import { loadServerConfig } from "../load.ts";
import type { Introduction } from "../setup/client.ts";
import { decide } from "../setup/decide.ts";
import { keep } from "../setup/ends.ts";
import {
  isSetUp,
  isThere,
  lockSetup,
  lookAround,
  lookAtUnits,
  reasonInLog,
  startWatch,
  toBeMade,
} from "../setup/host.ts";
import { perform, type Tools } from "../setup/perform.ts";
import { advanceRecord, beginRecord, readRecord } from "../setup/record.ts";
import { type Made, PLACES, preparingSteps, SERVER_UNIT, trialSteps } from "../setup/steps.ts";
import { noKnockError, spanOf, waitForKnock, waitForServer, waitUntil } from "../setup/wait.ts";
import { sheltered, toolsFor } from "./setup_tools.ts";
import { endHalfSetup, giveUp, requireUntouched } from "./setup_undo.ts";

/** What the whole of it goes by. */
interface Run {
  readonly context: Context;
  readonly tools: Tools;
  /** Aborts where a person, a dead session or a shutdown ends setup. */
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
}

export async function setUp(
  args: Arguments,
  given: Context,
  { program, timeoutMs }: { program: string; timeoutMs: number },
): Promise<number> {
  const { context, signal } = sheltered(given);
  using _lock = await lockSetup();
  await requireUntouched(context.run);
  // From here on the watch puts everything back, or does the rest, if this process is killed.
  await startWatch(program, context.run);
  const tools = toolsFor(context, context.stderr);
  await endHalfSetup(context, tools);
  const found = await lookAround(context.run);
  if (isSetUp(found)) {
    context.stderr("openme: this host is set up already: nothing has changed");
    context.stderr(
      "openme: hint: another client: openme add NAME; the way back: openme setup --undo",
    );
    return 0;
  }
  if (found.config?.onStop === "open") {
    context.stderr(
      "openme: hint: on_stop: closed in the configuration keeps the ports closed while the machine shuts down",
    );
  }
  const { server, introduction } = await decide(args, found, { context, signal });
  signal.throwIfAborted();
  context.stderr("");
  const profiles = introduction?.file === undefined ? [] : [absolute(introduction.file)];
  profiles.forEach(requireMissing);
  const made = toBeMade(found, profiles);

  const record = await beginRecord(made, await readRecord());
  const run = { context, tools, signal, timeoutMs };
  let knock: HistoryEntry | undefined;
  try {
    await perform(preparingSteps(made, server), tools);
    if (!made.ranBefore) {
      const waits = args.values["no-wait"] !== true;
      knock = await tryOut(introduction, { ...run, made, stateDir: found.stateDir, waits });
    }
    signal.throwIfAborted();
    // In this order: whoever dies in between, the rest is done, since a knock has opened.
    await advanceRecord(record, "confirmed");
    if (!made.ranBefore) await perform([{ kind: "openme", argv: ["confirm"] }], tools);
  } catch (cause) {
    throw await giveUp(record, signal.aborted ? signal.reason : cause, context);
  }
  await keep(record, tools);
  await tellDone(knock, context);
  return 0;
}

/** Starts the server on trial, and waits for the knock of a client that opens. */
async function tryOut(
  introduction: Introduction | undefined,
  { made, stateDir, waits, ...run }: Run & { made: Made; stateDir: string; waits: boolean },
): Promise<HistoryEntry | undefined> {
  const { context, tools, signal, timeoutMs } = run;
  if (introduction) await introduceClient(introduction, run);
  signal.throwIfAborted();
  const sinceMs = Date.now();
  try {
    await perform(trialSteps(spanOf(timeoutMs), made), tools);
    const isActive = async () =>
      (await lookAtUnits(context.run)).get(SERVER_UNIT)?.isActive === true;
    await waitForServer(stateDir, { isActive, signal });
  } catch (cause) {
    const reason = await reasonInLog(sinceMs, context.run);
    if (reason === undefined) throw cause;
    throw new OpenmeError("STATE", `the server did not start: ${reason}`, {
      hint: "all it says: journalctl -u openme -n 20",
      cause,
    });
  }
  if (!waits) return undefined;
  context.stderr(
    "openme: the ports are closed now, but for the sessions that are open: waiting for a knock",
  );
  if (!introduction?.atClient) {
    context.stderr("openme: at a client that has its profile: openme knock --check");
  }
  return await waitForKnock(stateDir, { sinceMs, timeoutMs, signal });
}

/** Registers the client, or waits until it has done so and has its profile. */
async function introduceClient(
  { add, atClient, file }: Introduction,
  { context, tools, signal, timeoutMs }: Run,
): Promise<void> {
  const { config: { udpPort, clients } } = await loadServerConfig(PLACES.config);
  context.stderr(
    `openme: knocks come to UDP port ${udpPort}: open it in your provider's firewall (security group), if there is one`,
  );
  if (add) await perform([{ kind: "openme", argv: add }], tools);
  if (atClient === undefined) return;
  context.stderr(`openme: type this at the client, within ${spanOf(timeoutMs)}:\n`);
  context.stderr(`${escapeUnprintable(atClient)}\n`);
  context.stderr("openme: waiting for it; Ctrl-C puts everything back");
  const known = clients.length;
  const hasProfile = async () => {
    if (file !== undefined) return isThere(file) ? undefined : true;
    const loaded = await loadServerConfig(PLACES.config).catch(() => undefined);
    return loaded && loaded.config.clients.length > known ? true : undefined;
  };
  if (await waitUntil(hasProfile, { timeoutMs, signal })) return;
  throw noKnockError(timeoutMs, "no client fetched its profile");
}

async function tellDone(knock: HistoryEntry | undefined, { stderr }: Context): Promise<void> {
  const { config } = await loadServerConfig(PLACES.config);
  if (knock) {
    const ports = shownPorts(knock.ports, config.healthPort).join(" ");
    const who = escapeUnprintable(`${knock.client} was let in from ${knock.address} to ${ports}`);
    stderr(`openme: it works: ${who}. It stays, also after a reboot`);
  } else stderr("openme: it stays, also after a reboot");
  stderr("openme: the way back: openme setup --undo");
}

/** What setup makes is removed where all is put back. */
function requireMissing(path: string): void {
  if (!isThere(path)) return;
  throw new OpenmeError("STATE", `${quote(path, 1000)} is there already`, {
    hint: "move it away, or name another file with --out",
  });
}

function absolute(path: string): string {
  return path.startsWith("/") ? path : `${Deno.cwd()}/${path}`;
}
