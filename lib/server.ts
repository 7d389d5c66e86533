/**
 * The server: UDP socket -> gate -> state -> firewall. docs/protocol.md, "What the server does".
 *
 * Judging a datagram and writing it down is one synchronous step; only the firewall is waited for, and never by the
 * loop that receives. Nothing is ever sent.
 */

import { type Address, formatAddress } from "./address.ts";
import { type Clock, wallMsOf } from "./clock.ts";
import type { ServerConfig } from "./config/server_config.ts";
import { keyAgreement } from "./crypto_sync.ts";
import { formatDuration } from "./duration.ts";
import type { Backend } from "./firewall/backend.ts";
import { CHECK_INTERVAL_MS, Guard } from "./firewall/guard.ts";
import { type GateClient, type GateRules, type GrantVerdict, judge } from "./gate.ts";
import { Grants, type Permission, resumeGrant } from "./grants.ts";
import { errorFields, type Log } from "./log.ts";
import { formatPortRange } from "./ports.ts";
import { ReplayMemory } from "./replay.ts";
import { StateStore } from "./state/store.ts";
import type { KnockSocket } from "./udp.ts";

/** How often ended grants are cleared away; the kernel has closed them by then. */
const TICK_MS = 1000;
const TEND_MS = 60_000;

/** What a server runs on. All of it is open already; {@linkcode runServer} closes the state and empties the firewall. */
export interface ServerParts {
  readonly config: ServerConfig;
  readonly socket: KnockSocket;
  readonly backend: Backend;
  /** A folder for this server alone. */
  readonly stateDir: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Stops the server. */
  readonly signal: AbortSignal;
}

/** Runs until `signal` aborts. Throws where it cannot begin, or where it can no longer receive. */
export async function runServer(parts: ServerParts): Promise<void> {
  const { config, socket, backend, clock, log, signal } = parts;
  const replayWindowNs = BigInt(config.replayWindowMs) * 1_000_000n;
  const replay = new ReplayMemory();
  const grants = new Grants();
  const { store, stored } = StateStore.open({
    dir: parts.stateDir,
    replay,
    replayWindowNs,
    clock,
    log,
  });
  const permissions = permissionsOf(config);
  for (const grant of stored.grants) {
    const resumed = resumeGrant(grant, permissions.get(grant.client), clock.now(), stored);
    if (resumed) grants.put(resumed);
    else store.forgetGrants([grant]);
  }
  const guard = new Guard({ backend, grants, clock, log });
  try {
    await guard.start();
  } catch (cause) {
    store.close();
    throw cause;
  }
  const timers = [
    setInterval(() => {
      const ended = grants.takeExpired(clock.now());
      for (const { client, address } of ended) {
        log.info("expired", { client, address: formatAddress(address) });
      }
      store.forgetGrants(ended);
      if (!store.isSound()) store.tend({ grants: grants.list(), replayWindowNs });
    }, TICK_MS),
    setInterval(() => store.tend({ grants: grants.list(), replayWindowNs }), TEND_MS),
    setInterval(() => guard.check(), CHECK_INTERVAL_MS),
  ];
  try {
    await warnOfOpenPorts(backend, log);
    log.info("listening", {
      udp_port: config.udpPort,
      backend: backend.name,
      drop_ports: config.dropPorts,
      guarded: config.guardedPorts.map(formatPortRange).join(","),
      clients: config.clients.length,
      grants: grants.size,
    });
    const rules: GateRules = {
      agree: keyAgreement(config.privateKey),
      clients: gateClientsOf(config),
      replayWindowNs,
      replay,
      hasRoom: (client, address) => grants.hasRoom(client, address),
    };
    const take = createPipeline({ rules, permissions, grants, store, guard, clock, log });
    await socket.listen(take, signal);
  } finally {
    timers.forEach(clearInterval);
    socket.close();
    try {
      await guard.stop();
    } finally {
      store.close();
    }
  }
  log.info("stopped", { backend: backend.name, guard: "removed" });
}

/** What happens to one datagram. */
function createPipeline(
  { rules, permissions, grants, store, guard, clock, log }: {
    rules: GateRules;
    permissions: ReadonlyMap<string, Permission>;
    grants: Grants;
    store: StateStore;
    guard: Guard;
    clock: Clock;
    log: Log;
  },
): (datagram: Uint8Array, source: Address) => void {
  const open = (verdict: GrantVerdict, source: Address) => {
    const permission = permissions.get(verdict.client.name);
    if (!permission) return;
    const now = clock.now();
    const opened = grants.open(verdict.address, permission, now);
    store.recordKnock({
      key: verdict.client.key,
      randomNonce: verdict.randomNonce,
      timestampNs: verdict.timestampNs,
      client: verdict.client.name,
      atMs: wallMsOf(now),
      source: formatAddress(source),
      opened,
    });
    const { grant, renewed } = opened;
    guard.changed(grant.address, () => {
      log.info(renewed ? "renewed" : "granted", {
        client: grant.client,
        address: formatAddress(grant.address),
        source: formatAddress(source),
        ports: permission.ports.map(formatPortRange).join(","),
        lifetime: formatDuration(Math.round(grant.endsSteadyMs - now.steadyMs)),
      });
    });
  };
  return (datagram, source) => {
    const now = clock.now();
    const verdict = judge(datagram, source, now.wallNs, rules);
    if (verdict.kind === "grant") return open(verdict, source);
    if (verdict.remembered) {
      store.recordKnock({
        key: verdict.client!.key,
        ...verdict.remembered,
        client: verdict.client!.name,
        atMs: wallMsOf(now),
        source: formatAddress(source),
        opened: undefined,
      });
    } else if (verdict.reason === "limit") {
      store.recordMark(verdict.client!.key);
    }
    if (log.enabled("debug")) {
      log.debug("dropped", {
        reason: verdict.reason,
        source: formatAddress(source),
        client: verdict.client?.name,
      });
    }
  };
}

/** What each client may have, by its name. */
function permissionsOf(config: ServerConfig): Map<string, Permission> {
  return new Map(config.clients.map((client) => [client.name, {
    client: client.name,
    key: client.key,
    ports: client.ports,
    lifetimeMs: config.knockTimeoutMs,
    expiresAtMs: client.expiresAtMs,
  }]));
}

function gateClientsOf(config: ServerConfig): GateClient[] {
  return config.clients.map(({ name, key, verify, expiresAtMs }) => ({
    name,
    key,
    verify,
    expiresNs: expiresAtMs === undefined ? undefined : BigInt(expiresAtMs) * 1_000_000n,
  }));
}

async function warnOfOpenPorts(backend: Backend, log: Log): Promise<void> {
  try {
    const open = await backend.openToEveryone();
    if (!open) return;
    log.warn("ports_open_to_everyone", {
      ports: open.ports.map(formatPortRange).join(","),
      why: open.why,
      hint: "set drop_ports: true in the configuration, and openme closes them itself",
    });
  } catch (error) {
    log.warn("check_failed", errorFields(error));
  }
}
