/** What the bench asks of a knock daemon, openme's own and others': each in a lab's server, with its client. */

import type { Lab } from "../../tests/e2e/lab.ts";

/** How many things each daemon is told that it may open, so that every knock can be counted. */
export const DOORS = 300;

/** A knock daemon that runs. */
export interface Rival extends AsyncDisposable {
  readonly name: string;
  /** Where junk is sent: the port that it listens at. */
  readonly port: number;
  /** The client's command that opens door `i`, from 0 on. */
  readonly knock: (i: number) => readonly string[];
  /** How many doors are open now. */
  readonly opened: () => Promise<number>;
  /** The client's command that lets the lab's client in to TCP port 22. */
  readonly knockHere: readonly string[];
  /** From the start of its process until it took knocks, ms. */
  readonly startMs: number;
  /** Shuts that again. */
  readonly shutHere: () => Promise<void>;
}

/** A daemon that this machine may have. */
export interface Contender {
  readonly name: string;
  /** The programs that must be installed. */
  readonly programs: readonly string[];
  readonly start: (lab: Lab, options?: StartOptions) => Promise<Rival>;
}

/** How to start one. */
export interface StartOptions {
  /** How many keys are registered; the last one knocks. @default {1} */
  readonly clients?: number;
}

/** Which of a contender's programs are not installed. */
export async function missingPrograms({ programs }: Contender): Promise<string[]> {
  const missing: string[] = [];
  for (const program of programs) {
    const { success } = await new Deno.Command("sh", {
      args: ["-c", 'command -v "$0"', program],
      stdout: "null",
    }).output();
    if (!success) missing.push(program);
  }
  return missing;
}

/** Text for a daemon's own file, readable by its owner alone. */
export async function write(path: string, lines: readonly string[]): Promise<string> {
  await Deno.writeTextFile(path, lines.join("\n") + "\n", { mode: 0o600 });
  return path;
}

/** As many random bytes, in hex. */
export function randomHex(size: number): string {
  return crypto.getRandomValues(new Uint8Array(size)).toHex();
}
