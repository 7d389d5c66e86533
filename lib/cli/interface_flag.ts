/** `--interface IF`: guards another interface than the configuration says, with every command that guards. */

import { type ServerConfig } from "../config/server.ts";
import { INTERFACE_PATTERN } from "../firewall/plan.ts";
import { type Arguments, flagError, textFlag } from "./context.ts";

/** The name that the flag gives; `undefined` where it is not there. Throws `USAGE`. */
export function interfaceFlag(args: Arguments): string | undefined {
  const name = textFlag(args, "interface");
  if (name !== undefined && !INTERFACE_PATTERN.test(name)) {
    throw flagError("interface", `the name of a network interface, such as "eth0"`, name);
  }
  return name;
}

/** The configuration with what the flag says in place of `server.interface`. */
export function withInterface(config: ServerConfig, name: string | undefined): ServerConfig {
  return { ...config, interface: name ?? config.interface };
}
