/** The record of what setup has made: written before anything is made, so that every end of setup can be taken back. */

import { replaceFile } from "../../system/write_file.ts";
import { messageOf, OpenmeError } from "../../values/errors.ts";
import { quote } from "../../values/text.ts";
import { type Made, PLACES, UNITS } from "./steps.ts";

/**
 * How far setup has come. `begun`: everything is to be put back where setup has ended. `confirmed`: a knock has opened, so
 * the rest is to be done. `done`: only `--undo` takes it back.
 */
export type Stage = "begun" | "confirmed" | "done";

export interface Record extends Made {
  readonly stage: Stage;
  /** What an earlier setup made that was done: it stays where this one is put back. */
  readonly earlier?: Made | undefined;
}

/** The record; `undefined` where there is none. Throws `OpenmeError` where it cannot be read. */
export async function readRecord(path: string = PLACES.record): Promise<Record | undefined> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return undefined;
    throw new OpenmeError("STATE", `cannot read ${quote(path, 1000)}: ${messageOf(cause)}`, {
      hint: "run it as root",
      cause,
    });
  }
  const record = parseRecord(text);
  if (record) return record;
  throw new OpenmeError(
    "STATE",
    `cannot read ${quote(path, 1000)}: openme setup did not write it`,
    {
      hint: "take back by hand what setup made (docs/setup.md), then remove that file",
    },
  );
}

/** Reads strictly: what it names is removed by root. */
export function parseRecord(text: string): Record | undefined {
  try {
    const { stage, earlier, ...made } = JSON.parse(text);
    if (stage !== "begun" && stage !== "confirmed" && stage !== "done") return undefined;
    if (!isMade(made) || !(earlier === undefined || isMade(earlier))) return undefined;
    return { stage, earlier, ...made };
  } catch {
    return undefined; // no JSON, or no object
  }
}

function isMade(
  value: { readonly [key: string]: unknown },
): value is { [key: string]: unknown } & Made {
  const { files, stateDir, folder, enabled, enabledBefore, ranBefore, guardBefore } = value;
  const isPath = (each: unknown) => typeof each === "string" && /^\/[^\0]+$/.test(each);
  const isUnit = (each: unknown) => (UNITS as readonly unknown[]).includes(each);
  return Array.isArray(files) && files.every(isPath) &&
    (stateDir === undefined || isPath(stateDir)) &&
    [enabled, enabledBefore].every((each) => Array.isArray(each) && each.every(isUnit)) &&
    [folder, ranBefore, guardBefore].every((each) => typeof each === "boolean");
}

/** Writes the record, before anything else is made. */
export async function beginRecord(made: Made, done: Record | undefined): Promise<Record> {
  const record: Record = { stage: "begun", ...made, earlier: done && madeOf(done) };
  await Deno.mkdir(PLACES.folder, { recursive: true, mode: 0o700 });
  await replaceFile(PLACES.record, print(record));
  return record;
}

/** Writes how far setup has come. */
export async function advanceRecord(record: Record, stage: Stage): Promise<Record> {
  const advanced = { ...record, stage };
  await replaceFile(PLACES.record, print(advanced));
  return advanced;
}

/** Writes that setup is done, and all that `--undo` takes back, also of an earlier setup. */
export async function endRecord({ earlier, ...record }: Record): Promise<void> {
  const made = madeOf(record);
  const all: Made = earlier === undefined ? made : {
    ...earlier,
    files: [...new Set([...earlier.files, ...made.files])],
    enabled: [...new Set([...earlier.enabled, ...made.enabled])],
  };
  await replaceFile(PLACES.record, print({ ...all, stage: "done" }));
}

/** Writes the record of the earlier setup again, once this one is put back. */
export async function restoreRecord(earlier: Made): Promise<void> {
  await replaceFile(PLACES.record, print({ ...earlier, stage: "done" }));
}

function madeOf({ stage: _, earlier: __, ...made }: Record): Made {
  return made;
}

function print(record: Record): string {
  return JSON.stringify(record, undefined, 2) + "\n";
}
