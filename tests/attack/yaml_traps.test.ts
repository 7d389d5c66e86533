/** YAML's own traps in a configuration: each is an error that an operator can read, quickly, or has no effect. */

import assert from "node:assert/strict";
import { parseClientConfig } from "../../lib/config/client_config.ts";
import { parseServerConfig } from "../../lib/config/server_config.ts";
import { OpenmeError } from "../../lib/errors.ts";
import { YAML_TRAPS } from "./fuzz_subjects.ts";

const DEEP = ["[", "{a: ", "- ", "? ", "- - ", "a:\n  "].map((each) => each.repeat(5000));

for (const trap of [...YAML_TRAPS, ...DEEP]) {
  const shown = JSON.stringify(trap.slice(0, 40));
  Deno.test(`a configuration that is ${shown} is an OpenmeError, within 10 s`, async () => {
    const start = performance.now();
    assert.throws(() => parseServerConfig(trap, "trap"), OpenmeError);
    await assert.rejects(() => parseClientConfig(trap, "trap"), OpenmeError);
    assert.ok(performance.now() - start < 10_000);
  });
}

Deno.test("nested text says what is wrong with it", () => {
  assert.throws(
    () => parseServerConfig("- ".repeat(5000), "deep"),
    /nested too deep|call stack/,
  );
});
