/** The command backend: what it runs, in which order, and what becomes of an opening that nobody is sure of. */

import assert from "node:assert/strict";
import type { CommandLines } from "../../../lib/firewall/plan.ts";
import { OpenmeError } from "../../../lib/values/errors.ts";
import type { Backend, BackendParts } from "../../../lib/firewall/backend.ts";
import { BACKENDS } from "../../../lib/firewall/catalog.ts";
import { requirePrograms } from "../../../lib/firewall/command/line.ts";
import { listingReader } from "../../../lib/firewall/command/listing.ts";
import { showingParts } from "../../../lib/firewall/none.ts";
import { createLog } from "../../../lib/system/log.ts";
import type { ProgramRun } from "../../../lib/system/run_program.ts";
import { waitFor } from "../../support/wait.ts";
import { openings, planOf } from "../support.ts";

interface Host {
  readonly dir: string;
  /** What the log says. */
  readonly lines: string[];
  readonly parts: Omit<BackendParts, "run"> & { readonly command: CommandLines };
  readonly make: (
    run: (call: ProgramRun) => Promise<string>,
    more?: Partial<CommandLines>,
  ) => Promise<Backend>;
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
  const parts = { plan: planOf({ dropPorts: false }), log, stateDir: dir, command };
  try {
    await body({
      dir,
      lines,
      parts,
      make: (run, more) =>
        BACKENDS.command.make({ ...parts, run, command: { ...command, ...more } }),
    });
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const LIST = { list: { line: ["list"], entry: "{address} {ports}/{protocol} # openme" } };

/** A firewall behind the programs; each of them can be made to lie. */
class World {
  readonly rules = new Set<string>();
  readonly calls: string[] = [];
  /** Programs that report success and do nothing. */
  readonly liars = new Set<string>();
  /** Who may go on, one program at a time; all at once while it is undefined. */
  gate: Promise<void> | undefined;
  now = 0;
  most = 0;

  readonly run = async ({ program, args }: ProgramRun): Promise<string> => {
    this.calls.push([program, ...args].join(" "));
    this.most = Math.max(this.most, ++this.now);
    await (this.gate ?? new Promise((resolve) => setTimeout(resolve, 1)));
    this.now--;
    const rule = `${args[0]} ${args[1]}/tcp # openme`;
    if (program === "list") return [...this.rules].join("\n");
    if (this.liars.has(program)) return "";
    if (program === "open") this.rules.add(rule);
    else this.rules.delete(rule);
    return "";
  };
}

const journalOf = (dir: string) => Deno.readTextFileSync(`${dir}/opened.json`).trim();

Deno.test("command: what a killed open may have opened is closed until that works", () =>
  withHost(async ({ dir, lines, make }) => {
    const world = new Set<string>();
    let closes = 0;
    const backend = await make(({ program, args, killsChildren }) => {
      assert.equal(killsChildren, true, "a child that lives on would open later");
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
    assert.match(journalOf(dir), /192\.0\.2\.7/);
    assert.deepEqual((await backend.examine())?.wrong, ["could not be closed: 192.0.2.7 22/tcp"]);
    await waitFor("the second close", () => world.size === 0);
    await waitFor("the journal to be empty", () => journalOf(dir) === "[]");
    assert.equal(await backend.examine(), undefined);
    await backend.remove();
  }));

Deno.test("command: one program runs at a time, and a knock does not wait for all closings", () =>
  withHost(async ({ make }) => {
    const world = new World();
    const backend = await make(world.run);
    const crowd = Array.from(
      { length: 50 },
      (_, i) => openings(`192.0.2.${i}`, { "22/tcp": 60_000 }),
    );
    await backend.install(crowd);
    assert.deepEqual([world.most, world.calls.length], [1, 50]);
    const closed = backend.apply(crowd.map((each) => ({ ...each, openings: [] })));
    const from = world.calls.length;
    await backend.apply([openings("203.0.113.1", { "22/tcp": 60_000 })]);
    const before = world.calls.slice(from).indexOf("open 203.0.113.1 22");
    assert.ok(before >= 0 && before <= 2, `${before} closings went first`);
    await closed;
    await backend.remove();
    assert.deepEqual([world.most, world.calls.length, world.rules.size], [1, 102, 0]);
  }));

Deno.test("command: openings that never end do not keep a closing from its turn", () =>
  withHost(async ({ make }) => {
    const world = new World();
    const backend = await make(world.run);
    await backend.install([openings("192.0.2.7", { "22/tcp": 60_000 })]);
    const openAll = Array.from(
      { length: 20 },
      (_, i) => backend.apply([openings(`198.51.100.${i}`, { "22/tcp": 60_000 })]),
    );
    await backend.apply([openings("192.0.2.7", {})]);
    assert.ok(world.calls.length < 10, world.calls.join("\n"));
    await Promise.all(openAll);
    await backend.remove();
  }));

Deno.test("command: what is overtaken before its turn is not run", () =>
  withHost(async ({ dir, make }) => {
    const world = new World();
    const backend = await make(world.run);
    await backend.install([]);
    const gate = Promise.withResolvers<void>();
    world.gate = gate.promise;
    const at = (port: string, ms: number) => backend.apply([openings("192.0.2.7", { [port]: ms })]);
    const all = [
      backend.apply([openings("192.0.2.1", { "22/tcp": 60_000 })]), // runs, and holds up the rest
      at("22/tcp", 60_000),
      at("22/tcp", 61_000),
      at("22/tcp", 62_000), // three renewals are one
      backend.apply([openings("192.0.2.8", { "22/tcp": 60_000 })]),
      backend.apply([openings("192.0.2.8", {})]), // never opened, never closed
    ];
    gate.resolve();
    await Promise.all(all);
    assert.deepEqual(world.calls, ["open 192.0.2.1 22", "open 192.0.2.7 22"]);
    assert.doesNotMatch(journalOf(dir), /192\.0\.2\.8/);
    await backend.remove();
  }));

Deno.test("command: nothing of a damaged journal counts, and the file is kept", () =>
  withHost(async ({ dir, lines, make }) => {
    const good = '{"address":"192.0.2.8","ports":"22/tcp","client":"alice"}';
    for (const text of [`[${good},{"address":"192.0.2.9","po`, `[${good},{}]`, "{}", ""]) {
      await Deno.writeTextFile(`${dir}/opened.json`, text);
      const world = new World();
      lines.length = 0;
      const backend = await make(world.run);
      await backend.install([]);
      assert.deepEqual(world.calls, []);
      assert.match(lines.join("\n"), /level=error event=journal_damaged .*look in your firewall/);
      assert.equal(await Deno.readTextFile(`${dir}/opened.json.damaged`), text);
      lines.length = 0;
      await (await make(world.run)).install([]);
      assert.deepEqual(lines, []);
    }
    await Deno.writeTextFile(`${dir}/opened.json`, `[${good}]`);
    const world = new World();
    await (await make(world.run)).install([]);
    assert.deepEqual(world.calls, ["close 192.0.2.8 22"]);
  }));

Deno.test("command: with a list, what a lost journal held is closed, and no other rules", () =>
  withHost(async ({ dir, make }) => {
    const world = new World();
    const others = [
      "192.0.2.80 22/tcp",
      "192.0.2.8 22/tcp # mine",
      "deny 192.0.2.8 22/tcp # openme",
    ];
    for (const rule of ["192.0.2.8 22/tcp # openme", ...others]) world.rules.add(rule);
    await Deno.writeTextFile(`${dir}/opened.json`, "torn");
    const backend = await make(world.run, LIST);
    assert.deepEqual((await backend.examine())?.withoutGrant?.map(({ address }) => address), [
      "192.0.2.8",
    ]);
    await backend.install([]);
    assert.deepEqual([...world.rules], others);
    assert.ok(await backend.isIntact());
    await backend.remove();
    assert.deepEqual([...world.rules], others);
  }));

Deno.test("command: with a list, a program that reports success and did nothing is found out", () =>
  withHost(async ({ lines, make }) => {
    const world = new World();
    const backend = await make(world.run, LIST);
    await backend.install([]);
    world.liars.add("open");
    const knock = () => backend.apply([openings("192.0.2.7", { "22/tcp": 60_000 })]);
    await assert.rejects(
      knock(),
      /open succeeded, but list shows no rule for 192\.0\.2\.7 22\/tcp/,
    );
    world.liars.clear();
    await knock();
    world.liars.add("close");
    const close = () => backend.apply([openings("192.0.2.7", {})]);
    await assert.rejects(close(), /close succeeded, but list still shows a rule/);
    assert.deepEqual((await backend.examine())?.wrong, [
      "rules that no grant covers: 192.0.2.7 22/tcp",
    ]);
    world.liars.clear();
    await waitFor("it to be closed all the same", () => world.rules.size === 0);
    assert.match(lines.join("\n"), /event=close_failed .*entry="192\.0\.2\.7 22\/tcp"/);
    await waitFor("nothing to be wrong", () => backend.isIntact());
    await backend.remove();
  }));

Deno.test("command: with a list, a close that fails because nothing is there counts as done", () =>
  withHost(async ({ lines, make }) => {
    const world = new World();
    const backend = await make((call) => {
      const known = call.program !== "close" || world.rules.size > 0;
      return known ? world.run(call) : Promise.reject(new OpenmeError("COMMAND", "no such rule"));
    }, LIST);
    await backend.install([openings("192.0.2.7", { "22/tcp": 60_000 })]);
    world.rules.clear();
    await backend.apply([openings("192.0.2.7", {})]);
    assert.doesNotMatch(lines.join("\n"), /close_failed/);
    await backend.remove();
  }));

Deno.test("command: with a list, a check sees rules that are missing and rules without a grant", () =>
  withHost(async ({ lines, make }) => {
    const world = new World();
    const backend = await make(world.run, LIST);
    const wanted = [openings("192.0.2.7", { "22/tcp": 60_000, "8080-8090/tcp": 60_000 })];
    await backend.install(wanted);
    assert.ok(await backend.isIntact());
    const whole = [...world.rules].sort();
    world.rules.delete("192.0.2.7 22/tcp # openme");
    world.rules.add("192.0.2.9 22/tcp # openme");
    assert.equal(await backend.isIntact(), false);
    assert.deepEqual((await backend.examine())?.wrong, [
      "no rule for 192.0.2.7 22/tcp",
      "rules that no grant covers: 192.0.2.9 22/tcp",
    ]);
    world.calls.length = 0;
    await backend.install(wanted);
    assert.deepEqual([...world.rules].sort(), whole);
    assert.ok(await backend.isIntact());
    assert.deepEqual(
      world.calls.filter((call) => call !== "list"),
      [
        "close 192.0.2.9 22",
        "open 192.0.2.7 22",
      ].sort((a, b) => world.calls.indexOf(a) - world.calls.indexOf(b)),
    );
    assert.match(lines.join("\n"), /event=rule_missing entry="192\.0\.2\.7 22\/tcp"/);
    assert.match(lines.join("\n"), /event=rule_without_grant entry="192\.0\.2\.9 22\/tcp"/);
    await backend.remove();
  }));

Deno.test("command: a list that fails is an error at the start, and of each check", () =>
  withHost(async ({ make }) => {
    const world = new World();
    let fails = true;
    const backend = await make(
      (call) =>
        fails && call.program === "list"
          ? Promise.reject(new OpenmeError("COMMAND", "no list today"))
          : world.run(call),
      LIST,
    );
    await assert.rejects(backend.install([]), { code: "FIREWALL", message: "no list today" });
    fails = false;
    await backend.install([]);
    fails = true;
    await backend.apply([openings("192.0.2.7", { "22/tcp": 60_000 })]);
    assert.equal(world.rules.size, 1, "it is as without a list");
    await assert.rejects(backend.isIntact(), /no list today/);
    await assert.rejects(backend.remove(), /no list today/);
    assert.equal(world.rules.size, 0);
  }));

Deno.test("a listing is read by values, and a rule is a whole line", () => {
  const read = (entry: string, output: string) => [...listingReader(entry)(output).keys()];
  const ufw = "ufw allow from {address} to any port {ports} proto {protocol} comment 'openme'";
  const line = (address: string, port: string) =>
    `ufw allow from ${address} to any port ${port} proto tcp comment 'openme'`;
  assert.deepEqual(
    read(
      ufw,
      [
        "Added user rules (see 'ufw status' for running firewall):",
        line("10.0.0.1", "22"),
        line("FD00:0::2", "8080:8090"),
        `  ${line("10.0.0.0/24", "53")}\t`,
        line("10.0.0.10", "22").replace(" comment 'openme'", ""),
        line("10.0.0.300", "22"),
        line("10.0.0.1", "70000"),
        `${line("10.0.0.11", "22")} and more`,
        line("10.0.0.12; reboot", "22"),
      ].join("\n"),
    ),
    ["10.0.0.1 22/tcp", "fd00::2 8080-8090/tcp", "10.0.0.0/24 53/tcp"],
  );
  const columns = "openme {client} {address} {protocol} {port}-{end_port} v{family}";
  assert.deepEqual(
    read(columns, "openme  a,b   10.0.0.1/32  udp 53-53 v4\nopenme a 10.0.0.2 udp 53-53 v6\n"),
    ["10.0.0.1 53/udp"],
  );
  // What an expression would mean something by is itself.
  assert.deepEqual(read("openme.* {address} [{ports}/{protocol}]", "openme.* ::1 [1/tcp]"), [
    "::1 1/tcp",
  ]);
  assert.deepEqual(read("openme.* {address} {ports}/{protocol}", "openmexx ::1 1/tcp"), []);
});

Deno.test("command: a dry run shows each close as well, runs nothing and writes nothing down", () =>
  withHost(async ({ dir, parts }) => {
    const shown: string[] = [];
    const run = () => Promise.reject(new Error("a dry run runs nothing"));
    const dry = await BACKENDS.command.make(
      showingParts(
        { ...parts, run, command: { ...parts.command, ...LIST } },
        (text) => shown.push(text.trim()),
      ),
    );
    await dry.install([]);
    await dry.apply([openings("192.0.2.7", { "22/tcp": 30 })]);
    await waitFor("the close", () => shown.includes("close 192.0.2.7 22"));
    await dry.apply([openings("192.0.2.8", { "22/tcp": 60_000, "53/udp": 60_000 })]);
    await dry.apply([openings("192.0.2.8", { "22/tcp": 60_000 })]);
    await dry.remove();
    assert.deepEqual(shown.filter(Boolean), [
      "open 192.0.2.7 22",
      "close 192.0.2.7 22",
      "open 192.0.2.8 22",
      "open 192.0.2.8 53",
      "close 192.0.2.8 53",
      "open 192.0.2.8 22",
      "close 192.0.2.8 22",
    ]);
    assert.deepEqual([...Deno.readDirSync(dir)], []);
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
  assert.throws(
    () =>
      requirePrograms({ open: ["sh"], close: ["sh"], list: { line: ["/nowhere/x"], entry: "" } }),
    /server\.command\.list: there is no program/,
  );
  await Deno.remove(text);
});
