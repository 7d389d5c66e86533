import assert from "node:assert/strict";
import { renderJson } from "../../lib/cli/context.ts";

Deno.test("what is printed as JSON cannot move a cursor, and says the same", () => {
  // Of another host of a fleet, or the name of a file: U+009B begins a terminal's command.
  const value = { host: "a\u009b2J\u202e\x7f\x1b[2J", path: "/srv/Zoë/𝄞" };
  const text = renderJson(value);
  assert.match(text, /^[\n\x20-\x7e]+$/);
  assert.deepEqual(JSON.parse(text), value);
});
