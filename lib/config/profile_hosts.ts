/** The hosts of a profile: one, or a list of several that share a key. */

import { ConfigError, type Field } from "./fields.ts";

const MOST_HOSTS = 16;

/** `server_host`: a host, or a list of them. */
export function readHosts(
  field: Field,
): { readonly serverHost: string; readonly otherHosts?: readonly string[] } {
  if (!Array.isArray(field.value)) return { serverHost: field.host({ zone: true }) };
  const hosts = new Map<string, string>();
  const items = field.items();
  if (items.length === 0 || items.length > MOST_HOSTS) {
    throw new ConfigError(field.path, `expected 1 to ${MOST_HOSTS} hosts, got ${items.length}`);
  }
  for (const item of items) {
    const host = item.host({ zone: true });
    if (hosts.has(host.toLowerCase())) throw item.mismatch("each host once");
    hosts.set(host.toLowerCase(), host);
  }
  const [serverHost, ...otherHosts] = [...hosts.values()];
  return { serverHost: serverHost!, ...(otherHosts.length > 0 ? { otherHosts } : {}) };
}
