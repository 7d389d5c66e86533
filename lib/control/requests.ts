/** The requests that the control socket takes. They are outside text, even from root's own commands: read strictly. */

import { NAME_PATTERN } from "../values/name.ts";
import { messageOf, OpenmeError } from "../values/errors.ts";
import { type Cut, cutConnections } from "../firewall/host/cut.ts";
import type { GuardReport } from "../firewall/guard.ts";
import { formatNetwork, type Network, overlap, parseNetwork } from "../values/network.ts";
import type { DropCounts } from "../receive/recent_drops.ts";
import { formatPortRange, mergePortRanges, type PortRange, shownPorts } from "../values/ports.ts";
import { pause } from "../system/clock.ts";
import type { RunProgram } from "../system/run_program.ts";
import type { Running } from "../server.ts";
import { readAccesses, type Whose } from "../state/read.ts";
import { VERSION } from "../values/version.ts";

/** Which grants to end, and whether to cut established connections too. */
export type CloseRequest =
  & {
    readonly command: "close";
    readonly kill: boolean;
    /** The client was just removed from the configuration: nothing is done before the server has read that. */
    readonly revoked?: boolean;
  }
  & ({ readonly client: string } | { readonly address: string } | { readonly all: true });

/** The outcome of a close. */
export interface CloseReport {
  readonly closed: readonly { client: string; address: string; ports: readonly string[] }[];
  /** The established connections that were cut; `null` without `kill`. */
  readonly cut: Cut | null;
  /** What failed, in words. Everything else was done. */
  readonly failures: readonly string[];
}

/** How long a close waits for the firewall, before it goes on and reports the failure. */
const CLOSING_MS = 8000;

/** The status of a running server. */
export interface ServerReport {
  readonly pid: number;
  readonly version: string;
  readonly grants: number;
  /** Knocks of the last hour with a wrong or unknown key. */
  readonly recentDrops: DropCounts;
  readonly separate: { readonly separated: boolean; readonly why: string | null };
  /** The fleet, where the server is a host of one. */
  readonly fleet: FleetReport | null;
}

/** Whether another process, without rights, reads what strangers send; if not, why. */
export interface Separation {
  readonly separated: boolean;
  readonly why: string | undefined;
}

/** The `why` of a server that is one process because its configuration says so. */
export const SEPARATE_OFF = "server.separate is off";

/** The state of a running server's firewall. */
export interface FirewallReport {
  /** The backend that `auto` chose. */
  readonly backend: string;
  /** Whether the rules are as the server put them; `true` also where the backend cannot tell. */
  readonly intact: boolean;
  /** `null` where the backend cannot tell. */
  readonly examination: {
    readonly wrong: readonly string[];
    readonly unguarded: readonly string[];
    readonly barred: readonly string[];
    readonly hostMayDrop: boolean;
    /** openme's rules without a grant, on a firewall that does not end them by itself. */
    readonly withoutGrant: readonly { address: string; ports: readonly string[] }[];
  } | null;
  /** Guarded ports that everyone can reach despite the guard. */
  readonly open: {
    readonly ports: readonly string[];
    readonly why: string;
    readonly hint: string | null;
  } | null;
  /** The firewall's last failure, until it is repaired. */
  readonly failure: string | null;
  /** The ports that the server guards, and whether it closes them itself. */
  readonly guarded: readonly string[];
  readonly dropPorts: boolean;
  /** The one interface that is guarded; `null` for all. */
  readonly interface: string | null;
  /** Grants that the firewall refused and does not hold yet. */
  readonly refused: readonly { client: string; address: string; ports: readonly string[] }[];
}

/** A fleet as one of its hosts knows it. */
export interface FleetReport {
  readonly name: string;
  /** This host's name in the fleet. */
  readonly host: string;
  readonly engine: {
    readonly up: boolean;
    readonly why: string | null;
    /** ms. */
    readonly roundTrip: number | null;
  };
  readonly whenDown: string;
  /** How long an entry of this host takes through the engine, ms. */
  readonly lag: number | null;
  /** The others that were heard of late. */
  readonly hosts: readonly FleetHost[];
}

/** Another host, as this one hears it. */
export interface FleetHost {
  readonly host: string;
  readonly version: string;
  readonly clients: number;
  /** ms. */
  readonly lag: number | null;
  readonly clockAhead: number;
  readonly heardAgo: number;
  /** Clients of this host whose keys the other does not have; `null` where it has too many to tell. */
  readonly lacks: readonly string[] | null;
}

/** What another host has answered, or why not. */
export interface FleetAnswer {
  readonly host: string;
  readonly value: unknown;
  readonly error: string | null;
}

/** What requests need beside the server. */
export interface ControlParts {
  readonly stateDir: string;
  readonly run: RunProgram;
  /** Reads a changed configuration file at once. */
  readonly lookAtConfig: () => Promise<void>;
  /** Confirms a `serve --confirm`; throws where none waits. */
  readonly confirm: () => void;
  readonly separation: () => Separation;
  /** The fleet that this server is a host of, where it is. */
  readonly fleet?: {
    readonly report: () => FleetReport;
    readonly ask: (request: unknown) => Promise<FleetAnswer[]>;
  } | undefined;
}

/** Answers the requests of one running server. */
export function controlHandler(
  running: Running,
  parts: ControlParts,
): (request: unknown) => Promise<unknown> {
  return async (request) => {
    const { command } = (request ?? {}) as { command?: unknown };
    if (command === "status") {
      const { separated, why = null } = parts.separation();
      const report: ServerReport = {
        pid: Deno.pid,
        version: VERSION,
        grants: [...running.grants()].length,
        recentDrops: running.recentDrops(),
        separate: { separated, why },
        fleet: parts.fleet?.report() ?? null,
      };
      return report;
    }
    if (command === "confirm") {
      parts.confirm();
      return { confirmed: true };
    }
    if (command === "fleet") return requireFleet(parts).report();
    if (command === "ask_fleet") {
      return await requireFleet(parts).ask((request as { request: unknown }).request);
    }
    if (command === "check") return await check(running);
    if (command === "close") return await close(readClose(request), running, parts);
    throw new OpenmeError("STATE", "this openme serve does not know that request", {
      hint: "it is of another version: restart it",
    });
  };
}

function requireFleet({ fleet }: ControlParts) {
  if (fleet) return fleet;
  throw new OpenmeError("STATE", "this server is no host of a fleet", {
    hint: "server.fleet in its configuration makes it one: docs/fleet.md",
  });
}

async function check(running: Running): Promise<FirewallReport> {
  const found = await running.firewall();
  const { guardedPorts, dropPorts, interface: only = null } = running.config();
  return {
    ...describeFirewall(found),
    guarded: guardedPorts.map(formatPortRange),
    dropPorts,
    interface: only,
    refused: [...running.grants()].filter((grant) => running.isRefused(grant))
      .map((grant) => describeGrant(grant, running.config())),
  };
}

function describeGrant(
  { client, address, ports }: { client: string; address: Network; ports: readonly PortRange[] },
  { healthPort }: { healthPort: number },
) {
  return { client, address: formatNetwork(address), ports: shownPorts(ports, healthPort) };
}

/** A guard's report as JSON for the socket. */
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
  // Before the grants are withdrawn: their addresses are needed to cut connections, which outlive them.
  const live = [...running.grants()].filter(wanted)
    .map(({ client, address, ports }) => ({ client, address, ports }));
  if (revoked && whose.client !== undefined) await takeRevocation(whose.client);
  if (!await withdrawInTime()) {
    failures.push("the firewall has not closed the ports so far: openme doctor says more");
  }
  const closed = live.map((grant) => describeGrant(grant, running.config()))
    .sort((a, b) => a.client.localeCompare(b.client) || a.address.localeCompare(b.address));
  if (!kill) return { closed, cut: null, failures };
  const guarded = running.config().guardedPorts;
  const { failures: uncut, ...cut } = await cutConnections(
    [...formerPlaces(), ...live].map(({ address, ports }) => ({
      // Of a granted network, only the address that the request names.
      address: whose.address && whose.address.length > address.length ? whose.address : address,
      // A named client's own ports; otherwise all guarded ones.
      ports: whose.client !== undefined ? ports : mergePortRanges([...ports, ...guarded]),
    })),
    run,
  );
  return { closed, cut, failures: [...failures, ...uncut] };

  /** Whether the firewall has closed them in time. */
  async function withdrawInTime(): Promise<boolean> {
    const over = new AbortController();
    const done = running.withdraw(wanted, "closed by command").then(() => true);
    const late = pause(CLOSING_MS, over.signal).then(() => false);
    return await Promise.race([done, late]).finally(() => {
      over.abort();
      done.catch(() => {}); // after the deadline
    });
  }

  /** Where the history says that they were let in. */
  function formerPlaces() {
    try {
      return readAccesses(stateDir, whose).filter(wanted);
    } catch (error) {
      failures.push(messageOf(error));
      return [];
    }
  }

  /** A client that can still knock would come back before its connections are cut. */
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
