/** `openme init`: keys and a commented configuration for a server. */

import { readHost } from "../../config/host.ts";
import { DEFAULT_UDP_PORT } from "../../config/fields.ts";
import { DEFAULT_STATE_DIR, ON_STOP, parseServerConfig } from "../../config/server.ts";
import { encodeBase64, KEY_SIZE } from "../../crypto/keys.ts";
import { publicKeyOf } from "../../crypto/sync.ts";
import { OpenmeError } from "../../values/errors.ts";
import { formatPortSpec, parsePortSpec, reversedHint } from "../../values/ports.ts";
import { escapeUnprintable } from "../../values/text.ts";
import { closesPorts, type FirewallName, FIREWALLS } from "../../firewall/plan.ts";
import { interfaceFlag } from "../flags.ts";
import { misfitsOf } from "../host_fit.ts";
import { createSecretFile, keepOldCopy, replaceFile } from "../../system/write_file.ts";
import {
  type Arguments,
  choiceFlag,
  type Command,
  configPath,
  flagError,
  portFlag,
  textFlag,
} from "../context.ts";

const DEFAULT_PORTS = "22/tcp";

export const init: Command = {
  about: "Makes a key pair and a commented configuration for this server.",
  usage: [
    "--server HOST [--ports A,B] [--port N] [--firewall NAME] [--interface IF] [--on-stop STATE] [--force]",
  ],
  parameters: {
    "--server HOST": "the name or address by which clients reach this server",
    "--ports A,B": `ports to keep closed, such as 22/tcp,8443/tcp (default ${DEFAULT_PORTS})`,
    "--port N": `the UDP port for knocks (default ${DEFAULT_UDP_PORT})`,
    "--firewall FIREWALL": `${FIREWALLS.join(", ")} (default auto)`,
    "--interface IF": "guard only what arrives on this interface (default: all)",
    "--on-stop STATE":
      "open (default) or closed: what a stop leaves; closed where systemd runs the server",
    "--force": "replace a configuration that is there; the old one is kept beside it",
  },
  example: "sudo openme init --server vps.example.org",
  run: async (args, context) => {
    const given = textFlag(args, "server");
    if (given === undefined) {
      throw new OpenmeError(
        "USAGE",
        "openme init needs --server HOST, the name by which clients reach this server",
        {
          hint: "openme init --server vps.example.org",
        },
      );
    }
    const host = readHost(given);
    if (host === undefined) throw flagError("server", "a host name or an address", given);
    const privateKey = crypto.getRandomValues(new Uint8Array(KEY_SIZE));
    const text = renderConfig({
      host,
      udpPort: portFlag(args, "port") ?? DEFAULT_UDP_PORT,
      firewall: choiceFlag(args, "firewall", FIREWALLS) ?? "auto",
      interfaceName: interfaceFlag(args),
      ports: portsFlag(args),
      onStop: choiceFlag(args, "on-stop", ON_STOP) ?? "open",
      privateKey: encodeBase64(privateKey),
      publicKey: encodeBase64(publicKeyOf("X25519", privateKey)),
    });
    const path = configPath(args);
    const config = parseServerConfig(text, path); // what is written can be read
    const force = args.values["force"] === true;
    const oldCopy = force ? await keepOldCopy(path) : undefined;
    if (oldCopy === undefined) {
      await createSecretFile(path, text, {
        existsHint: force
          ? "it is a link that leads nowhere: remove it, or make what it leads to"
          : "openme init --force replaces it, and every client needs a new profile then",
        makeFolder: true,
      });
    } else {
      await replaceFile(path, text, { mode: 0o600 });
      context.stderr(
        `openme: the old configuration is ${
          escapeUnprintable(oldCopy)
        }; its clients no longer get in`,
      );
    }
    context.stderr(`openme: wrote ${escapeUnprintable(path)}`);
    for (const { why, hint } of await misfitsOf(config, context.run)) {
      context.stderr(`openme: warning: ${why}`);
      context.stderr(`openme: hint: ${hint}`);
    }
    context.stderr(
      "openme: next: openme add NAME --out NAME.yaml, then openme serve --confirm 60s",
    );
    return 0;
  },
};

/** `--ports`, as the configuration writes them. */
function portsFlag(args: Arguments): readonly string[] {
  return (textFlag(args, "ports") ?? DEFAULT_PORTS).split(",").map((item) => {
    const spec = parsePortSpec(item.trim());
    if (spec) return formatPortSpec(spec);
    throw flagError("ports", `ports such as "22/tcp"`, item, reversedHint(item));
  });
}

/** `command` needs its programs; ufw's are an example that works, the one of docs/firewalls.md. */
function renderFirewall(firewall: string): string {
  if (firewall !== "command") return `  firewall: ${firewall} # ${FIREWALLS.join(", ")}`;
  const rule = `allow, proto, "{protocol}", from, "{address}", to, any, port, "{ports}"`;
  return `  firewall: command # runs these; ufw is an example
  command:
    open: [ufw, ${rule}, comment, openme]
    close: [ufw, delete, ${rule}]
    list: [ufw, show, added] # what stands; entry is a line of it
    entry: "ufw allow from {address} to any port {ports} proto {protocol} comment 'openme'"`;
}

function renderConfig(
  { host, udpPort, firewall, interfaceName, ports, onStop, privateKey, publicKey }: {
    host: string;
    udpPort: number;
    firewall: FirewallName;
    interfaceName: string | undefined;
    ports: readonly string[];
    onStop: typeof ON_STOP[number];
    privateKey: string;
    publicKey: string;
  },
): string {
  const interfaceLine = interfaceName === undefined
    ? "# interface: eth0"
    : `interface: ${JSON.stringify(interfaceName)}`;
  const group = ports.join() === DEFAULT_PORTS ? "ssh" : "hidden";
  return `# openme server. What every key means: docs/configuration.md
server:
  host: ${JSON.stringify(host)} # the name or address that clients knock at
  udp_port: ${udpPort} # knocks arrive here; nothing is ever answered
${renderFirewall(firewall)}
  knock_timeout: 30s # how long a knock opens
  replay_window: 60s # how far a client's clock may be off
  drop_ports: ${
    closesPorts(firewall)
  } # true: openme closes the ports below; false: your own firewall does
  # closed_as: drop # what strangers see of a closed port: nothing (drop) or a refusal (reject)
  ${
    onStop === "open"
      ? "# "
      : ""
  }on_stop: ${onStop} # what a stop leaves: all as without openme (open), or the ports closed (closed)
  # open_knock_port: true # let knocks through this host's own firewall
  # health_port: ${udpPort} # TCP; guarded like the ports below
  ${interfaceLine} # guard only what arrives there; all interfaces otherwise
  # state_dir: ${DEFAULT_STATE_DIR}
  # default_profile: default # what "openme add" calls the client's profile
  private_key: ${JSON.stringify(privateKey)} # secret: with it, knocks can be read
  public_key: ${JSON.stringify(publicKey)}

# Groups of ports that stay closed: "22/tcp", "53/udp", "80" (both), "8080-8090/tcp".
ports:
  ${group}: [${ports.map((port) => `"${port}"`).join(", ")}]

# Who may knock, and what opens then. "openme add NAME" adds to this.
clients: {}
`;
}
