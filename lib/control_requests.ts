/**
 * What the control socket can be asked, and what the server does about it. A request is outside text, even from root's
 * own commands: it is read strictly.
 */

import { formatAddress, parseAddress } from "./address.ts";
import { NAME_PATTERN } from "./config/reader.ts";
import { OpenmeError } from "./errors.ts";
import { type Cut, cutConnections, requireCutters } from "./firewall/cut.ts";
import type { GuardReport } from "./firewall/guard.ts";
import type { Grant } from "./grants.ts";
import { formatPortRange, mergePortRanges } from "./ports.ts";
import type { RunProgram } from "./run_program.ts";
import type { Running } from "./server.ts";
import { shownPorts } from "./shown_ports.ts";
import { placesLetIn } from "./state/let_in.ts";
import { VERSION } from "./version.ts";

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
  /** Connections that were cut; `null` where that was not asked for. */
  readonly cut: Cut | null;
}

/** What a running server says of itself. */
export interface ServerReport {
  readonly pid: number;
  readonly version: string;
  readonly grants: number;
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
  } | null;
  /** Guarded ports that everyone can reach in spite of the guard. */
  readonly open: { readonly ports: readonly string[]; readonly why: string } | null;
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
      };
      return report;
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
      address: formatAddress(address),
      ports: shownPorts(ports, running.config()),
    })),
  };
}

/** What a guard reports, as it goes over the socket. */
export function describeFirewall({ backend, isIntact, examination, open, failure }: GuardReport) {
  return {
    backend,
    intact: isIntact,
    examination: examination
      ? { ...examination, unguarded: examination.unguarded.map(formatPortRange) }
      : null,
    open: open ? { ports: open.ports.map(formatPortRange), why: open.why } : null,
    failure: failure ?? null,
  };
}

async function close(
  request: CloseRequest,
  running: Running,
  { stateDir, run, lookAtConfig }: ControlParts,
): Promise<CloseReport> {
  if (request.kill) await requireCutters(run); // before anything is closed: a half-done command helps nobody
  const wanted = (client: string, address: string) =>
    "all" in request ||
    ("client" in request ? client === request.client : address === request.address);
  const concerns = (grant: Grant) => wanted(grant.client, formatAddress(grant.address));
  // Before the grants go: a connection lives on long after its grant, and its client may be out of the configuration.
  const live = [...running.grants()].filter(concerns);
  if (request.revoked && "client" in request) await takeRevocation(request.client);
  const closed = await running.withdraw(concerns, "closed by command");
  const places = request.kill
    ? [...placesLetIn(stateDir, "all" in request ? {} : request), ...live]
    : [];
  const guarded = running.config().guardedPorts;
  const cut = request.kill
    ? await cutConnections(
      places.map(({ address, ports }) => ({
        address,
        // Of a named client its own ports; otherwise all that is guarded.
        ports: "client" in request ? ports : mergePortRanges([...ports, ...guarded]),
      })),
      run,
    )
    : null;
  return {
    closed: closed.map((grant) => ({
      client: grant.client,
      address: formatAddress(grant.address),
      ports: shownPorts(grant.ports, running.config()),
    })).sort((a, b) => a.client.localeCompare(b.client) || a.address.localeCompare(b.address)),
    cut,
  };

  /** A client that can still knock would be back before its connections are gone. */
  async function takeRevocation(name: string): Promise<void> {
    await lookAtConfig();
    if (running.config().clients.every((client) => client.name !== name)) return;
    throw new OpenmeError("STATE", `openme serve still knows the client ${name}`, {
      hint: "it reads another file, or has refused this one: its log says which",
    });
  }
}

function readClose(request: unknown): CloseRequest {
  const { client, address, all, kill, revoked } = request as Record<string, unknown>;
  const head = { command: "close", kill: kill === true, revoked: revoked === true } as const;
  if (all === true) return { ...head, all };
  if (typeof client === "string" && NAME_PATTERN.test(client)) return { ...head, client };
  const parsed = typeof address === "string" ? parseAddress(address) : undefined;
  if (parsed) return { ...head, address: formatAddress(parsed) };
  throw new OpenmeError("STATE", "a close request names neither a client nor an address");
}
