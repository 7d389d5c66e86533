/** The grants in force, as a table for people and as JSON. */

import { renderTable } from "./output.ts";
import { isoTime } from "./context.ts";
import type { Snapshot } from "../state/read.ts";
import { shownPorts } from "../values/ports.ts";
import { formatNetwork } from "../values/network.ts";
import { type Grant, lastEndOf } from "../grants.ts";
import { openAt } from "../values/extended.ts";
import { formatTime } from "./flags.ts";
import { formatDuration } from "../values/duration.ts";
import type { ServerConfig } from "../config/server.ts";

/** Stands beside a refused grant. */
export const REFUSED = "refused by the firewall";

/** What `--json` prints. */
export function describeSnapshot(
  { grants, refused, lastSeenMs }: Snapshot,
  config: ServerConfig | undefined,
  nowMs: number,
) {
  return {
    grants: grants.map((grant) => ({
      ...describeGrant(grant, config, nowMs),
      ...(refused.has(grant) ? { failed: true } : {}),
    })),
    clients: [...lastSeenMs].map(([client, atMs]) => ({ client, last_seen_at: isoTime(atMs) })),
  };
}

function describeGrant(grant: Grant, config: ServerConfig | undefined, nowMs: number) {
  const { ports, expiresAtMs } = openAt(grant, nowMs);
  return {
    client: grant.client,
    address: formatNetwork(grant.address),
    ports: shownPorts(ports, config?.healthPort),
    opened_at: isoTime(grant.openedAtMs),
    expires_at: isoTime(expiresAtMs),
    ...(grant.extended && { closes_at: isoTime(lastEndOf(grant, "expiresAtMs")) }),
  };
}

/** What traffic does for a grant, in words. */
function whileUsed(grant: Grant, nowMs: number): string {
  if (!grant.extended) return "";
  const most = `at most until ${formatTime(lastEndOf(grant, "expiresAtMs"))}`;
  return openAt(grant, nowMs).expiresAtMs > nowMs
    ? `open while used, ${most}`
    : `closed, unused: a connection that lives on opens it again, ${most}`;
}

/** The table for people; without `openFor`, one column narrower. */
export function renderSessions(
  { grants, refused }: Pick<Snapshot, "grants" | "refused">,
  config: ServerConfig | undefined,
  nowMs: number,
  { openFor = true }: { openFor?: boolean } = {},
): string {
  const rows = grants.map((grant) => [
    grant.client,
    formatNetwork(grant.address),
    shownPorts(openAt(grant, nowMs).ports, config?.healthPort).join(" ") || "-",
    ...(openFor
      ? [formatDuration(Math.max(0, Math.floor((nowMs - grant.openedAtMs) / 1000) * 1000))]
      : []),
    formatDuration(
      Math.max(0, Math.ceil((openAt(grant, nowMs).expiresAtMs - nowMs) / 1000) * 1000),
    ),
    refused.has(grant) ? REFUSED : whileUsed(grant, nowMs),
  ]);
  const head = ["CLIENT", "ADDRESS", "PORTS", ...(openFor ? ["OPEN FOR"] : []), "LEFT", ""];
  return renderTable(head, rows);
}
