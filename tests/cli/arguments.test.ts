/** Command lines as people type them: what is read, and what is wrong with the others. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { parseArguments } from "../../lib/cli/arguments.ts";
import type { Command } from "../../lib/cli/context.ts";
import { OpenmeError } from "../../lib/values/errors.ts";

const COMMAND: Command = {
  about: "",
  arguments: "[PROFILE] HOST PORT",
  parameters: { HOST: "", "--ip ADDRESS": "", "--json": "", "-4, --ipv4": "" },
  example: "",
  run: () => Promise.resolve(0),
};

const read = (args: readonly string[]) => {
  const { values, positionals } = parseArguments(COMMAND, "x", args);
  return { values: { ...values }, positionals: positionals.join(" ") };
};

Deno.test("parseArguments() reads what people type", () => {
  const rows: [args: string, values: Record<string, string | true>, positionals: string][] = [
    ["host 22", {}, "host 22"],
    ["home host 22 --json", { json: true }, "home host 22"],
    ["--ip 192.0.2.1 host -4 22", { ip: "192.0.2.1", ipv4: true }, "host 22"],
    ["--ip=a=b --ip=-4 - 22", { ip: "-4" }, "- 22"],
    ["--ip - host 22", { ip: "-" }, "host 22"],
    ["-4h", { ipv4: true, help: true }, ""],
    ["--config x host -- --json -4", { config: "x" }, "host --json -4"],
  ];
  for (const [args, values, positionals] of rows) {
    assert.deepEqual(read(args.split(" ")), { values, positionals }, args);
  }
});

Deno.test("parseArguments() says what is wrong with the rest", () => {
  const rows: [args: string, message: string][] = [
    ["--ip", "option --ip needs a value"],
    ["--ip -4 host 22", "option --ip needs a value"],
    ["--json=1 host 22", "option --json takes no value"],
    ["--json= host 22", "option --json takes no value"],
    ["-x", 'unknown option "-x"'],
    ["-4x", 'unknown option "-x"'],
    ["-4=1", 'unknown option "-="'],
    ["--no-json", 'unknown option "--no-json"'],
    ["--toString", 'unknown option "--toString"'],
    ["--=", 'unknown option "--"'],
    ["---", 'unknown option "---"'],
    ["host", "openme x needs HOST and PORT"],
    ["a b c d", 'openme x: unexpected argument "d"'],
    ["--log-level=x host 22", '--log-level: expected error, warn, info or debug, got "x"'],
  ];
  for (const [args, message] of rows) {
    assert.throws(
      () => read(args.split(" ")),
      (error) =>
        error instanceof OpenmeError && error.code === "USAGE" && error.message === message,
      args,
    );
  }
});

Deno.test("parseArguments() takes any words, or throws an error for people", () => {
  const words = fc.constantFrom(
    ..."--ip --ip= --ip=a --json --json= -4 -h -44 - -- --- --__proto__ --constructor -i a".split(
      " ",
    ),
    ...["", "--ip=a\nb", "a b", "-\n"],
  );
  fc.assert(fc.property(fc.array(words, { maxLength: 6 }), (args) => {
    try {
      const { values } = read(args);
      for (const [name, value] of Object.entries(values)) {
        assert.equal(typeof value, name === "ip" ? "string" : "boolean");
      }
    } catch (error) {
      if (!(error instanceof OpenmeError)) throw error;
    }
  }));
});
