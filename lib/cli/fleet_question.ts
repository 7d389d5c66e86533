/** What a command asks of the other hosts of a fleet, through the running server. */

import type { FleetAnswer, FleetReport } from "../control/requests.ts";
import { askServer } from "../control/socket.ts";
import { escapeUnprintable } from "../values/text.ts";
import type { Context } from "./context.ts";
import { formatTime } from "./flags.ts";

/**
 * The other hosts' answers, and this host's name. Those that have not answered are told on standard error; where the engine
 * does not answer, all of them as `*`.
 */
export async function askFleet(
  stateDir: string,
  request: object,
  { stderr }: Pick<Context, "stderr">,
): Promise<{ readonly host: string; readonly answers: readonly FleetAnswer[] }> {
  const report = await askServer(stateDir, { command: "fleet" }) as FleetReport;
  const { host, hosts, engine } = report;
  const why = `the engine does not answer (${engine.why})`;
  const answers = engine.up
    ? await askServer(stateDir, { command: "ask_fleet", request }) as FleetAnswer[]
    : [{ host: "*", value: null, error: why }];
  if (engine.up && hosts.length === 0) {
    stderr("openme: warning: no other host of the fleet is heard");
  }
  for (const { host, error } of answers) {
    if (error !== null) {
      stderr(`openme: not done: ${escapeUnprintable(host)}: ${escapeUnprintable(error)}`);
    }
  }
  return { host, answers };
}

/** Each host's list of that name; empty where the host has none. */
export function valuesOf<K extends string>(
  answers: readonly FleetAnswer[],
  name: K,
): ({ readonly host: string; readonly error: string | null } & Record<K, Entry[]>)[] {
  return answers.map(({ host, error, value }) => {
    const list = Object(value)[name];
    const entries = Array.isArray(list) ? list.map((each) => Object(each) as Entry) : [];
    return { host, error, [name]: entries } as
      & { host: string; error: string | null }
      & Record<K, Entry[]>;
  });
}

/** An entry of another host's list: anything may stand in it. */
export type Entry = Readonly<Record<string, unknown>>;

/** A value of an entry, safe to print. */
export function textOf(value: unknown): string {
  const text = Array.isArray(value) ? value.join(" ") : value ?? "-";
  return escapeUnprintable(String(text)).slice(0, 500);
}

/** A time of an entry, as this host's are shown. */
export function timeOf(value: unknown): string {
  const atMs = Date.parse(String(value));
  return Number.isNaN(atMs) ? "-" : formatTime(atMs);
}
