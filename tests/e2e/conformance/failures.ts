/** The promises about failures: dead processes, flushed rules, programs that are missing, fail or hang, and the end. */

import assert from "node:assert/strict";
import { parseAddress } from "../../../lib/values/address.ts";
import { OpenmeError } from "../../../lib/values/errors.ts";
import { Guard } from "../../../lib/firewall/guard.ts";
import { Grants } from "../../../lib/grants.ts";
import { parseNetwork } from "../../../lib/values/network.ts";
import { processClock } from "../../../lib/system/clock.ts";
import { waitFor, within } from "../../support/wait.ts";
import { IPV4, IPV6 } from "../lab.ts";
import { allRules, Half, Runner } from "./runner.ts";
import { opening, ranges, type Trial } from "./trial.ts";

export async function tryFailures(t: Deno.TestContext, trial: Trial): Promise<void> {
  const { lab, candidate, host, hosted, plan, runner, make, log, lines, before } = trial;
  const { reaches, isOpen, isClosed } = trial;
  const { name, flush } = candidate;

  await t.step("clears away what a dead process left", async () => {
    await trial.backend.apply([opening(IPV4.client, 60_000, "22/tcp")]);
    assert.ok(await isOpen(22));
    trial.backend = await make(); // the other one does nothing any more
    await trial.backend.install([opening(IPV6.client, 60_000, "80/tcp")]);
    assert.ok(await isClosed(22));
    assert.ok(await isOpen(80, 6));
    await trial.backend.install([]);
    assert.ok(await isClosed(80, 6));
  });

  if (flush) {
    await t.step("sees that its rules are gone, and puts them back", async () => {
      await trial.backend.apply([opening(IPV4.client, 60_000, "22/tcp")]);
      await flush(lab, hosted);
      assert.equal(await trial.backend.isIntact(), false);
      const { wrong, unguarded } = (await trial.backend.examine())!;
      assert.notDeepEqual(wrong, []);
      assert.deepEqual(unguarded, host ? [] : plan.guardedPorts);
      await trial.backend.install([opening(IPV4.client, 60_000, "22/tcp")]);
      assert.equal(await trial.backend.isIntact(), true);
      assert.ok(await isOpen(22));
      assert.ok(await isClosed(80));
    });
  }

  await t.step("says so where its program is missing, and where it fails", async () => {
    for (
      const [way, pattern] of [["missing", /no such program/], ["fails", /not today/]] as const
    ) {
      const broken = new Runner(lab);
      broken.programs = runner.programs;
      broken[way] = true;
      const attempt = async () => {
        const made = await make(broken.run);
        await made.install([opening(IPV4.other, 60_000, "22/tcp")]);
      };
      await assert.rejects(attempt, (error) => {
        assert.ok(error instanceof OpenmeError, String(error));
        assert.equal(error.code, "FIREWALL");
        assert.match(error.message, pattern);
        assert.ok(error.hint, "a hint");
        return true;
      });
    }
    assert.equal(await reaches("other", 22), false);
    await trial.backend.install([]);
  });

  const { patienceMs = 1000 } = candidate;
  const title = `serves others within ${patienceMs / 1000} s while one run hangs`;
  // Over netlink there is no run.
  if (!candidate.byNetlink) {
    await t.step(title, async () => {
      await trial.backend.install([]);
      const grants = new Grants();
      const clock = processClock();
      const guard = new Guard({ backend: trial.backend, grants, clock, log });
      const knockFrom = (address: string, client: string) => {
        grants.open(parseAddress(address)!, {
          client,
          key: client,
          ports: ranges("22/tcp"),
          lifetimeMs: 60_000,
          expiresAtMs: undefined,
        }, clock.now());
        const opened = Promise.withResolvers<void>();
        guard.changed(parseNetwork(address)!, { done: opened.resolve });
        return opened.promise;
      };
      runner.hangs = ({ stdin, program, args }) =>
        stdin !== undefined || program.endsWith("/allow") || args.includes("-T") ||
        args.some((each) => each.startsWith("--add-rich-rule"));
      const first = knockFrom(IPV4.client, "alice");
      const startMs = performance.now();
      await waitFor("the first run to hang", () => runner.hangs === undefined);
      const second = knockFrom(IPV4.other, "bob");
      assert.ok(
        await within(second.then(() => true), patienceMs, false),
        lines.slice(-5).join("\n"),
      );
      assert.ok(performance.now() - startMs < patienceMs + 500);
      assert.ok(await reaches("other", 22));
      assert.ok(await within(first.then(() => true), 30_000, false), "and is made up for");
      assert.ok(await isOpen(22));
      assert.ok(await reaches("other", 22));
    });
  }

  await t.step("leaves everything as it was", async () => {
    await trial.backend.remove();
    const left = await trial.backend.examine();
    // The host closes; of a command's rules none may be left.
    if (name === "command") assert.deepEqual(left?.wrong ?? [], []);
    else assert.ok(left && left.wrong.length > 0);
    await trial.backend.remove();
    assert.equal(await allRules(lab), before);
    if (!host) assert.ok(await isOpen(22));
  });

  await t.step("leaves everything as it was where its start fails half-way", async () => {
    const grants = new Grants();
    const clock = processClock();
    for (const address of [IPV4.client, IPV4.other]) {
      grants.open(parseAddress(address)!, {
        client: "alice",
        key: "alice",
        ports: ranges("22/tcp"),
        lifetimeMs: 60_000,
        expiresAtMs: undefined,
      }, clock.now());
    }
    const start = async (half: Half) => {
      const backend = await make(half.run);
      await new Guard({ backend, grants, clock, log }).start();
    };
    // The second run that writes, and what only reads after the first.
    for (const what of ["write", "read"] as const) {
      const half = new Half(runner.run, what);
      const outcome = await start(half).then(() => "started", () => "failed");
      if (!half.hasFailed) assert.equal(outcome, "started", "there was only one to fail");
      else assert.equal(outcome, "failed");
      if (outcome === "started") await (await make()).remove();
      assert.equal(await allRules(lab), before, what);
      assert.equal(await isOpen(22), !host, "open as without openme");
    }

    // A guard that stood before stays.
    if (host || name === "command") return;
    await (await make()).install([]);
    const half = new Half(runner.run, "read");
    const outcome = await start(half).then(() => "started", () => "failed");
    assert.equal(outcome, half.hasFailed ? "failed" : "started");
    assert.equal(await isOpen(80), false);
    await (await make()).remove();
  });
}
