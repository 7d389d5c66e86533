/**
 * How long configurations of many clients take: to be read, by a running server too and how long that is kept from
 * receiving meanwhile, and to be edited by `openme add` and `revoke`. Each in a process of its own, with all that V8 has
 * not compiled yet, in time on the processor (a reload sleeps in between: from start to end); without the start of the
 * process, and of the edits only what they take more than with two clients.
 */

import { fileURLToPath } from "node:url";
import { setImmediate } from "node:timers";
import { add } from "../lib/cli/commands/add.ts";
import { revoke } from "../lib/cli/commands/revoke.ts";
import type { Context } from "../lib/cli/context.ts";
import { loadServerConfig, reloadServerConfig } from "../lib/cli/load.ts";
import { reloadFrom } from "../lib/cli/serve/reload.ts";
import { guardPlanOf } from "../lib/config/guard_plan.ts";
import { encodeBase64 } from "../lib/crypto/keys.ts";
import { publicKeyOf } from "../lib/crypto/sync.ts";
import { createNoneBackend } from "../lib/firewall/none.ts";
import { type Running, runServer } from "../lib/server.ts";
import { Intake } from "../lib/receive/intake.ts";
import { CurrentStamps } from "../lib/receive/stamps.ts";
import { processClock } from "../lib/system/clock.ts";
import type { Log } from "../lib/system/log.ts";
import { print } from "./run.ts";

/** Of so many tries the best counts. */
const TRIES = 3;
const MOST_MS: Readonly<Record<number, number>> = { 1000: 60, 10_000: 600 };
/** How long a reload may keep the receiving thread. */
const MOST_HELD_MS = 5;

/** What one process measures, in ms. */
const TASKS = {
  read: async (path: string) => ({ ms: await timed(() => loadServerConfig(path)) }),
  reload,
  add: (path: string) => edit(path, add, ["new"]),
  revoke: (path: string) => edit(path, revoke, ["client0"]),
};
type Task = keyof typeof TASKS;
type Measured = { readonly ms: number; readonly heldMs?: number };

/** Measures and prints; gives whether all is within its bound. */
export async function manyClients(): Promise<boolean> {
  let kept = true;
  const dir = await Deno.makeTempDir({ prefix: "openme-bench-" });
  const path = `${dir}/config.yaml`;
  const best = async (task: Task, text: string): Promise<Measured> => {
    const tries: Measured[] = [];
    for (let i = 0; i < TRIES; i++) {
      await Deno.writeTextFile(path, text, { mode: 0o600 });
      tries.push(await inProcess(task, path));
    }
    const least = (of: (each: Measured) => number) => Math.min(...tries.map(of));
    return { ms: least(({ ms }) => ms), heldMs: least(({ heldMs = 0 }) => heldMs) };
  };
  try {
    const few = serverWith(2);
    const own = { add: (await best("add", few)).ms, revoke: (await best("revoke", few)).ms };
    for (const [count, mostMs] of Object.entries(MOST_MS)) {
      const text = serverWith(Number(count));
      for (const task of Object.keys(TASKS) as Task[]) {
        const { ms: whole, heldMs = 0 } = await best(task, text);
        const ms = task in own ? whole - own[task as keyof typeof own] : whole;
        const more = task === "reload"
          ? `; the thread is held for ${heldMs.toFixed(1)} (at most ${MOST_HELD_MS})`
          : task in own
          ? " more than with 2"
          : "";
        print(`${task} with ${count} clients: ${ms.toFixed(0)} ms (at most ${mostMs})${more}`);
        kept &&= ms <= mostMs && heldMs <= MOST_HELD_MS;
      }
    }
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
  return kept;
}

/** A file as `openme init` and `add` write it. */
function serverWith(clients: number): string {
  const random = () => crypto.getRandomValues(new Uint8Array(32));
  const entries = Array.from({ length: clients }, (_, i) =>
    `  client${i}:
    ed25519_pubkey: ${encodeBase64(publicKeyOf("Ed25519", random()))}
    allowed_ports: [ssh]
`);
  return `# openme server configuration
server:
  host: vps.example.org
  private_key: ${encodeBase64(random())}
  firewall: none

ports:
  ssh: [22/tcp]

clients:
${entries.join("")}`;
}

async function inProcess(task: Task, path: string): Promise<Measured> {
  const script = fileURLToPath(import.meta.url);
  const { code, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-A", "--v8-flags=--expose-gc", script, task, path],
    stderr: "inherit",
  }).output();
  if (code !== 0) throw new Error(`bench_config.ts ${task} failed`);
  return JSON.parse(new TextDecoder().decode(stdout)) as Measured;
}

async function timed(run: () => Promise<unknown>): Promise<number> {
  const start = busyMs();
  await run();
  return busyMs() - start;
}

/** How long this thread has had a processor, ms: what else the machine does is not in it. */
function busyMs(): number {
  if (Deno.build.os !== "linux") return performance.now();
  return Number(Deno.readTextFileSync("/proc/thread-self/schedstat").split(" ")[0]) / 1e6;
}

/** The command's own work: all but the start of the process. */
async function edit(path: string, { run }: typeof add, positionals: string[]): Promise<Measured> {
  const edges = { stdout: () => {}, stderr: () => {}, outputIsLost: () => Promise.resolve(false) };
  const context = edges as unknown as Context;
  return { ms: await timed(() => run({ values: { config: path }, positionals }, context)) };
}

/** A server that does everything but receive reads a file in which one client is missing. */
async function reload(path: string): Promise<Measured> {
  const log: Log = { error: fail, warn() {}, info() {}, debug() {}, enabled: () => false };
  const { config } = await loadServerConfig(path);
  const clock = processClock();
  const stateDir = await Deno.makeTempDir({ prefix: "openme-bench-" });
  const stop = new AbortController();
  const stopped = new Promise<void>((resolve) => {
    stop.signal.addEventListener("abort", () => resolve());
  });
  const run = () => Promise.resolve("");
  const backend = createNoneBackend(guardPlanOf(config), run);
  const running = Promise.withResolvers<Running>();
  const stamps = new CurrentStamps(config, clock.now());
  const socket = { listen: () => stopped, close: () => {} };
  const server = runServer({
    ...{ config, backend, stateDir, clock, log, signal: stop.signal },
    knocks: (sink) => new Intake(config, { socket, stamps, clock, sink }),
    stamps,
    onListening: running.resolve,
  });
  try {
    const parts = { started: config, backend, running: await running.promise };
    await edit(path, revoke, ["client1"]);
    // The former configuration is hours old.
    (globalThis as unknown as { gc: () => void }).gc();
    await new Promise((resolve) => setTimeout(resolve, 200));
    const held = longestHeld();
    const start = performance.now();
    await reloadFrom((running) => reloadServerConfig(path, running), parts);
    const ms = performance.now() - start;
    const left = parts.running.config().clients.length;
    if (left !== config.clients.length - 1) throw new Error("the bench measured something else");
    return { ms, heldMs: held() };
  } finally {
    stop.abort();
    await server;
    await Deno.remove(stateDir, { recursive: true });
  }
}

function fail(event: string): never {
  throw new Error(event);
}

/** Measures how long the event loop was busy with one thing, until the function that it returns is called. */
function longestHeld(): () => number {
  let [last, longest] = [performance.now(), 0];
  let ended = false;
  const turn = () => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    if (!ended) setImmediate(turn);
  };
  setImmediate(turn);
  return () => {
    ended = true;
    turn();
    return longest;
  };
}

if (import.meta.main) {
  const [task, path] = Deno.args;
  if (task === undefined) Deno.exit(await manyClients() ? 0 : 1);
  print(JSON.stringify(await TASKS[task as Task](path!)));
}
