/** Whether the firewall of this host keeps open what is used (`extend_while_used`), for `serve`, `plan` and `doctor`. */

import type { ServerConfig } from "../config/server.ts";
import type { Backend } from "../firewall/backend.ts";

/** Why it does not, though a client asks for it, and what to do; `undefined` where all is well. */
export function extendingFlaw(
  { clients }: Pick<ServerConfig, "clients">,
  { name, activity }: Pick<Backend, "name" | "activity">,
): { readonly why: string; readonly hint: string } | undefined {
  if (activity || clients.every(({ extensions }) => extensions.length === 0)) return undefined;
  return {
    why: `extend_while_used is not there with ${name}: a grant lasts as long as its knock opens`,
    hint: "install nftables, and set server.firewall: nft",
  };
}
