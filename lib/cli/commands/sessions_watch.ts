/** `openme sessions --watch`: draws the table each second, with the time left as a bar. */

import type { ServerConfig } from "../../config/server.ts";
import { pause } from "../../system/clock.ts";
import { OpenmeError } from "../../values/errors.ts";
import type { Grant } from "../../grants.ts";
import { readSnapshot, type Snapshot } from "../../state/read.ts";
import type { Context } from "../context.ts";
import { describeSnapshot, renderSessions } from "../sessions_table.ts";

const EVERY_MS = 1000;
/** Columns of a bar, its brackets included. */
const WIDEST_BAR = 22;
const NARROWEST_BAR = 6;

/** Draws over the old table, so that unchanged lines do not flicker, and clears the rest of it last. */
const HOME = "\x1b[H";
const CLEAR_REST = "\x1b[J";
const CLEAR_LINE = "\x1b[K";
const OTHER_SCREEN = "\x1b[?1049h\x1b[?25l";
const OWN_SCREEN = "\x1b[?25h\x1b[?1049l";

/** Draws until the process is asked to stop. Throws `OpenmeError`, code `USAGE`, without a terminal. */
export async function watchSessions(
  { config, stateDir, json }: {
    config: ServerConfig | undefined;
    stateDir: string;
    json: boolean;
  },
  context: Context,
): Promise<void> {
  if (!json && !Deno.stdout.isTerminal()) {
    throw new OpenmeError("USAGE", "--watch draws on a terminal, and standard output is none", {
      hint: "openme sessions --watch --json prints a line a second",
    });
  }
  const signal = context.stopSignal();
  if (!json) context.stdout(OTHER_SCREEN);
  try {
    while (!signal.aborted) {
      const nowMs = Date.now();
      const snapshot = readSnapshot(stateDir, nowMs);
      context.stdout(
        json
          ? JSON.stringify(describeSnapshot(snapshot, config, nowMs)) + "\n"
          : drawFrame(snapshot, config, nowMs, screenSize()),
      );
      await pause(EVERY_MS, signal);
    }
  } finally {
    if (!json) context.stdout(OWN_SCREEN);
  }
}

/** Some terminals report a size of 0. */
function screenSize(): { columns: number; rows: number } {
  const { columns, rows } = Deno.consoleSize();
  return { columns: columns || 80, rows: rows || 24 };
}

/** One drawing, no larger than the terminal. */
export function drawFrame(
  snapshot: Pick<Snapshot, "grants" | "refused">,
  config: ServerConfig | undefined,
  nowMs: number,
  { columns, rows }: { columns: number; rows: number },
): string {
  const lines = snapshot.grants.length === 0
    ? ["nobody is let in at the moment"]
    : linesOf(snapshot, config, nowMs, columns);
  const room = Math.max(1, rows - 1);
  const shown = lines.length <= room
    ? lines
    : [...lines.slice(0, room - 1), `... and ${lines.length - room + 1} more`];
  return HOME + shown.map((line) => line.slice(0, columns) + CLEAR_LINE + "\r\n").join("") +
    CLEAR_REST;
}

/**
 * The table, with bars where there is room, or without the column OPEN FOR where there is too little. A grant that the
 * firewall refused says so in place of its bar.
 */
function linesOf(
  { grants, refused }: Pick<Snapshot, "grants" | "refused">,
  config: ServerConfig | undefined,
  nowMs: number,
  columns: number,
): string[] {
  const draw = (marked: Snapshot["refused"], openFor: boolean) =>
    renderSessions({ grants, refused: marked }, config, nowMs, { openFor }).trimEnd().split("\n");
  const widthOf = (lines: readonly string[]) => Math.max(...lines.map(({ length }) => length));
  const whole = draw(refused, true);
  if (widthOf(whole) > columns) return draw(refused, false);
  if (!config) return whole; // the length of a full bar is not known
  const width = widthOf(draw(new Set(), true)) + 2;
  const barWidth = Math.min(WIDEST_BAR, columns - width);
  if (barWidth < NARROWEST_BAR) return whole;
  return whole.map((line, i) => {
    const grant = grants[i - 1];
    if (!grant || refused.has(grant) || grant.extended) return line;
    return line.padEnd(width) + bar(grant, config, nowMs, barWidth);
  });
}

/** The time left, as a share of what a knock opens. */
function bar(
  { client, expiresAtMs }: Grant,
  { clients, knockTimeoutMs }: ServerConfig,
  nowMs: number,
  width: number,
): string {
  const { rules } = clients.find(({ name }) => name === client) ?? {};
  const lifetimeMs = rules?.lifetimeMs ?? knockTimeoutMs;
  const share = Math.min(1, Math.max(0, (expiresAtMs - nowMs) / lifetimeMs));
  const full = Math.ceil(share * (width - 2));
  return `[${"#".repeat(full)}${"-".repeat(width - 2 - full)}]`;
}
