/**
 * What every backend owes (lib/firewall/backend.ts), tried against each that this machine can run: the same cases, with
 * real packets. A backend is a line in the table below.
 */

import assert from "node:assert/strict";
import { DEFAULT_MARK } from "../../lib/config/firewall.ts";
import { parseAddress } from "../../lib/values/address.ts";
import { OpenmeError } from "../../lib/values/errors.ts";
import type { Backend, ClientOpenings } from "../../lib/firewall/backend.ts";
import type { BackendName, CommandLines, GuardPlan } from "../../lib/firewall/plan.ts";
import { chooseBackend } from "../../lib/firewall/choose.ts";
import { Guard } from "../../lib/firewall/guard.ts";
import { showingParts } from "../../lib/firewall/none.ts";
import { NftSession } from "../../lib/firewall/nft/session.ts";
import { signalNft } from "./signal_nft.ts";
import { Grants } from "../../lib/grants.ts";
import { createLog } from "../../lib/system/log.ts";
import { parseNetwork } from "../../lib/values/network.ts";
import { mergePortRanges, parsePortSpec, type PortRange } from "../../lib/values/ports.ts";
import { type ProgramRun, type RunProgram, runProgram } from "../../lib/system/run_program.ts";
import { processClock } from "../../lib/system/clock.ts";
import { e2e } from "./e2e.ts";
import { iptablesHost } from "./host_rules.ts";
import { IPV4, IPV6, type Lab, type Side } from "./lab.ts";
import { FirewalldHost, firewalldMissing } from "./firewalld_host.ts";
import { createPfStandIn, type StandIn } from "./pf_stand_in.ts";
import { HOST_RULES } from "./rules.ts";
import { pause, waitFor, within } from "../support/wait.ts";

interface Candidate {
  readonly title: string;
  readonly name: BackendName;
  /** How the host closes its ports by itself; then the backend has to make holes. */
  readonly host?: (lab: Lab) => Promise<FirewalldHost | void>;
  /** Why it cannot run here, or `undefined`. */
  readonly needs?: string | undefined;
  /** What takes openme's rules away, as a stranger's reload does. */
  readonly flush?: (lab: Lab, host: FirewalldHost | void) => Promise<void>;
  readonly command?: (dir: string) => CommandLines;
  /** Whether changes go through a long-lived `nft -i`, as `serve` has it. */
  readonly session?: boolean;
  /** How long others may wait for one that hangs and for their own program. @default {1000} */
  readonly patienceMs?: number;
  /** Whether the backend acts at all. */
  readonly acts?: boolean;
  /** A stand-in for a program that this machine cannot have; it also says what would get through. */
  readonly standIn?: (dir: string) => StandIn;
}

const nftFlush = (lab: Lab) => lab.nft("flush ruleset");
const iptablesFlush = (kind: string) => async (lab: Lab) => {
  for (const program of [`iptables-${kind}`, `ip6tables-${kind}`]) {
    await lab.run("server", [program, "-t", "mangle", "-F"]);
  }
};

const CANDIDATES: readonly Candidate[] = [
  { title: "nft", name: "nft", flush: nftFlush },
  { title: "nft with its session", name: "nft", flush: nftFlush, session: true },
  { title: "nft behind the host's rules", name: "nft", host: (lab) => lab.nft(HOST_RULES) },
  { title: "iptables-nft", name: "iptables-nft", flush: iptablesFlush("nft") },
  {
    title: "iptables-nft behind the host's rules",
    name: "iptables-nft",
    host: (lab) => iptablesHost(lab, "nft"),
  },
  { title: "iptables-legacy", name: "iptables-legacy", flush: iptablesFlush("legacy") },
  {
    title: "iptables-legacy behind the host's rules",
    name: "iptables-legacy",
    host: (lab) => iptablesHost(lab, "legacy"),
  },
  {
    title: "command",
    name: "command",
    host: (lab) => iptablesHost(lab, "nft"),
    command: (dir) => writeScript(dir, { lists: false }),
    patienceMs: 12_000, // one program at a time: it is killed first
  },
  {
    title: "command with a list",
    name: "command",
    host: (lab) => iptablesHost(lab, "nft"),
    command: (dir) => writeScript(dir, { lists: true }),
    patienceMs: 12_000, // one program at a time: it is killed first
    flush: async (lab) => {
      for (const program of ["iptables-nft", "ip6tables-nft"]) {
        const takeOut = `${program}-save | grep -v '"openme ' | ${program}-restore`;
        await lab.run("server", ["sh", "-c", takeOut]);
      }
    },
  },
  {
    title: "firewalld",
    name: "firewalld",
    host: (lab) => FirewalldHost.create(lab),
    patienceMs: 4000, // firewall-cmd takes long by itself; the one that hangs is killed after 10 s
    needs: firewalldMissing(),
    flush: async (_lab, host) => {
      await host!.cmd("--reload");
    },
  },
  { title: "pf, with a stand-in for pfctl", name: "pf", standIn: createPfStandIn },
  { title: "none", name: "none", acts: false },
];

/** The user's own program for the backend `command`: opens and closes in the host's INPUT chain. */
function writeScript(dir: string, { lists }: { lists: boolean }): CommandLines {
  const path = `${dir}/allow`;
  Deno.writeTextFileSync(
    path,
    `#!/bin/sh
set -e
if [ "$1" = list ]; then
  for program in iptables-nft ip6tables-nft; do $program -w -S INPUT; done |
    sed -n 's/.*--comment "\\(openme [^"]*\\)".*/\\1/p'
  exit
fi
[ "$3" = 6 ] && program=ip6tables-nft || program=iptables-nft
rule() {
  $program -w "$@" -m comment --comment "openme $address $protocol $first $last" -j ACCEPT
}
address=$2 protocol=$4 first=$5 last=$6
match="INPUT -s $address -p $protocol --dport $first:$last"
if [ "$1" = open ]; then rule -C $match 2>/dev/null || rule -I $match
else rule -D $match; fi
`,
    { mode: 0o755 },
  );
  const args = ["{address}", "{family}", "{protocol}", "{port}", "{end_port}"];
  return {
    open: [path, "open", ...args],
    close: [path, "close", ...args],
    ...(lists
      ? { list: { line: [path, "list"], entry: "openme {address} {protocol} {port} {end_port}" } }
      : {}),
  };
}

const GUARDED = ["22/tcp", "80/tcp", "8080-8090/tcp", "5353/udp"];

function ranges(...specs: string[]): PortRange[] {
  return mergePortRanges(specs.map((spec) => parsePortSpec(spec) as PortRange));
}

function opening(address: string, timeoutMs: number, ...specs: string[]): ClientOpenings {
  return {
    address: parseNetwork(address)!,
    openings: ranges(...specs).map((range) => ({ ...range, timeoutMs })),
    clients: ["alice"],
  };
}

/** Runs programs in the server's namespace; each test may get in the way. */
class Runner {
  /** Where programs are that are not this machine's. */
  programs: ReadonlyMap<string, string> = new Map();
  /** Programs, by what they are called with, that hang instead. */
  hangs: ((call: ProgramRun) => boolean) | undefined;
  fails = false;
  missing = false;
  readonly #lab: Lab;

  constructor(lab: Lab) {
    this.#lab = lab;
  }

  readonly run: RunProgram = (call) => {
    const { program, args } = call;
    const inside = (...command: string[]) =>
      runProgram({
        ...call,
        program: "ip",
        args: ["netns", "exec", this.#lab.namespace("server"), ...command],
      });
    if (program === "cat") return inside(program, ...args);
    if (this.missing) return runProgram({ ...call, program: `openme-has-no-${program.slice(-9)}` });
    if (this.fails) return inside("sh", "-c", "echo not today >&2; exit 4");
    if (this.hangs?.(call)) {
      this.hangs = undefined;
      return inside("sleep", "20"); // longer than any deadline
    }
    return inside(this.programs.get(program) ?? program, ...args);
  };
}

/** A machine on which one run fails: the second that writes, or the first that reads after one that wrote. */
class Half {
  hasFailed = false;
  #writes = 0;
  readonly #run: RunProgram;
  readonly #what: "write" | "read";

  constructor(run: RunProgram, what: "write" | "read") {
    this.#run = run;
    this.#what = what;
  }

  readonly run: RunProgram = async (call) => {
    const { program, stdin, args } = call;
    if (program === "cat" || this.hasFailed) return await this.#run(call);
    const writes = stdin !== undefined || /\/allow$/.test(program) || args.includes("-T") ||
      args.some((each) => /^--(?:add|remove)-rich-rule/.test(each));
    this.hasFailed = writes
      ? this.#what === "write" && this.#writes === 1
      : this.#what === "read" && this.#writes > 0;
    if (writes) this.#writes++;
    if (this.hasFailed) throw new OpenmeError("FIREWALL", "not today", { hint: "tomorrow" });
    return await this.#run(call);
  };
}

/** Everything that the host's programs show, without counters. */
async function allRules(lab: Lab): Promise<string> {
  const lists = [["nft", "-s", "list", "ruleset"], ["iptables-legacy-save"], [
    "ip6tables-legacy-save",
  ]];
  const texts = await Promise.all(lists.map((command) => lab.run("server", command)));
  // The old kind cannot take its own empty tables out again, and prints the time.
  return texts.join("\n").replaceAll(/^#.*\n/gm, "").replaceAll(/\[\d+:\d+\]/g, "")
    .replaceAll(/\*mangle\n(:\w+ ACCEPT \n)+COMMIT\n/g, "");
}

for (const candidate of CANDIDATES) {
  e2e(`the backend ${candidate.title}`, (lab, t) => conforms(lab, t, candidate), {
    silentServer: false,
    needs: candidate.needs,
  });
}

async function conforms(lab: Lab, t: Deno.TestContext, candidate: Candidate): Promise<void> {
  const { name, host, flush, acts = true } = candidate;
  const { server, client, other } = await lab.agents("server", "client", "other");
  await server.listen({ tcp: [22, 80, 8080, 8085, 8090, 9000], udp: [5353] });
  const hosted = await host?.(lab);
  await using _ended = hosted ?? { [Symbol.asyncDispose]: () => Promise.resolve() };
  const dir = await Deno.makeTempDir({ prefix: "openme-conformance-" });
  const runner = new Runner(lab);
  const lines: string[] = [];
  const log = createLog({
    level: "debug",
    format: "logfmt",
    now: () => new Date(),
    write: (line) => lines.push(line),
  });
  const plan: GuardPlan = {
    knockPort: 54154,
    guardedPorts: ranges(...GUARDED),
    forwardedPorts: [],
    dropPorts: !host,
    closedAs: "drop",
    openKnockPort: true,
    interface: undefined,
    mark: DEFAULT_MARK,
    prefixes: [{ family: 4, length: 24 }, { family: 6, length: 64 }],
    lifetimeMs: 60_000,
  };
  const sessions: NftSession[] = [];
  const newSession = () => {
    const session = new NftSession(["ip", "netns", "exec", lab.namespace("server"), "nft"]);
    sessions.push(session);
    return session;
  };
  const make = (run = runner.run): Promise<Backend> =>
    chooseBackend(name, {
      plan,
      run,
      log,
      stateDir: dir,
      command: candidate.command?.(dir),
      nftSession: candidate.session ? newSession() : undefined,
    });
  const standIn = candidate.standIn?.(dir);
  const programs = runner.programs = new Map([
    ...(standIn ? [[standIn.program, standIn.path] as const] : []),
    ...(hosted ? [["firewall-cmd", hosted.program] as const] : []),
  ]);
  const agents = { server, client, other };
  const reaches = async (side: Side, port: number, family: 4 | 6 = 4) => {
    const [to, from] = ["server" as const, side].map((each) => (family === 4 ? IPV4 : IPV6)[each]);
    if (standIn) return standIn.passes({ protocol: "tcp", from: from!, port });
    return await agents[side].reaches(to!, port, 300);
  };
  const reachesUdp = async (port: number) =>
    standIn
      ? standIn.passes({ protocol: "udp", from: IPV4.client, port })
      : await client.echoesUdp(IPV4.server, port);
  const isOpen = (port: number, family: 4 | 6 = 4) => reaches("client", port, family);
  const isClosed = async (port: number, family: 4 | 6 = 4) => !await isOpen(port, family);
  const before = await allRules(lab);

  try {
    if (!acts) {
      await t.step("touches nothing", async () => {
        const backend = await make();
        await backend.install([opening(IPV4.client, 60_000, "22/tcp")]);
        await backend.apply([opening(IPV4.other, 60_000, "22/tcp")]);
        assert.equal(await backend.isIntact(), true);
        assert.equal(await backend.examine(), undefined);
        assert.equal(await allRules(lab), before);
        await backend.remove();
        assert.equal(await allRules(lab), before);
      });
      return;
    }

    await t.step("shows what it would run, and runs none of it", async () => {
      const wasOpen = await isOpen(22);
      const shown: string[] = [];
      const parts = {
        plan,
        run: runner.run,
        log,
        stateDir: dir,
        command: candidate.command?.(dir),
      };
      const showing = await chooseBackend(name, showingParts(parts, (text) => shown.push(text)));
      await showing.install([]);
      await showing.apply([opening(IPV4.client, 60_000, "22/tcp")]);
      await showing.apply([opening("192.0.2.0/24", 60_000, "22/tcp", "8080-8089/tcp")]);
      showing.reconfigure({ ...plan, guardedPorts: ranges("22/tcp") });
      await showing.install([opening(IPV6.client, 60_000, "22/tcp")]);
      for (const each of [IPV4.client, "192.0.2.0", IPV6.client]) {
        assert.ok(shown.some((text) => text.includes(each)), `${each}:\n${shown.join("")}`);
      }
      await showing.remove();
      assert.equal(await allRules(lab), before);
      assert.equal(await isOpen(22), wasOpen);
      assert.deepEqual([...Deno.readDirSync(dir)].filter(({ name }) => /json/.test(name)), []);
    });

    let backend = await make();
    await t.step("closes the guarded ports, in both families", async () => {
      const isFirst = !host && !standIn;
      if (isFirst) assert.ok(await isOpen(22), "open without openme");
      // Connection tracking is idle before: it has never heard of this session.
      const session = isFirst ? await client.hold(IPV4.server, 22) : undefined;
      await backend.install([]);
      if (session) {
        assert.ok(await session.echoes(), "what was open before the guard came goes on");
        await session.close();
      }
      assert.deepEqual(
        await Promise.all([isOpen(22), isOpen(22, 6), isOpen(8085), isOpen(80, 6)]),
        [false, false, false, false],
      );
      if (!host) assert.ok(await isOpen(9000), "what is not guarded stays open");
      assert.equal(await backend.isIntact(), true);
      // Another process sees the same, or says that it cannot tell.
      const rules = await allRules(lab);
      for (const each of [backend, await make()]) {
        const { wrong = [], unguarded = [], barred = [] } = await each.examine() ?? {};
        assert.deepEqual({ wrong, unguarded, barred }, { wrong: [], unguarded: [], barred: [] });
      }
      assert.equal(await allRules(lab), rules, "looking changes nothing");
    });

    await t.step("opens for one address, these ports, both families, and lists it", async () => {
      await backend.apply([opening(IPV4.client, 60_000, "22/tcp", "8080-8089/tcp", "5353/udp")]);
      await backend.apply([opening(IPV6.client, 60_000, "80/tcp")]);
      assert.ok(await isOpen(22));
      assert.ok(await isOpen(8080) && await isOpen(8085));
      assert.ok(await reachesUdp(5353));
      assert.ok(await isOpen(80, 6));
      assert.deepEqual(
        await Promise.all([isOpen(80), isOpen(8090), isOpen(22, 6), reaches("other", 22)]),
        [false, false, false, false],
      );
      const listed = await backend.list();
      if (listed) {
        assert.deepEqual([...new Set(listed.map(({ address }) => address))].sort(), [
          IPV4.client,
          IPV6.client,
        ]);
      }
      assert.equal(await backend.isIntact(), true);
    });

    await t.step("takes the same again, and less", async () => {
      await backend.apply([opening(IPV4.client, 60_000, "22/tcp", "80/tcp")]);
      await backend.apply([opening(IPV4.client, 60_000, "22/tcp", "80/tcp")]);
      assert.ok(await isOpen(22) && await isOpen(80));
      assert.ok(await isClosed(8085));
      await backend.apply([opening(IPV4.client, 60_000), opening(IPV6.client, 60_000)]);
      assert.ok(await isClosed(22) && await isClosed(80) && await isClosed(80, 6));
      await backend.apply([opening(IPV4.client, 60_000)]);
    });

    await t.step("ends an opening by itself, and renews", async () => {
      await backend.apply([
        opening(IPV4.client, 4000, "22/tcp"),
        opening(IPV6.client, 4000, "22/tcp"),
      ]);
      assert.ok(await isOpen(22) && await isOpen(22, 6));
      await pause(1000);
      await backend.apply([opening(IPV6.client, 8000, "22/tcp")]);
      await waitFor("the opening to end", () => isClosed(22));
      assert.ok(await isOpen(22, 6), "the renewed one lasts");
      await waitFor("the renewed opening to end", () => isClosed(22, 6), { timeoutMs: 10_000 });
    });

    await t.step(
      "opens for a network, beside an address in it, and each ends by itself",
      async () => {
        const networks = { 4: "10.0.0.0/24", 6: "fd00::/64" };
        for (const family of [4, 6] as const) {
          const [network, mine] = [networks[family], (family === 4 ? IPV4 : IPV6).client];
          await backend.apply([
            opening(mine, 60_000, "22/tcp", "80/tcp"),
            opening(network, 60_000, "22/tcp"),
          ]);
          assert.ok(await reaches("other", 22, family), "nobody knocked for that address");
          assert.ok(await isOpen(22, family) && await isOpen(80, family));
          assert.equal(await reaches("other", 80, family), false);
          const listed = await backend.list();
          if (listed) {
            assert.deepEqual([...new Set(listed.map(({ address }) => address))].sort(), [
              network,
              mine,
            ]);
          }
          // Renewed with other ports, then the one ends, then the other.
          await backend.apply([
            opening(network, 60_000, "20-30/tcp"),
            opening(mine, 60_000, "22/tcp"),
          ]);
          assert.ok(await reaches("other", 22, family));
          await backend.apply([opening(mine, 0)]);
          assert.ok(await reaches("other", 22, family));
          await backend.apply([opening(mine, 60_000, "22/tcp"), opening(network, 0)]);
          assert.equal(await reaches("other", 22, family), false);
          assert.ok(await isOpen(22, family));
          await backend.apply([opening(mine, 0)]);
        }
        const both = [networks[4], networks[6]];
        await backend.apply(both.map((each) => opening(each, 4000, "22/tcp")));
        assert.ok(await reaches("other", 22) && await reaches("other", 22, 6));
        await waitFor("a network to close", async () => !await reaches("other", 22));
        await waitFor("the other to close", async () => !await reaches("other", 22, 6));
        assert.ok(await isClosed(22) && await isClosed(22, 6));
        assert.equal(await backend.isIntact(), true);
      },
    );

    await t.step("keeps what one of two clients at an address still holds", async () => {
      const both = opening(IPV4.client, 60_000, "22/tcp");
      await backend.apply([{
        ...both,
        openings: [...both.openings, ...opening(IPV4.client, 4000, "80/tcp").openings],
        clients: ["alice", "bob"],
      }]);
      assert.ok(await isOpen(22) && await isOpen(80));
      await waitFor("the shorter one to end", () => isClosed(80));
      assert.ok(await isOpen(22));
    });

    // A stand-in has no connections.
    if (!standIn) {
      await t.step("lets what is established go on", async () => {
        const session = await client.hold(IPV4.server, 22);
        await backend.apply([opening(IPV4.client, 0)].map((each) => ({ ...each, openings: [] })));
        assert.ok(await isClosed(22));
        assert.ok(await session.echoes());
        await session.close();
      });
    }

    await t.step("clears away what a dead process left", async () => {
      await backend.apply([opening(IPV4.client, 60_000, "22/tcp")]);
      assert.ok(await isOpen(22));
      backend = await make(); // the other one does nothing any more
      await backend.install([opening(IPV6.client, 60_000, "80/tcp")]);
      assert.ok(await isClosed(22));
      assert.ok(await isOpen(80, 6));
      await backend.install([]);
      assert.ok(await isClosed(80, 6));
    });

    if (flush) {
      await t.step("sees that its rules are gone, and puts them back", async () => {
        await backend.apply([opening(IPV4.client, 60_000, "22/tcp")]);
        await flush(lab, hosted);
        assert.equal(await backend.isIntact(), false);
        const { wrong, unguarded } = (await backend.examine())!;
        assert.notDeepEqual(wrong, []);
        assert.deepEqual(unguarded, host ? [] : plan.guardedPorts);
        await backend.install([opening(IPV4.client, 60_000, "22/tcp")]);
        assert.equal(await backend.isIntact(), true);
        assert.ok(await isOpen(22));
        assert.ok(await isClosed(80));
      });
    }

    await t.step("says so where its program is missing, and where it fails", async () => {
      for (
        const [way, pattern] of [["missing", /no such program/], ["fails", /not today/]] as const
      ) {
        const broken = new Runner(lab);
        broken.programs = programs;
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
      await backend.install([]);
    });

    const { patienceMs = 1000 } = candidate;
    await t.step(`serves others within ${patienceMs / 1000} s while one run hangs`, async () => {
      await backend.install([]);
      const grants = new Grants();
      const clock = processClock();
      const guard = new Guard({ backend, grants, clock, log });
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
      if (candidate.session) assert.ok(await signalNft(lab, "STOP") > 0);
      else {
        runner.hangs = ({ stdin, program, args }) =>
          stdin !== undefined || program.endsWith("/allow") || args.includes("-T") ||
          args.some((each) => each.startsWith("--add-rich-rule"));
      }
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

    await t.step("leaves everything as it was", async () => {
      await backend.remove();
      const left = await backend.examine();
      // The host closes; of a command's rules none may be left.
      if (name === "command") assert.deepEqual(left?.wrong ?? [], []);
      else assert.ok(left && left.wrong.length > 0);
      await backend.remove();
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
  } finally {
    for (const session of sessions) session.close();
    await Deno.remove(dir, { recursive: true });
  }
}
