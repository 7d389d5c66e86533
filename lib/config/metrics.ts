/** Where the metrics are served: an address and a port, or the path of a Unix socket. */

import { formatAddress, parseAddress } from "../values/address.ts";
import type { Field } from "./fields.ts";

/** As `Deno.listen` takes it. */
export type MetricsAddress =
  | { readonly transport: "tcp"; readonly hostname: string; readonly port: number }
  | { readonly transport: "unix"; readonly path: string };

const EXPECTED = `an address and a port, such as "127.0.0.1:9469" or "[::1]:9469", ` +
  "or the absolute path of a Unix socket";

/** A socket's path, by the kernel's bound (unix(7)). */
const SOCKET_PATH = /^\/[^\0]{1,106}$/;

export function readMetricsAddress(field: Field | undefined): MetricsAddress | undefined {
  return field?.as(EXPECTED, (value) => typeof value === "string" ? parse(value) : undefined);
}

function parse(text: string): MetricsAddress | undefined {
  if (SOCKET_PATH.test(text)) return { transport: "unix", path: text };
  const [, v6, v4, digits] = /^(?:\[([^\]]+)\]|([^:]+)):([1-9]\d{0,4})$/.exec(text) ?? [];
  const address = parseAddress(v6 ?? v4 ?? "");
  const port = Number(digits);
  if (!address || port > 65535) return undefined;
  return { transport: "tcp", hostname: formatAddress(address), port };
}

/** As it is written in the configuration. */
export function formatMetricsAddress(address: MetricsAddress): string {
  if (address.transport === "unix") return address.path;
  const { hostname, port } = address;
  return hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
}
