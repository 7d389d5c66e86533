/** Where `serve` is one host of a fleet: joins it, passes on what this host learns, and answers the others. */

import type { ServerConfig } from "../../config/server.ts";
import type { CloseReport, FleetAnswer, FleetReport } from "../../control/requests.ts";
import { clientKeyHint } from "../../crypto/sync.ts";
import type { Fleet } from "../../fleet/fleet.ts";
import type { RevokedKeys } from "../../fleet/revoked.ts";
import type { Running } from "../../server.ts";
import { REVOKED_KEYS_NAME } from "../../state/names.ts";
import { readHistory, readSnapshot } from "../../state/read.ts";
import type { Log } from "../../system/log.ts";
import { pause } from "../../system/clock.ts";
import { readSharedFile } from "../../system/read_file.ts";
import { messageOf, OpenmeError } from "../../values/errors.ts";
import type { Clock } from "../../values/moment.ts";
import { shownPorts } from "../../values/ports.ts";
import { quote } from "../../values/text.ts";
import { describeEntry, inWords } from "../history_entry.ts";
import { describeSnapshot } from "../sessions_table.ts";
import type { KnockPort } from "./knocks.ts";

/** A host in its fleet. */
export interface Joined {
  readonly fleet: Fleet;
  close(): Promise<void>;
}

/** How long the start waits for the engine. */
const ENGINE_MS = 2000;
/** How long the others have to answer: as long as one of them waits for its firewall. */
const ANSWER_MS = 10_000;
/** Entries of the history, and grants, that an answer has room for. */
const MOST_ENTRIES = 60;
const MOST_GRANTS = 150;

/** Joins the fleet of the configuration, if there is one. A dry run takes no part: its claims would hold for others. */
export async function joinFleet(
  config: ServerConfig,
  { clock, log, isDry, start }: {
    readonly clock: Clock;
    readonly log: Log;
    readonly isDry: boolean;
    /** Starts the process that connects; `undefined` where this one does. */
    readonly start: KnockPort["startForFleet"];
  },
): Promise<Joined | undefined> {
  if (!config.fleet || isDry) return undefined;
  const [{ Fleet }, { startEngine }, { entryHost }, { MOST_MESSAGE_BYTES }] = await Promise.all([
    import("../../fleet/fleet.ts"),
    import("../../fleet/engine_process.ts"),
    import("../../fleet/entry.ts"),
    import("../../fleet/messages.ts"),
  ]);
  const host = entryHost(config.fleet.host ?? Deno.hostname());
  const newId = () => crypto.getRandomValues(new Uint8Array(8)).toHex();
  const claimant = newId();
  const fleet = new Fleet(config, config.fleet, { clock, log, host, claimant, newId });
  const { name, url, trust: path } = config.fleet;
  const trust = path === undefined ? undefined : await readSharedFile(path);
  if (path !== undefined && trust === undefined) {
    throw new OpenmeError("CONFIG", `server.fleet.trust: there is no file ${quote(path)}`, {
      hint: "put the certificate there that has signed the engine's, or leave trust out",
    });
  }
  // An older knock opens nothing any more, at any host.
  const access = { name, url, trust, claimant, sinceMs: config.replayWindowMs };
  const engine = await startEngine({
    ...{ access, listener: fleet, clock },
    start: start && (() => start(MOST_MESSAGE_BYTES)),
  });
  fleet.use(engine);
  // A copy of a knock that others know must not be the first that this host decides, alone.
  const over = new AbortController();
  await Promise.race([fleet.tried, pause(ENGINE_MS, over.signal)]);
  over.abort();
  return { fleet, close: () => engine.close() };
}

/** The keys that were revoked for the whole fleet. They stay revoked where a server is taken out of it. */
export async function openRevokedKeys(
  stateDir: string,
  { fleet }: ServerConfig,
): Promise<RevokedKeys | undefined> {
  const isThere = await Deno.stat(`${stateDir}/${REVOKED_KEYS_NAME}`).then(() => true, () => false);
  if (!fleet && !isThere) return undefined;
  return (await import("../../fleet/revoked.ts")).RevokedKeys.open(stateDir);
}

/** What commands on this host may ask of the fleet. */
export function fleetControl(fleet: Fleet, { config, clock }: {
  readonly config: () => ServerConfig;
  readonly clock: Clock;
}) {
  return {
    report: (): FleetReport => {
      const { host, lagMs, clients: _, ...self } = fleet.self();
      const { name, whenDown } = fleet.config;
      const { isUp = false, why, roundTripMs } = fleet.state() ?? {};
      const { clients } = config();
      const { steadyMs } = clock.now();
      return {
        name,
        host,
        engine: { up: isUp, why: why ?? null, roundTrip: roundTripMs ?? null },
        whenDown,
        lag: lagMs,
        hosts: fleet.hosts().map((other) => ({
          host: other.host,
          version: other.version,
          clients: other.clients,
          lag: other.lagMs,
          clockAhead: other.aheadMs,
          heardAgo: steadyMs - other.heardSteadyMs,
          lacks: self.hints.length === clients.length && other.hints.length === other.clients
            ? clients.filter(({ publicKey }) => !other.hints.includes(clientKeyHint(publicKey)))
              .map(({ name }) => name)
            : null,
        })),
      };
    },
    ask: async (request: unknown): Promise<FleetAnswer[]> =>
      (await fleet.ask(request, ANSWER_MS)).map(({ host, value, error }) => ({
        host,
        value: value ?? null,
        error: error ?? null,
      })),
  };
}

/** What answers need beside the server. */
export interface AnswerParts {
  readonly stateDir: string;
  readonly revoked: RevokedKeys | undefined;
  /** Carries out a request as if a command of this host had sent it. */
  readonly handle: (request: unknown) => Promise<unknown>;
  /** Puts a configuration in force. */
  readonly reload: (config: ServerConfig) => void;
}

/** Answers what other hosts ask. They have this server's key, so they may; everything else is refused. */
export async function answerHost(
  request: unknown,
  running: Pick<Running, "config" | "log">,
  { stateDir, revoked, handle, reload }: AnswerParts,
  asking: string,
): Promise<unknown> {
  const config = running.config();
  const { command, client, address, all, kill, revoked: isRevoked, keys, sinceMs } = Object(
    request,
  );
  const nowMs = Date.now();
  if (command === "sessions") {
    const { grants } = describeSnapshot(readSnapshot(stateDir, nowMs), config, nowMs);
    return { grants: grants.slice(0, MOST_GRANTS) };
  }
  if (command === "history") {
    const entries = readHistory(stateDir, {
      client: typeof client === "string" ? client : undefined,
      sinceMs: typeof sinceMs === "number" ? nowMs - sinceMs : undefined,
      limit: MOST_ENTRIES,
    });
    return {
      history: entries.slice(0, MOST_ENTRIES).map((entry) => {
        const shown = { ...entry, ports: shownPorts(entry.ports, config.healthPort) };
        return { ...describeEntry(shown), what: inWords(shown) };
      }),
    };
  }
  if (command !== "close") throw new Error("this openme does not know that request");
  const named = Array.isArray(keys)
    ? config.clients.find(({ key, previous }) => keys.includes(key) || keys.includes(previous?.key))
    : undefined;
  running.log.info("asked", { by: asking, to: isRevoked === true ? "revoke" : "close" });
  /** What the reload closes, the request below no longer finds. */
  const open = describeSnapshot(readSnapshot(stateDir, nowMs), config, nowMs).grants;
  const failures: string[] = [];
  if (isRevoked === true && named && revoked) {
    await revoked.add([named.key, ...named.previous ? [named.previous.key] : []])
      .catch((cause) => failures.push(`revoked until a restart only: ${messageOf(cause)}`));
    // Not the files anew: one that is wrong, or half written, must not keep the key in force.
    reload(revoked.without(running.config()));
  }
  const report = await handle({
    command: "close",
    ...(named ? { client: named.name } : { client, address, all }),
    kill: kill === true,
  }) as CloseReport;
  const closed = isRevoked === true && report.closed.length === 0
    ? open.filter((grant) => grant.client === named?.name)
    : report.closed;
  return {
    closed: closed.map(({ client, address, ports }) => ({ client, address, ports })),
    cut: report.cut,
    failures: [...failures, ...report.failures],
  };
}
