/**
 * What the control socket can be asked, and what the server does about it. A request is outside text, even from root's
 * own commands: it is read strictly.
 */

import { NAME_PATTERN } from "../values/name.ts";
import { messageOf, OpenmeError } from "../values/errors.ts";
import { type Cut, cutConnections } from "../firewall/host/cut.ts";
import type { GuardReport } from "../firewall/guard.ts";
import { formatNetwork, type Network, overlap, parseNetwork } from "../values/network.ts";
import type { DropCounts } from "../receive/recent_drops.ts";
import { formatPortRange, mergePortRanges, shownPorts } from "../values/ports.ts";
import type { RunProgram } from "../system/run_program.ts";
import type { Running } from "../server.ts";
import { readAccesses, type Whose } from "../state/read.ts";
import { VERSION } from "../values/version.ts";

/** Whose grants to end, and whether to cut established connections too. */
export type CloseRequest =
  & {
    readonly command: "close";
    readonly kill: boolean;
    /** The client has just been taken out of the configuration: only when that is in force is anything cut. */
    readonly revoked?: boolean;
  }
  & ({ readonly client: string } | { readonly address: string } | { readonly all: true });

/** What a close did. */
export interface CloseReport {
  readonly closed: readonly { client: string; address: string; ports: readonly string[] }[];
  /** What became of established connections; `null` where nobody asked for that. */
  readonly cut: Cut | null;
  /** What could not be done or looked at, in words; all else was done. */
  readonly failures: readonly string[];
}

/** So long the firewall may take to close: the rest is done all the same, and told. */
const CLOSING_MS = 8000;

/** What a running server says of itself. */
export interface ServerReport {
  readonly pid: number;
  readonly version: string;
  readonly grants: number;
  /** Knocks of the last hour with a wrong or unknown key. */
  readonly recentDrops: DropCounts;
}

/** What a running server finds in its firewall. */
export interface FirewallReport {
  /** What `auto` has become. */
  readonly backend: string;
  /** Whether all is as the server put it; `true` also where the backend cannot tell. */
  readonly intact: boolean;
  /** `null` where the backend cannot tell. */
  readonly examination: {
    readonly wrong: readonly string[];
    readonly unguarded: readonly string[];
    readonly barred: readonly string[];
    readonly hostMayDrop: boolean;
    /** Rules of openme's that no grant covers, where the firewall does not end them by itself. */
    readonly withoutGrant: readonly { address: string; ports: readonly string[] }[];
  } | null;
  /** Guarded ports that everyone can reach in spite of the guard. */
  readonly open: {
    readonly ports: readonly string[];
    readonly why: string;
    readonly hint: string | null;
  } | null;
  /** The firewall's last failure, until it is made up for. */
  readonly failure: string | null;
  /** What the server guards now, and whether it closes that itself. */
  readonly guarded: readonly string[];
  readonly dropPorts: boolean;
  /** The one interface on which it does; `null` for all. */
  readonly interface: string | null;
  /** Grants that the firewall has refused so far. */
  readonly refused: readonly { client: string; address: string; ports: readonly string[] }[];
}

/** What requests are answered with, beside the server itself. */
export interface ControlParts {
  readonly stateDir: string;
  readonly run: RunProgram;
  /** Takes a change of the configuration file at once. */
  readonly lookAtConfig: () => Promise<void>;
  /** Keeps the guard that `serve --confirm` would put back; throws where nothing waits for that. */
  readonly confirm: () => void;
}

/** Answers the requests of one running server. */
export function controlHandler(
  running: Running,
  parts: ControlParts,
): (request: unknown) => Promise<unknown> {
  return async (request) => {
    const { command } = (request ?? {}) as { command?: unknown };
    if (command === "status") {
      const report: ServerReport = {
        pid: Deno.pid,
        version: VERSION,
        grants: [...running.grants()].length,
        recentDrops: running.recentDrops(),
      };
      return report;
    }
    if (command === "confirm") {
      parts.confirm();
      return { confirmed: true };
    }
    if (command === "check") return await check(running);
    if (command === "close") return await close(readClose(request), running, parts);
    throw new OpenmeError("STATE", "this openme serve does not know that request", {
      hint: "it is of another version: restart it",
    });
  };
}

async function check(running: Running): Promise<FirewallReport> {
  const found = await running.firewall();
  const { guardedPorts, dropPorts, interface: only = null } = running.config();
  return {
    ...describeFirewall(found),
    guarded: guardedPorts.map(formatPortRange),
    dropPorts,
    interface: only,
    refused: [...running.grants()].filter(running.isRefused).map(({ client, address, ports }) => ({
      client,
      address: formatNetwork(address),
      ports: shownPorts(ports, running.config().healthPort),
    })),
  };
}

/** What a guard reports, as it goes over the socket. */
export function describeFirewall({ backend, isIntact, examination, open, failure }: GuardReport) {
  return {
    backend,
    intact: isIntact,
    examination: examination
      ? {
        ...examination,
        unguarded: examination.unguarded.map(formatPortRange),
        withoutGrant: (examination.withoutGrant ?? []).map(({ address, ports }) => ({
          address,
          ports: ports.map(formatPortRange),
        })),
      }
      : null,
    open: open
      ? { ports: open.ports.map(formatPortRange), why: open.why, hint: open.hint ?? null }
      : null,
    failure: failure ?? null,
  };
}

async function close(
  { whose, kill, revoked }: { whose: Whose; kill: boolean; revoked: boolean },
  running: Running,
  { stateDir, run, lookAtConfig }: ControlParts,
): Promise<CloseReport> {
  const wanted = ({ client, address }: { client: string; address: Network }) =>
    (whose.client === undefined || client === whose.client) &&
    // A grant for the network around an address lets that address in.
    (whose.address === undefined || overlap(address, whose.address));
  const failures: string[] = [];
  // Before the grants go: a connection lives on long after its grant, and its client may be out of the configuration.
  const live = [...running.grants()].filter(wanted)
    .map(({ client, address, ports }) => ({ client, address, ports }));
  if (revoked && whose.client !== undefined) await takeRevocation(whose.client);
  if (!await withdrawInTime()) {
    failures.push("the firewall has not closed the ports so far: openme doctor says more");
  }
  const closed = live.map((grant) => ({
    client: grant.client,
    address: formatNetwork(grant.address),
    ports: shownPorts(grant.ports, running.config().healthPort),
  })).sort((a, b) => a.client.localeCompare(b.client) || a.address.localeCompare(b.address));
  if (!kill) return { closed, cut: null, failures };
  const guarded = running.config().guardedPorts;
  const { failures: uncut, ...cut } = await cutConnections(
    [...formerPlaces(), ...live].map(({ address, ports }) => ({
      // Of a network that was let in no more than what was asked for.
      address: whose.address && whose.address.length > address.length ? whose.address : address,
      // Of a named client its own ports; otherwise all that is guarded.
      ports: whose.client !== undefined ? ports : mergePortRanges([...ports, ...guarded]),
    })),
    run,
  );
  return { closed, cut, failures: [...failures, ...uncut] };

  /** Whether the firewall has closed them in time. */
  async function withdrawInTime(): Promise<boolean> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<boolean>((resolve) =>
      timer = setTimeout(() => resolve(false), CLOSING_MS)
    );
    const done = running.withdraw(wanted, "closed by command").then(() => true);
    try {
      return await Promise.race([done, late]);
    } finally {
      clearTimeout(timer);
      done.catch(() => {});
    }
  }

  /** Where they were let in before. */
  function formerPlaces() {
    try {
      return readAccesses(stateDir, whose).filter(wanted);
    } catch (error) {
      failures.push(messageOf(error));
      return [];
    }
  }

  /** A client that can still knock would be back before its connections are gone. */
  async function takeRevocation(name: string): Promise<void> {
    await lookAtConfig();
    if (running.config().clients.every((client) => client.name !== name)) return;
    throw new OpenmeError("STATE", `openme serve still knows the client ${name}`, {
      hint: "it reads another file, or has refused this one: its log says which",
    });
  }
}

function readClose(request: unknown): { whose: Whose; kill: boolean; revoked: boolean } {
  const { client, address, all, ...asked } = request as Record<string, unknown>;
  const how = { kill: asked["kill"] === true, revoked: asked["revoked"] === true };
  if (all === true) return { whose: {}, ...how };
  if (typeof client === "string" && NAME_PATTERN.test(client)) return { whose: { client }, ...how };
  const parsed = typeof address === "string" ? parseNetwork(address) : undefined;
  if (parsed) return { whose: { address: parsed }, ...how };
  throw new OpenmeError("STATE", "a close request names neither a client nor an address");
}
