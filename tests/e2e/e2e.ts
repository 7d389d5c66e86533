/**
 * The frame of every end-to-end test: a lab, a capture over its whole run, and the one promise that holds for all of
 * them: the server never sends a byte from the knock port.
 */

import assert from "node:assert/strict";
import { Capture } from "./capture.ts";
import { lacks, unless } from "../support/programs.ts";
import { Lab, runToEnd, type Side } from "./lab.ts";

export const KNOCK_PORT = 54154;

/** Why there can be no lab here, or `undefined` where there can. */
export async function labMissing(): Promise<string | undefined> {
  if (Deno.build.os !== "linux") return "needs Linux";
  const has = (file: string, ...args: string[]) =>
    runToEnd(file, args).then(({ code }) => code === 0, () => false);
  const programs = lacks("ip", "nft");
  if (programs !== undefined) return programs;
  const probe = `openme-${Deno.pid}-probe-${crypto.randomUUID().slice(0, 8)}`;
  if (!await has("ip", "netns", "add", probe)) return "needs root or user namespaces";
  try {
    const works = await has("ip", "netns", "exec", probe, "nft", "list", "ruleset");
    return works ? undefined : "needs a kernel with nf_tables";
  } finally {
    await has("ip", "netns", "delete", probe);
  }
}

const missing = await labMissing();

/** What a test expects to have been on the wire. */
export interface Expectations {
  /** Whether knocks were sent and none was answered; `false` only for tests without a server. @default {true} */
  readonly silentServer?: boolean;
  /** Why what this one test needs beside a lab is not there; `undefined` where it is. */
  readonly needs?: string | undefined;
  /** Who takes part. @default {SIDES} */
  readonly sides?: readonly Side[];
}

/**
 * Registers an end-to-end test. Where there can be no lab it is skipped, and its title says why; with
 * `OPENME_E2E=require` it fails instead.
 */
export function e2e(
  title: string,
  body: (lab: Lab, t: Deno.TestContext) => Promise<void>,
  { silentServer = true, needs, sides }: Expectations = {},
): void {
  const lacking = missing ?? needs;
  Deno.test({
    ...unless(lacking, title),
    // Steps share the lab, whose programs come and go in between.
    sanitizeOps: false,
    sanitizeResources: false,
    fn: async (t) => {
      if (lacking) throw new Error(`OPENME_E2E=require, but this host cannot: ${lacking}`);
      await using lab = await Lab.create(sides);
      const capture = await Capture.start(lab, KNOCK_PORT);
      await body(lab, t);
      if (!silentServer) return;
      await t.step("the server has sent nothing from the knock port", async () => {
        const { toPort, fromPort, missed } = await capture.stop();
        assert.equal(fromPort, 0);
        assert.equal(missed, 0);
        assert.ok(toPort > 0, "the capture saw no knock, so it proves nothing");
      });
    },
  });
}
