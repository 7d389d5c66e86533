/** Text from outside, fit to print; and the one line that an error becomes. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { messageOf, OpenmeError } from "../../lib/values/errors.ts";
import { escapeUnprintable, hideSecrets, looksLikeSecret, quote } from "../../lib/values/text.ts";

Deno.test("quote() escapes all but printable ASCII", () => {
  const rows = [
    { text: "plain text", expected: '"plain text"' },
    { text: "", expected: '""' },
    { text: 'say "hi" \\', expected: '"say \\"hi\\" \\\\"' },
    { text: "two\nlines", expected: '"two\\nlines"' },
    { text: "\x1b[31mred", expected: '"\\u001b[31mred"' },
    { text: "\x7f\x9b", expected: '"\\u007f\\u009b"' },
    { text: "caf\u00e9", expected: '"caf\\u00e9"' },
    { text: "\u202eright to left", expected: '"\\u202eright to left"' },
    { text: "\u2028", expected: '"\\u2028"' },
    { text: "\ud83d\ude00", expected: '"\\ud83d\\ude00"' },
    { text: "\ud83d", expected: '"\\ud83d"' },
    { text: "\0", expected: '"\\u0000"' },
  ];
  for (const { text, expected } of rows) assert.equal(quote(text), expected);
});

Deno.test("quote() is a JSON string of printable ASCII, for any text", () => {
  const texts = fc.array(fc.oneof(fc.nat(0xffff), fc.nat(0xff)), { maxLength: 80 })
    .map((codes) => String.fromCharCode(...codes));
  fc.assert(fc.property(texts, (text) => {
    assert.match(quote(text), /^"[\x20-\x7e]*"$/);
    assert.equal(JSON.parse(quote(text, 200)), text);
  }));
});

Deno.test("quote() shows no more than its limit", () => {
  assert.equal(quote("x".repeat(80)), `"${"x".repeat(80)}"`);
  assert.equal(quote("x".repeat(81)), `"${"x".repeat(80)}..."`);
  assert.equal(quote("abcdef", 3), '"abc..."');
});

Deno.test("escapeUnprintable() leaves printable ASCII as it is", () => {
  assert.equal(escapeUnprintable('a "b" \\ ~'), 'a "b" \\ ~');
  assert.equal(escapeUnprintable("a\tb\nc\u00e9"), "a\\u0009b\\u000ac\\u00e9");
});

Deno.test("messageOf() is one line for anything that was thrown", () => {
  const rows = [
    { thrown: new Error("plain"), expected: "plain" },
    { thrown: new Error("  two\n  lines\n"), expected: "two lines" },
    { thrown: "a text", expected: "a text" },
    { thrown: undefined, expected: "undefined" },
    { thrown: 42, expected: "42" },
  ];
  for (const { thrown, expected } of rows) assert.equal(messageOf(thrown), expected);
});

Deno.test("OpenmeError carries its code, its hint and its cause", () => {
  const cause = new Error("below");
  const error = new OpenmeError("KEY", "above", { hint: "do this", cause });
  assert.equal(error.name, "OpenmeError");
  assert.deepEqual([error.code, error.message, error.hint], ["KEY", "above", "do this"]);
  assert.equal(error.cause, cause);
  assert.equal(new OpenmeError("USAGE", "x").hint, undefined);
  assert.equal("cause" in new OpenmeError("USAGE", "x"), false);
});

Deno.test("hideSecrets() hides keys and links, and nothing else that errors repeat", () => {
  const key = "q6urQ6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=";
  const long =
    "q6urQ6urq6urq6urq6urq6urq6urq6urq6urq6urq6v/q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urqw==";
  const link = `openme://import?host=h&client_privkey=${encodeURIComponent(long)}`;
  const secrets = [
    key,
    long,
    link,
    `{"client_privkey":"${long}"}`,
    `client_privkey=${key.slice(0, 30)}`,
  ];
  for (const secret of secrets) {
    assert.ok(looksLikeSecret(secret), secret);
    for (
      const text of [secret, quote(secret), quote(secret, 1000), `cannot load "../${secret}": no`]
    ) {
      assert.ok(!/q6urq6urq6ur/.test(hideSecrets(text)), text);
    }
  }
  const harmless = [
    "/home/alice/documents/projects/openme/profiles/laptop",
    "alice-laptop-profile-from-the-server-of-2027-01-31.yaml",
    "expected openme://import? and the profile's keys",
    "profiles.home.private_key: expected the client's Ed25519 private key (64 or 32 bytes in base64)",
  ];
  for (const text of harmless) {
    assert.equal(hideSecrets(text), text);
    if (!text.includes(" ")) assert.ok(!looksLikeSecret(text), text);
  }
});
