/** The table of docs/json.md as a check: whether a value has only names of the table, each with its type. */

import assert from "node:assert/strict";
import { parseNetwork } from "../../lib/values/network.ts";
import { parsePortSpec } from "../../lib/values/ports.ts";

const isText = (value: unknown) => typeof value === "string" && value !== "";

/** The types of the table. */
const TYPES: Readonly<Record<string, (value: unknown) => boolean>> = {
  text: isText,
  number: Number.isFinite,
  boolean: (value) => typeof value === "boolean",
  time: (value) =>
    typeof value === "string" && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z$/.test(value),
  address: (value) => typeof value === "string" && parseNetwork(value) !== undefined,
  ports: (value) =>
    Array.isArray(value) && value.every((each) => typeof each === "string" && parsePortSpec(each)),
  texts: (value) => Array.isArray(value) && value.every(isText),
  object: isObject,
  list: (value) => Array.isArray(value) && value.every(isObject),
};

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The rows of the table: name and type. Rejects where a row has another type, or the names are not sorted. */
export async function readTable(): Promise<ReadonlyMap<string, string>> {
  const text = await Deno.readTextFile(new URL("../../docs/json.md", import.meta.url));
  const rows = [...text.matchAll(/^\| `(\w+)` *\| ([a-z ]+?) *\|/gm)];
  assert.ok(rows.length > 50, "the table is not where it was");
  const names = rows.map(([, name]) => name!);
  assert.deepEqual(names, [...new Set(names)].sort(), "each name once, in order");
  for (const [, name, type] of rows) {
    assert.ok(Object.hasOwn(TYPES, type!.replace(/ or null$/, "")), `${name}: type ${type}`);
  }
  return new Map(rows.map(([, name, type]) => [name!, type!]));
}

/** Fails where a name at any depth is not in the table or has another type; adds the names to `seen`. */
export function checkNames(
  value: unknown,
  { table, seen, where }: { table: ReadonlyMap<string, string>; seen: Set<string>; where: string },
): void {
  if (Array.isArray(value)) {
    for (const each of value) checkNames(each, { table, seen, where });
  }
  if (!isObject(value)) return;
  for (const [name, each] of Object.entries(value)) {
    const type = table.get(name);
    assert.ok(type !== undefined, `${where}: ${name} is not in the table of docs/json.md`);
    const fits = each === null ? type.endsWith(" or null") : TYPES[type.replace(/ or null$/, "")]!;
    assert.ok(
      typeof fits === "boolean" ? fits : fits(each),
      `${where}: ${name} is no ${type}: ${JSON.stringify(each)}`,
    );
    seen.add(name);
    checkNames(each, { table, seen, where });
  }
}
