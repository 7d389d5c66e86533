/** `openme serve`: the server. */

import { loadServerConfig } from "./load.ts";
import { type Command, configPath, flagError, logOf, textFlag } from "./context.ts";
import { INTERFACE_PATTERN } from "../config/server_config.ts";
import { messageOf, OpenmeError } from "../errors.ts";
import { createNftBackend } from "../firewall/nft.ts";
import { quote } from "../quote.ts";
import { runServer } from "../server.ts";
import { takeLock } from "../state/lock.ts";
import { bootClock } from "../system_clock.ts";
import { bindKnockSocket } from "../udp.ts";

export const serve: Command = {
  summary: "guard the ports of this host and take knocks",
  help: `Guards the ports of this host and takes knocks, until it is stopped (SIGINT, SIGTERM).

Usage: openme serve [--state-dir DIR] [--interface IF]

  --state-dir DIR   where nonces, grants and history are kept (default: server.state_dir)
  --interface IF    guard only what arrives on this interface (default: server.interface)

Example:
  sudo openme serve --log-level debug
`,
  options: { "state-dir": { type: "string" }, interface: { type: "string" } },
  positionals: 0,
  run: async (args, context) => {
    const log = logOf(args, context);
    const { config: loaded } = await loadServerConfig(configPath(args));
    const interfaceName = textFlag(args, "interface") ?? loaded.interface;
    if (interfaceName !== undefined && !INTERFACE_PATTERN.test(interfaceName)) {
      throw flagError(
        "interface",
        `the name of a network interface, such as "eth0"`,
        interfaceName,
      );
    }
    const config = { ...loaded, interface: interfaceName };
    const stateDir = textFlag(args, "state-dir") ?? config.stateDir;
    // Lock and socket before the firewall: a second `serve` must fail while nothing has been touched.
    makeStateDir(stateDir);
    const lock = takeLock(stateDir);
    try {
      const socket = await bindKnockSocket(config.udpPort, context.run);
      try {
        await runServer({
          config,
          socket,
          backend: createNftBackend({ ...config, knockPort: config.udpPort }, context.run),
          stateDir,
          clock: await bootClock(context.run),
          log,
          signal: context.stopSignal(),
        });
      } finally {
        socket.close();
      }
    } finally {
      lock.release();
    }
    return 0;
  },
};

/** Nobody else reads what is in there: folder 0700, files 0600. */
function makeStateDir(path: string): void {
  Deno.umask(0o077);
  try {
    Deno.mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new OpenmeError(
      "STATE",
      `cannot make the state directory ${quote(path, 1000)}: ${messageOf(cause)}`,
      {
        hint: "run openme as root, or choose another folder with --state-dir",
        cause,
      },
    );
  }
}
