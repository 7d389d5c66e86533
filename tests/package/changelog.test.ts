/** CHANGELOG.md as the .deb has it. */

import assert from "node:assert/strict";
import { debianChangelog, MAINTAINER } from "../../scripts/package/changelog.ts";

const MARKDOWN = `# Changelog

## Unreleased

## 0.2.0 - 2026-12-01

- A point that is longer than a line of a Debian changelog may be, which has eighty columns
  at most.
- Another.

## 0.1.0

- The first.
`;
const epochSeconds = 1_796_055_423;
const END = `\n -- ${MAINTAINER}  Mon, 30 Nov 2026 16:17:03 +0000\n`;

Deno.test("the changelog of the .deb has the points of its version", () => {
  assert.equal(
    debianChangelog(MARKDOWN, { version: "0.2.0", epochSeconds }),
    `openme (0.2.0) stable; urgency=medium

  * A point that is longer than a line of a Debian changelog may be, which has
    eighty columns at most.
  * Another.
${END}`,
  );
  const first = debianChangelog(MARKDOWN, { version: "0.1.0", epochSeconds });
  assert.equal(first, `openme (0.1.0) stable; urgency=medium\n\n  * The first.\n${END}`);
});

Deno.test("before its release a version has the points of the newest section", () => {
  const markdown = MARKDOWN.replace("## Unreleased\n", "## Unreleased\n\n- Not yet.\n");
  assert.match(
    debianChangelog(markdown, { version: "0.3.0", epochSeconds }),
    /^ {2}\* Not yet\.$/m,
  );
  assert.throws(() => debianChangelog("# Changelog\n", { version: "0.3.0", epochSeconds }));
});
