/** `openme add` of a client that is registered already: compares the flags with its entry. */

import type { ClientEntry } from "../config/client_keys.ts";
import { parseExpiry } from "../config/clients.ts";
import { portsOf } from "../config/port_groups.ts";
import { healthRangeOf, type ServerConfig } from "../config/server.ts";
import { OpenmeError } from "../values/errors.ts";
import { includesPortRanges, subtractPortRanges } from "../values/ports.ts";
import { quote } from "../values/text.ts";
import { type Arguments, textFlag } from "./context.ts";
import { prefixFlag } from "./flags.ts";
import { differingRules } from "./rule_flags.ts";

/** Throws where a flag differs from the entry; `ports` are the groups and specs of `--ports`. */
export function requireSame(
  { name, ports: allowed, expiresAtMs, prefix, rules }: ClientEntry,
  { args, config, ports }: {
    args: Arguments;
    config: ServerConfig;
    ports: readonly string[];
  },
): void {
  const wanted = ports.flatMap((item) => portsOf(item, config.groups) ?? []);
  const [one, other] = [wanted, allowed].map((each) =>
    subtractPortRanges(each, [healthRangeOf(config)])
  );
  // A span such as 90d is another end at each call, so it is not compared.
  const end = parseExpiry(textFlag(args, "expires"));
  const { v4, v6 } = prefixFlag(args) ?? {};
  const differing = [
    ...(includesPortRanges(one!, other!) && includesPortRanges(other!, one!) ? [] : ["ports"]),
    ...(end === undefined || end === expiresAtMs ? [] : ["expires"]),
    ...((v4 ?? prefix.v4) === prefix.v4 && (v6 ?? prefix.v6) === prefix.v6 ? [] : ["prefix"]),
    ...differingRules(args, rules),
  ];
  if (differing.length === 0) return;
  throw new OpenmeError(
    "CONFIG",
    `cannot add ${quote(name)}: it has this key already, but with other values for ${
      differing.join(", ")
    }`,
    { hint: `change its entry in the configuration, or openme revoke ${name} first` },
  );
}
