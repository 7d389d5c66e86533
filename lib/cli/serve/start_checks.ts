/**
 * What `serve` warns of before it touches the firewall: sessions to guarded ports (they go on, new ones need a knock),
 * guards of another firewall, an interface that is not there, and what a dry run cannot show.
 */

import { formatAddress, parseAddress } from "../../values/address.ts";
import type { ServerConfig } from "../../config/server.ts";
import type { Backend } from "../../firewall/backend.ts";
import { type Connection, establishedConnections } from "../../firewall/host/sockets.ts";
import type { Log } from "../../system/log.ts";
import { formatPortRange } from "../../values/ports.ts";
import { readProcessStat, tryReadProc } from "../../system/proc.ts";
import type { RunProgram } from "../../system/run_program.ts";
import { hostFirewall } from "../../firewall/host/summary.ts";
import { escapeUnprintable } from "../../values/text.ts";
import type { Context } from "../context.ts";
import { missingInterface } from "../host_fit.ts";
import { extendingFlaw } from "../extending.ts";
import { unstampedKnocks } from "../unstamped.ts";
import { isBackendName } from "../../firewall/plan.ts";
import { BACKENDS } from "../../firewall/catalog.ts";
import { type Firewall, standingGuards } from "../../firewall/orphans.ts";

const MOST_ANCESTORS = 32;

/** What the checks look at. */
export interface StartChecks {
  readonly backend: Backend;
  readonly context: Context;
  readonly log: Log;
  readonly isDry: boolean;
  /** Whether `--confirm` was given. */
  readonly isTrial: boolean;
}

/** Looks at the host and logs what an administrator should know. */
export async function warnAtStart(config: ServerConfig, checks: StartChecks): Promise<void> {
  const { backend, context, log, isDry } = checks;
  await warnOfSessions(config, checks);
  for (const { firewall, why, hint } of await guardsInTheWay(backend, context.run)) {
    log.warn("guard_in_the_way", { firewall, why, hint });
  }
  const flaw = isDry ? undefined : extendingFlaw(config, backend);
  if (flaw) log.warn("not_extended", { backend: backend.name, ...flaw });
  if (isDry) {
    log.warn("dry_run", {
      backend: backend.name,
      doing: "touching no firewall: ports are as they were, and a knock opens nothing",
    });
    await warnOfDroppedKnocks(config, checks);
  }
  const missing = await missingInterface(config, context.run);
  if (missing) log.warn("interface_missing", { interface: config.interface, ...missing });
}

/** Logs why the firewall cannot tell stamped knocks from other datagrams. */
export async function tellOfUnstamped(
  config: ServerConfig,
  { backend, log }: Pick<StartChecks, "backend" | "log">,
): Promise<void> {
  const { flaw } = await unstampedKnocks(config, backend);
  // Most firewalls never can: only where more was asked for, or could be had, it is worth a line.
  if (flaw === undefined || !(backend.stampFlaw || config.onlyStampedKnocks)) return;
  log.info("stamps_not_filtered", {
    backend: backend.name,
    why: flaw,
    doing: "telling knocks from junk in this process: a flood costs more of the processor",
  });
}

/** Logs which sessions to guarded ports are open, this one's own among them. */
async function warnOfSessions(
  { guardedPorts }: ServerConfig,
  { log, context, backend, isTrial }: StartChecks,
): Promise<void> {
  const sessions = await establishedConnections(guardedPorts, context.run);
  if (sessions.length === 0) return;
  const own = await sshConnections(context);
  const mine = sessions.find((each) => own.some((connection) => isSame(each, connection)));
  const ports = [...new Set(sessions.map(({ localPort }) => localPort))].sort((a, b) => a - b)
    .map((port) => formatPortRange({ protocol: "tcp", first: port, last: port }));
  log.warn(mine ? "own_session_guarded" : "sessions_guarded", {
    ports: mine ? `${mine.localPort}/tcp` : ports.join(","),
    from: mine && formatAddress(mine.remote),
    sessions: sessions.length,
    backend: backend.name,
    doing: "letting open sessions go on; new ones need a knock",
    hint: isTrial
      ? undefined
      : "openme serve --confirm 60s puts everything back unless you confirm",
  });
}

/** Where the host's own rules keep knocks out, a dry run, which makes no hole, never logs one. */
async function warnOfDroppedKnocks(
  { udpPort, openKnockPort }: ServerConfig,
  { backend, context: { run }, log }: StartChecks,
): Promise<void> {
  const standing = await backend.examine().catch(() => undefined);
  // A guard that stands has its hole already.
  if (openKnockPort && standing?.wrong.length === 0 && standing.barred.length === 0) return;
  const chains = (await hostFirewall(run)).dropping([
    { protocol: "udp", first: udpPort, last: udpPort },
  ]);
  for (const { family, table, name } of new Set(chains)) {
    log.warn("knocks_dropped", {
      chain: escapeUnprintable(`${family} ${table} ${name}`),
      why:
        "it does not let everyone's knocks in, and a dry run puts no rule there: what it drops is never logged",
      hint: `let udp port ${udpPort} in there for as long as you try it`,
    });
  }
}

/** The SSH connections by which the administrator may be logged in. */
export async function sshConnections(
  { env, run }: Pick<Context, "env" | "run">,
): Promise<SshConnection[]> {
  const own = parseSshConnection(env("SSH_CONNECTION"));
  if (own) return [own];
  // sudo hides the variable from what it runs, but has it itself, as the shell before it has.
  const ancestors = await ancestorsOf(Deno.pid, run);
  const found = (await Promise.all(ancestors.map((pid) => connectionIn(pid, run)))).flat();
  return found.length > 0 ? found : await connectionsOf(ancestors, run);
}

async function ancestorsOf(pid: number, run: RunProgram): Promise<number[]> {
  const ancestors: number[] = [];
  let child = pid;
  while (ancestors.length < MOST_ANCESTORS) {
    const parent: number = (await readProcessStat(child, run))?.parent ?? 0;
    if (parent <= 1) break;
    ancestors.push(child = parent);
  }
  return ancestors;
}

async function connectionIn(pid: number, run: RunProgram): Promise<SshConnection[]> {
  const variables = (await tryReadProc(`/proc/${pid}/environ`, run)).split("\0");
  const variable = variables.find((each) => each.startsWith("SSH_CONNECTION="));
  const found = parseSshConnection(variable?.slice("SSH_CONNECTION=".length));
  return found ? [found] : [];
}

/** The connections that an ancestor holds, which is sshd. For where no ancestor has the variable. */
async function connectionsOf(pids: readonly number[], run: RunProgram): Promise<SshConnection[]> {
  const args = ["-Htnp", "state", "established"];
  const listing = await run({ program: "ss", args, timeoutMs: 2000 }).catch(() => "");
  return listing.split("\n").filter((line) =>
    pids.some((pid) => line.includes(`("sshd`) && line.includes(`,pid=${pid},`))
  ).flatMap((line) => parseSocket(line) ?? []);
}

/** `0 0 [2001:db8::1]:22 [2001:db8::7]:50022 users:(("sshd",pid=4,fd=4))`, as ss(8) prints it. */
export function parseSocket(line: string): SshConnection | undefined {
  const [, local, address, port] =
    /:(\d+)\s+\[?([0-9a-f.:]+?)(?:%[^\]\s]+)?\]?:(\d+)\s+users:/.exec(line) ?? [];
  const remote = parseAddress(address ?? "");
  if (!remote) return undefined;
  return { remote: formatAddress(remote), remotePort: Number(port), localPort: Number(local) };
}

export interface SshConnection {
  readonly remote: string;
  readonly remotePort: number;
  readonly localPort: number;
}

/** `CLIENT PORT SERVER PORT`, ssh(1). */
export function parseSshConnection(text: string | undefined): SshConnection | undefined {
  const [client, clientPort, , serverPort] = (text ?? "").split(" ");
  const remote = parseAddress((client ?? "").replace(/%.*$/, ""));
  if (!remote) return undefined;
  return {
    remote: formatAddress(remote),
    remotePort: Number(clientPort),
    localPort: Number(serverPort),
  };
}

function isSame(session: Connection, own: SshConnection): boolean {
  return formatAddress(session.remote) === own.remote && session.remotePort === own.remotePort &&
    session.localPort === own.localPort;
}

/** A guard of openme that the configured firewall does not take over: it goes on closing ports, also to clients. */
export interface GuardInTheWay {
  readonly firewall: Firewall;
  readonly why: string;
  readonly hint: string;
}

/** Finds them; none where the backend removes those of other firewalls. */
export async function guardsInTheWay(
  { name }: Backend,
  run: RunProgram,
): Promise<GuardInTheWay[]> {
  if (isBackendName(name) && BACKENDS[name].clearsOrphans) return [];
  return (await standingGuards(run)).map(({ firewall, livingPid }) => ({
    firewall,
    why:
      `a guard of openme's stands in ${firewall}, and may close ports to everyone: ${name} neither sees it nor takes it out`,
    hint: livingPid === undefined
      ? "openme uninstall takes it out, while no openme serve runs"
      : `it belongs to another openme serve, process ${livingPid}: stop that one`,
  }));
}
