/**
 * Says at the start when a guarded port is one that the administrator is logged in by: such sessions go on, new ones
 * need a knock.
 */

import { formatAddress, parseAddress } from "../address.ts";
import type { ServerConfig } from "../config/server_config.ts";
import type { Backend } from "../firewall/backend.ts";
import { type Connection, establishedConnections } from "../firewall/established.ts";
import type { Log } from "../log.ts";
import { formatPortRange } from "../ports.ts";
import type { Context } from "./context.ts";

/** Logs which sessions to guarded ports are open, this one's own among them. */
export async function warnOfOwnSession(
  { guardedPorts }: ServerConfig,
  { log, context, backend }: { log: Log; context: Context; backend: Backend },
): Promise<void> {
  const sessions = await establishedConnections(guardedPorts, context.run);
  if (sessions.length === 0) return;
  // Deno may not read it where the permission is not given; sudo may have taken it out.
  const own = parseSshConnection(context.env("SSH_CONNECTION"));
  const mine = sessions.find((each) => own !== undefined && isSame(each, own));
  const ports = [...new Set(sessions.map(({ localPort }) => localPort))].sort((a, b) => a - b)
    .map((port) => formatPortRange({ protocol: "tcp", first: port, last: port }));
  log.warn(mine ? "own_session_guarded" : "sessions_guarded", {
    ports: mine ? `${mine.localPort}/tcp` : ports.join(","),
    from: mine && formatAddress(mine.remote),
    sessions: sessions.length,
    backend: backend.name,
    doing: "letting open sessions go on; new ones need a knock",
    hint: "openme serve --confirm 60s puts everything back unless you confirm",
  });
}

interface SshConnection {
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
