/** The processes of a running `serve`, as the kernel knows them, and how a test puts another program in the taker's place. */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { ONE_USER } from "../support/one_user.ts";
import { KNOCK_PORT } from "./e2e.ts";
import type { Lab, Side } from "./lab.ts";
import { runToEnd } from "./lab.ts";
import { Served } from "./openme.ts";
import type { Site } from "./site.ts";

/** Why `serve` is one process here whatever its configuration says, or `undefined`. */
export const oneProcess = ONE_USER
  ? "needs more than one user id, which only the machine's own root has"
  : undefined;

/** Why no other program can be put in the taker's place, or `undefined`. */
export const noStandIn = oneProcess ??
  (Deno.env.get("OPENME_BIN") ? "needs openme to run from source" : undefined);

const STAND_IN = fileURLToPath(new URL("./taker_stand_in.ts", import.meta.url));
const DENO_DIR = Deno.env.get("DENO_DIR") ??
  `${Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME")}/.cache`}/deno`;

/** Starts `serve` with the stand-in of this name (taker_stand_in.ts) in the place of the taker. */
export async function serveWithStandIn(
  lab: Lab,
  { dir, config }: Site,
  name: string,
  args: readonly string[] = [],
): Promise<Served> {
  await Deno.writeTextFile(`${dir}/taker`, name);
  const deno = [Deno.execPath(), "run", "--cached-only", "-A"];
  // The home folder is how the stand-in learns of this one.
  const options = { env: { HOME: dir, DENO_DIR } };
  const command = [...deno, STAND_IN, "serve", "--config", config, ...args];
  const served = new Served(lab.start("server", command, options));
  await served.waitForLine(/event=listening/, 20_000);
  return served;
}

/** The process that has the knock port. */
export async function knockSocketOwner(lab: Lab): Promise<number> {
  const sockets = await lab.run("server", ["ss", "-Hulpn", `sport = :${KNOCK_PORT}`]);
  const pids = new Set(Array.from(sockets.matchAll(/pid=(\d+)/g), ([, pid]) => Number(pid)));
  assert.equal(pids.size, 1, sockets);
  return [...pids][0]!;
}

/** The taker of a server that is separated. */
export async function takerOf(lab: Lab, served: Served): Promise<number> {
  const taker = await knockSocketOwner(lab);
  assert.notEqual(taker, served.pid, "the keeper has the knock port");
  assert.equal(statusOf(taker)["PPid"], String(served.pid));
  return taker;
}

/** Asserts that no thread of a process has a capability, may get one, is of root's, or may make every system call. */
export function assertNoRights(pid: number): void {
  const threads = threadsOf(pid);
  assert.ok(threads.length > 1);
  for (const thread of threads) {
    const status = statusOf(pid, thread);
    for (const field of ["CapPrm", "CapEff", "CapBnd", "CapAmb"]) {
      assert.match(status[field]!, /^0+$/, field);
    }
    assert.equal(status["NoNewPrivs"], "1");
    assert.equal(status["Seccomp"], "2");
    assert.ok(
      !`${status["Uid"]} ${status["Gid"]} ${status["Groups"]}`.split(/\s+/).includes("0"),
    );
  }
}

/** /proc/PID/status, of one thread where that is given. */
export function statusOf(pid: number, thread = pid): Record<string, string> {
  const text = Deno.readTextFileSync(`/proc/${pid}/task/${thread}/status`);
  return Object.fromEntries(
    text.trim().split("\n").map((line) => line.split(/:\s*/, 2) as [string, string]),
  );
}

function threadsOf(pid: number): number[] {
  return Array.from(Deno.readDirSync(`/proc/${pid}/task`), ({ name }) => Number(name));
}

/** What `ss` says of the sockets of a process that packets of a network reach. */
export async function networkSocketsOf(lab: Lab, pid: number): Promise<string[]> {
  const kinds = ["--udp", "--tcp", "--raw", "--packet", "--sctp"];
  const sockets = await lab.run("server", ["ss", "-Hanp", ...kinds]);
  return sockets.split("\n").filter((line) => line.includes(`pid=${pid},`));
}

/** Memory of every openme process on one side, MB: a page that several share counts once (Pss, proc_pid_smaps(5)). */
export async function memoryOf(lab: Lab, side: Side): Promise<number> {
  const { stdout } = await runToEnd("ip", ["netns", "pids", lab.namespace(side)]);
  return stdout.split("\n").filter(Boolean).reduce((sum, pid) => sum + memoryOfProcess(pid), 0);
}

function memoryOfProcess(pid: string): number {
  try {
    const command = Deno.readTextFileSync(`/proc/${pid}/cmdline`);
    if (command.includes("/agent.ts") || command.includes("/wire.ts")) return 0;
    const sizes = Deno.readTextFileSync(`/proc/${pid}/smaps_rollup`);
    return Number(/^Pss:\s+(\d+) kB/m.exec(sizes)?.[1] ?? 0) / 1024;
  } catch {
    return 0; // it has ended
  }
}
