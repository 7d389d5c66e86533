/** The quick reader of command lines against `node:util`: where it gives anything, it gives the same. */

import assert from "node:assert/strict";
import { parseArgs } from "node:util";
import fc from "fast-check";
import { parsePlainArgs } from "../../lib/cli/parse_args.ts";

const OPTIONS = {
  ip: { type: "string" },
  config: { type: "string" },
  json: { type: "boolean" },
  ipv4: { type: "boolean", short: "4" },
  help: { type: "boolean", short: "h" },
} as const;

const WORDS = [
  ..."--ip --ip= --ip=a --ip=a=b --config --json --json= --json=1 -4 -h -4h -44 -x".split(" "),
  ..."- -- --- --no-json --x --toString --__proto__ --constructor -i a home = -4=1 --= --ip=-4"
    .split(" "),
  "",
  "--ip=a\nb",
  "a b",
  "-\n",
];

Deno.test("parsePlainArgs() never differs from node:util", () => {
  let read = 0;
  const runs = 5000;
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...WORDS), { maxLength: 6 }), (args) => {
      const quick = parsePlainArgs(args, OPTIONS);
      if (!quick) return;
      read++;
      const { values, positionals } = parseArgs({
        args,
        options: OPTIONS,
        allowPositionals: true,
        strict: true,
      });
      assert.deepEqual({ ...quick.values }, { ...values });
      assert.deepEqual(quick.positionals, positionals);
    }),
    { numRuns: runs },
  );
  assert.ok(read > runs / 20, `only ${read} of the command lines were read: the test shows little`);
});

Deno.test("parsePlainArgs() reads what people type", () => {
  for (const args of [["home"], ["home", "--ip", "192.0.2.1", "-4"], ["--config=x", "-h"], []]) {
    assert.ok(parsePlainArgs(args, OPTIONS), args.join(" "));
  }
});
