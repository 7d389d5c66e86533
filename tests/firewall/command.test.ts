/** The command backend: what it runs, how many at a time, and what becomes of an opening that nobody is sure of. */

import assert from "node:assert/strict";
import { OpenmeError } from "../../lib/errors.ts";
import type { Backend } from "../../lib/firewall/backend.ts";
import { BACKENDS } from "../../lib/firewall/backends.ts";
import { requirePrograms } from "../../lib/firewall/command_line.ts";
import { createNoneBackend } from "../../lib/firewall/none.ts";
import { createLog } from "../../lib/log.ts";
import type { ProgramRun } from "../../lib/run_program.ts";
import { waitFor } from "../e2e/wait.ts";
import { openings, planOf } from "./support.ts";

interface Host {
  readonly dir: string;
  /** What the log says. */
  readonly lines: string[];
  readonly make: (run: (call: ProgramRun) => Promise<string>) => Promise<Backend>;
}

async function withHost(body: (host: Host) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "openme-command-" });
  const lines: string[] = [];
  const log = createLog({
    level: "debug",
    format: "logfmt",
    now: () => new Date(),
    write: (line) => lines.push(line),
  });
  const command = {
    open: ["open", "{address}", "{ports}"],
    close: ["close", "{address}", "{ports}"],
  };
  const plan = planOf({ dropPorts: false });
  try {
    await body({
      dir,
      lines,
      make: (run) => BACKENDS.command.make({ plan, run, log, stateDir: dir, command }),
    });
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

Deno.test("command: what a killed open may have opened is closed until that works", () =>
  withHost(async ({ dir, lines, make }) => {
    const world = new Set<string>();
    let closes = 0;
    const backend = await make(({ program, args }) => {
      if (program === "open") {
        world.add(args[0]!);
        return Promise.reject(new OpenmeError("COMMAND", "open did not finish and was killed"));
      }
      if (++closes === 1) return Promise.reject(new OpenmeError("COMMAND", "the lock is held"));
      world.delete(args[0]!);
      return Promise.resolve("");
    });
    await backend.install([]);
    await assert.rejects(backend.apply([openings("192.0.2.7", { "22/tcp": 50 })]), /was killed/);
    await waitFor("the first close", () => closes === 1);
    await waitFor("the failure to be logged", () => /close_failed/.test(lines.join("\n")));
    assert.match(await Deno.readTextFile(`${dir}/opened.json`), /192\.0\.2\.7/);
    await backend.isIntact();
    await waitFor("the second close", () => world.size === 0);
    await waitFor(
      "the journal to be empty",
      () => Deno.readTextFileSync(`${dir}/opened.json`).trim() === "[]",
    );
    await backend.remove();
  }));

Deno.test("command: a crowd of openings runs a few programs at a time", () =>
  withHost(async ({ make }) => {
    let [now, most, all] = [0, 0, 0];
    const backend = await make(async () => {
      most = Math.max(most, ++now);
      all++;
      await new Promise((resolve) => setTimeout(resolve, 1));
      now--;
      return "";
    });
    const crowd = Array.from(
      { length: 100 },
      (_, i) => openings(`192.0.2.${i}`, { "22/tcp": 60_000 }),
    );
    await backend.install(crowd);
    assert.deepEqual([most, all], [8, 100]);
    await backend.remove();
    assert.deepEqual([most, all], [8, 200]);
  }));

Deno.test("command: a torn journal is told of, and what can be read of it is closed", () =>
  withHost(async ({ dir, lines, make }) => {
    await Deno.writeTextFile(
      `${dir}/opened.json`,
      '[{"address":"192.0.2.8","ports":"22/tcp","client":"alice"},{"address":"192.0.2.9","po',
    );
    const calls: string[] = [];
    const backend = await make(({ program, args }) => {
      calls.push([program, ...args].join(" "));
      return Promise.resolve("");
    });
    await backend.install([]);
    assert.deepEqual(calls, ["close 192.0.2.8 22"]);
    assert.match(lines.join("\n"), /level=error event=journal_damaged .*opened\.json/);
    lines.length = 0;
    await (await make(() => Promise.resolve(""))).install([]);
    assert.deepEqual(lines, []);
  }));

Deno.test("command: a dry run shows each close as well", () =>
  withHost(async ({ make }) => {
    const backend = await make(() => Promise.reject(new Error("a dry run runs nothing")));
    const shown: string[] = [];
    const dry = createNoneBackend({ shown: backend, show: (text) => shown.push(text.trim()) });
    await dry.install([]);
    await dry.apply([openings("192.0.2.7", { "22/tcp": 30 })]);
    await waitFor("the close", () => shown.includes("close 192.0.2.7 22"));
    await dry.apply([openings("192.0.2.8", { "22/tcp": 60_000, "53/udp": 60_000 })]);
    await dry.apply([openings("192.0.2.8", { "22/tcp": 60_000 })]);
    await dry.remove();
    assert.deepEqual(shown.filter(Boolean), [
      "open 192.0.2.7 22",
      "close 192.0.2.7 22",
      "open 192.0.2.8 22\nopen 192.0.2.8 53",
      "open 192.0.2.8 22",
      "close 192.0.2.8 53",
      "close 192.0.2.8 22",
    ]);
  }));

Deno.test("command: it says what everyone can reach on a host without rules", () =>
  withHost(async ({ make }) => {
    const missing = new OpenmeError("COMMAND", "there is no such program");
    const backend = await make(({ program }) =>
      program === "cat" ? Promise.resolve("") : Promise.reject(missing)
    );
    const open = await backend.openToEveryone();
    assert.equal(open?.ports.length, planOf().guardedPorts.length);
    assert.match(open?.hint ?? "", /close them there/);
  }));

Deno.test("requirePrograms() names a program that is not there", async () => {
  requirePrograms({ open: ["sh"], close: [Deno.execPath()] });
  const text = await Deno.makeTempFile();
  await Deno.chmod(text, 0o600);
  for (const program of ["openme-has-no-such", text, "/nowhere/x"]) {
    assert.throws(() => requirePrograms({ open: ["sh"], close: [program] }), {
      code: "FIREWALL",
      message: `server.command.close: there is no program "${program}" on this host`,
    });
  }
  await Deno.remove(text);
});
