/** What a server does while nothing happens: how many programs it starts, and what it still notices. */

import assert from "node:assert/strict";
import { guardPlanOf } from "../lib/config/guard_plan.ts";
import { parseServerConfig } from "../lib/config/server.ts";
import type { BackendParts } from "../lib/firewall/backend.ts";
import { BACKENDS } from "../lib/firewall/catalog.ts";
import type { BackendName } from "../lib/firewall/plan.ts";
import { Intake } from "../lib/receive/intake.ts";
import { CurrentStamps } from "../lib/receive/stamps.ts";
import { runServer } from "../lib/server.ts";
import { processClock } from "../lib/system/clock.ts";
import { readingProc } from "../lib/system/proc_reader.ts";
import type { ProgramRun, RunProgram } from "../lib/system/run_program.ts";
import { Folder } from "./support/folder.ts";
import { memoryLog } from "./support/memory_log.ts";
import { serverYaml } from "./support/server_yaml.ts";
import { VirtualTime } from "./support/virtual_time.ts";

/** The most that an idle server starts in a minute. */
const MOST_PROGRAMS = 6;

/** A host whose firewall programs take everything, and list what they were given last. */
class Host {
  generation = 1;
  /** The fingerprint of every table of iptables-legacy. */
  legacyRules = "1";
  readonly started: string[] = [];
  readonly #isLegacy: boolean;
  #table = "";
  #richRules: string[] = [];
  #mangle = "-P PREROUTING ACCEPT\n-A PREROUTING -j OPENME\n-N OPENME\n";

  constructor(backend: BackendName) {
    this.#isLegacy = backend === "iptables-legacy";
  }

  parts(config: BackendParts["plan"], log: BackendParts["log"]): BackendParts {
    return {
      plan: config,
      run: readingProc(this.#run, (path) => Promise.resolve(this.#read(path))),
      log,
      stateDir: undefined,
      command: undefined,
      readGeneration: () => this.generation,
      readLegacyTable: () => Promise.resolve(this.legacyRules),
    };
  }

  /** Somebody takes openme's rules away. */
  flush(): void {
    this.#table = "";
    this.#richRules = [];
    this.#mangle = "-P PREROUTING ACCEPT\n";
    this.#hasChanged();
  }

  #hasChanged(): void {
    if (this.#isLegacy) this.legacyRules += "1";
    else this.generation++;
  }

  #read(path: string): string | null {
    if (path.endsWith("tables_names")) return this.#isLegacy ? "mangle\n" : null;
    return path.includes("/net/") ? "" : null;
  }

  readonly #run: RunProgram = (what: ProgramRun) => {
    this.started.push([what.program, ...what.args].join(" "));
    return Promise.resolve(this.#answer(what));
  };

  #answer({ program, args, stdin = "" }: ProgramRun): string {
    if (program === "nft") {
      if (args.includes("firewalld")) return "table inet firewalld {\n}\n";
      if (args.includes("--json")) return '{"nftables": []}';
      if (args[0] !== "-f") return this.#table;
      this.#table = /^table inet openme \{\n[^]*?^\}$/m.exec(stdin)?.[0] ?? this.#table;
      this.#hasChanged();
      return "";
    }
    if (program === "firewall-cmd") {
      if (args[0] === "--get-default-zone") return "public\n";
      const [, rule] = /^--add-rich-rule=(.*)/.exec(args[1] ?? "") ?? [];
      if (args[1] === "--list-rich-rules") return this.#richRules.join("\n");
      if (rule === undefined) return "";
      this.#richRules.push(rule);
      this.#hasChanged();
      return "";
    }
    if (args[0] === "--version") return this.#isLegacy ? "v1.8 (legacy)" : "v1.8 (nf_tables)";
    if (program.endsWith("-restore")) {
      this.#mangle = "-P PREROUTING ACCEPT\n-A PREROUTING -j OPENME\n-N OPENME\n";
      // The fingerprint of a table is without stamps.
      if (!this.#isLegacy || !stdin.startsWith("*mangle\n:OPENME_STAMPS ")) this.#hasChanged();
      return "";
    }
    return args.includes("mangle") ? this.#mangle : "";
  }
}

for (const name of ["nft", "iptables-nft", "iptables-legacy", "firewalld"] as const) {
  Deno.test(`an idle server starts at most ${MOST_PROGRAMS} programs a minute: ${name}`, async () => {
    await using folder = await Folder.create();
    const dropPorts = name !== "firewalld";
    const config = parseServerConfig(
      serverYaml({ server: [`drop_ports: ${dropPorts}`] }),
      "config.yaml",
    );
    const host = new Host(name);
    const { log, events } = memoryLog();
    const clock = processClock();
    const backend = await BACKENDS[name].make(host.parts(guardPlanOf(config), log));
    using time = new VirtualTime();
    const stop = new AbortController();
    const stopped = new Promise<void>((resolve) => stop.signal.onabort = () => resolve());
    const stamps = new CurrentStamps(config, clock.now());
    const socket = { listen: () => stopped, close: () => {} };
    const running = runServer({
      config,
      knocks: (sink) => new Intake(config, { socket, stamps, clock, sink }),
      backend,
      stateDir: folder.path,
      stamps,
      clock,
      log,
      signal: stop.signal,
    });
    await time.pass(10_000);
    for (let minute = 0; minute < 3; minute++) {
      host.started.length = 0;
      await time.pass(60_000);
      assert.ok(host.started.length <= MOST_PROGRAMS, host.started.join("\n"));
    }
    assert.ok(!events.some(({ level }) => level === "error"), JSON.stringify(events));

    host.flush();
    await time.pass(10_000);
    const names = events.map(({ event }) => event);
    assert.ok(names.includes("rules_missing") && names.includes("rules_restored"), names.join());
    stop.abort();
    await running;
  });
}
