/**
 * The way of a datagram as `serve` has it, for the bench: the real admission, pipeline, state store on disk, guard and log,
 * with a firewall backend that does nothing and a log whose lines go nowhere. Beside it what SQLite alone takes for the
 * same rows.
 */

import { type Address, formatAddress } from "../lib/values/address.ts";
import { parseServerConfig } from "../lib/config/server.ts";
import { bytesToHex, encodeBase64, type KeyPair } from "../lib/crypto/keys.ts";
import { ServerLog } from "../lib/receive/server_log.ts";
import { Guard } from "../lib/firewall/guard.ts";
import { createNoneBackend } from "../lib/firewall/none.ts";
import { Grants } from "../lib/grants.ts";
import { Pipeline } from "../lib/receive/pipeline.ts";
import { Intake } from "../lib/receive/intake.ts";
import type { TakeDatagram } from "../lib/receive/socket.ts";
import { CurrentStamps } from "../lib/receive/stamps.ts";
import { createLog } from "../lib/system/log.ts";
import { ReplayMemory } from "../lib/replay.ts";
import { connectDatabase } from "../lib/state/database.ts";
import { prepareStatements } from "../lib/state/statements.ts";
import { runProgram } from "../lib/system/run_program.ts";
import { guardPlanOf } from "../lib/config/guard_plan.ts";
import { StateStore } from "../lib/state/store.ts";
import { processClock } from "../lib/system/clock.ts";

const WINDOW = "3600s";
const LIFETIME_MS = 30_000;

/** The configuration of a server with these clients. */
function configOf(server: KeyPair, clients: readonly KeyPair[]) {
  const entries = clients.map(({ publicKey }, i) =>
    `  ${clientName(i)}:
    ed25519_pubkey: ${encodeBase64(publicKey)}
    allowed_ports: [22/tcp]
`
  );
  return parseServerConfig(
    `server:
  private_key: ${encodeBase64(server.privateKey)}
  knock_timeout: ${LIFETIME_MS / 1000}s
  replay_window: ${WINDOW}
  drop_ports: true
clients:
${entries.join("")}`,
    "bench",
  );
}

/** What the bench calls a client. */
export function clientName(i: number): string {
  return `client${i}`;
}

/** A running pipeline. */
export interface RealPipeline {
  /** From the socket's hand-over to the row on disk and the guard's list of changes. */
  readonly take: (datagram: Uint8Array, source: Address) => void;
  /** Grants that the guard has been told of, and lines that the log was given. */
  readonly opened: () => number;
  readonly lines: () => number;
}

/** Sets everything up in a folder of its own, which is removed when the process ends. */
export async function realPipeline(
  server: KeyPair,
  clients: readonly KeyPair[],
): Promise<RealPipeline> {
  const config = configOf(server, clients);
  const dir = tempDir();
  const clock = processClock();
  let [opened, lines] = [0, 0];
  const drops = new ServerLog(createLog({
    level: "info",
    format: "logfmt",
    now: () => new Date(),
    write: () => void lines++,
  }));
  const { log } = drops;
  const replay = new ReplayMemory();
  const grants = new Grants();
  const replayWindowNs = BigInt(config.replayWindowMs) * 1_000_000n;
  const { store } = StateStore.open({ dir, replay, replayWindowNs, clock, log });
  const guard = new Guard({
    backend: createNoneBackend(guardPlanOf(config), runProgram),
    grants,
    clock,
    log,
  });
  let take: TakeDatagram = () => {};
  const socket = {
    listen: (taker: TakeDatagram) => {
      take = taker;
      return Promise.resolve();
    },
    close: () => {},
  };
  const stamps = new CurrentStamps(config, clock.now());
  const pipeline: Pipeline = new Pipeline(config, {
    ...{ grants, replay, store, guard, clock, log, drops },
    accepted: (key, source) => intake.accepted(key, source),
  });
  const intake = new Intake(config, { socket, stamps, clock, sink: pipeline });
  pipeline.reporter.onOpened(() => void opened++);
  await intake.listen(new AbortController().signal);
  await guard.start();
  Deno.unrefTimer(setInterval(() => drops.tick(), 1000));
  addEventListener("unload", () => store.close());
  return {
    take: (datagram, source) => take(datagram, formatAddress(source)),
    opened: () => opened,
    lines: () => lines,
  };
}

/** The rows of {@linkcode RealPipeline}, written by nothing but SQLite. */
export interface BareDisk {
  /** One transaction with what must be on disk before anything opens: a nonce and a grant. */
  readonly knock: (i: number, source: Address) => void;
  /** One transaction with the story of so many knocks, as `serve` writes it 50 ms later. */
  readonly stories: (count: number, source: Address) => void;
}

/** Opens a database of its own, which is removed when the process ends. */
export function bareDisk(clients: readonly KeyPair[]): BareDisk {
  const database = connectDatabase(`${tempDir()}/state.db`);
  const run = prepareStatements(database);
  addEventListener("unload", () => database.close());
  const keys = clients.map(({ publicKey }) => bytesToHex(publicKey));
  return {
    knock: (i, source) => {
      const key = keys[i % keys.length]!;
      const nowMs = Date.now();
      const nonce = crypto.getRandomValues(new Uint8Array(16));
      const address = formatAddress(source);
      run.begin.run();
      run.insertNonce.run(key, nonce, BigInt(nowMs) * 1_000_000n + BigInt(i));
      const ends = [nowMs, nowMs + LIFETIME_MS, performance.now()] as const;
      run.upsertGrant.run(clientName(i % keys.length), address, key, "22/tcp 54154/tcp", ...ends);
      run.commit.run();
    },
    stories: (count, source) => {
      const nowMs = Date.now();
      const address = formatAddress(source);
      const ports = "22/tcp 54154/tcp";
      run.begin.run();
      keys.forEach((_, i) => run.upsertLastSeen.run(clientName(i), nowMs));
      for (let i = 0; i < count; i++) {
        const client = clientName(i % keys.length);
        run.insertKnock.run(
          nowMs,
          "granted",
          client,
          address,
          address,
          ports,
          nowMs + LIFETIME_MS,
        );
      }
      run.commit.run();
    },
  };
}

function tempDir(): string {
  const dir = Deno.makeTempDirSync({ prefix: "openme-bench-" });
  addEventListener("unload", () => Deno.removeSync(dir, { recursive: true }));
  return dir;
}
