/** `openme add`: registers a client and prints its profile. */

import { insertClient } from "../config/insert_client.ts";
import { NAME_PATTERN } from "../config/reader.ts";
import {
  EXPIRY_EXPECTED,
  parseExpiry,
  parseServerConfig,
  type ServerConfig,
} from "../config/server_config.ts";
import { concatBytes, encodeBase64, KEY_SIZE } from "../crypto.ts";
import { publicKeyOf } from "../crypto_sync.ts";
import { OpenmeError } from "../errors.ts";
import { replaceFile, withFileLock } from "../files.ts";
import { parsePortSpec } from "../ports.ts";
import { quote } from "../quote.ts";
import { type Arguments, type Command, configPath, flagError, textFlag } from "./context.ts";
import { loadServerConfig } from "./load.ts";

export const add: Command = {
  summary: "register a client and print its profile",
  help:
    `Makes a key for a client, registers it in the server's configuration and prints the client's profile (YAML).

Usage: openme add NAME [--ports A,B] [--expires DATE] [--profile NAME]

  --ports A,B      groups or ports that a knock opens (default: the only group, or the one called "default")
  --expires DATE   when the key ends: 2027-12-31 (its first moment, UTC) or 2027-12-31T18:00:00Z
  --profile NAME   what the profile is called (default: server.default_profile, or "default")

The private key is printed once and kept nowhere. A running "openme serve" lets the client in from now on.

Example:
  sudo openme add alice > alice.yaml
`,
  options: { ports: { type: "string" }, expires: { type: "string" }, profile: { type: "string" } },
  positionals: 1,
  run: async (args, context) => {
    const name = args.positionals[0];
    if (name === undefined) {
      throw new OpenmeError("USAGE", "openme add needs the client's NAME", {
        hint: "openme add alice > alice.yaml",
      });
    }
    requireName(name, "a client");
    const expires = readExpires(args);
    const path = configPath(args);
    await loadServerConfig(path); // before the lock: a missing or broken file gets its own error
    const seed = crypto.getRandomValues(new Uint8Array(KEY_SIZE));
    const publicKey = publicKeyOf("Ed25519", seed);
    const profile = await withFileLock(path, async () => {
      const { config, text } = await loadServerConfig(path);
      if (config.clients.some((client) => client.name === name)) {
        throw new OpenmeError(
          "CONFIG",
          `cannot add ${quote(name)}: there is a client of that name`,
          {
            hint: `choose another name, or take clients.${name} out of ${path}`,
          },
        );
      }
      const rendered = renderProfile(
        config,
        textFlag(args, "profile"),
        concatBytes(seed, publicKey),
        publicKey,
      );
      const edited = insertClient(text, name, {
        ed25519_pubkey: encodeBase64(publicKey),
        allowed_ports: readPorts(args, config),
        ...(expires === undefined ? {} : { expires }),
      });
      parseServerConfig(edited, path);
      await replaceFile(path, edited);
      return rendered;
    });
    context.stdout(profile);
    context.stderr(
      `openme: added ${name} to ${path}${expires === undefined ? "" : `, until ${expires}`}`,
    );
    context.stderr(
      "openme: the profile holds a private key: keep it where nobody else can read it (chmod 600)",
    );
    return 0;
  },
};

function requireName(name: string, whose: string): void {
  if (NAME_PATTERN.test(name)) return;
  throw new OpenmeError("USAGE", `expected ${whose} name, got ${quote(name)}`, {
    hint: "letters, digits, dots, hyphens and underscores, the first one a letter, at most 64",
  });
}

function readExpires(args: Arguments): string | undefined {
  const text = textFlag(args, "expires");
  if (text === undefined) return undefined;
  const expiresAtMs = parseExpiry(text);
  if (expiresAtMs === undefined) throw flagError("expires", EXPIRY_EXPECTED, text);
  if (expiresAtMs <= Date.now()) throw flagError("expires", "a time to come", text);
  return new Date(expiresAtMs).toISOString().replace(".000Z", "Z");
}

function readPorts(args: Arguments, { groups }: ServerConfig): string[] {
  const names = [...groups.keys()];
  const text = textFlag(args, "ports");
  if (text === undefined) {
    if (groups.has("default")) return ["default"];
    if (names.length === 1) return names;
    throw new OpenmeError(
      "USAGE",
      "cannot tell which ports the client may have: expected --ports",
      {
        hint: names.length ? `groups here: ${names.join(", ")}` : `such as --ports 22/tcp`,
      },
    );
  }
  return text.split(",").map((item) => item.trim()).map((item) => {
    if (groups.has(item) || parsePortSpec(item)) return item;
    throw flagError(
      "ports",
      `ports such as "22/tcp" or group names`,
      item,
      `groups here: ${names.join(", ") || "none"}`,
    );
  });
}

function renderProfile(
  config: ServerConfig,
  profileName: string | undefined,
  privateKey: Uint8Array,
  publicKey: Uint8Array,
): string {
  if (config.host === undefined) {
    throw new OpenmeError(
      "CONFIG",
      "cannot make a profile: the configuration does not say how clients reach this server",
      {
        hint: "add server.host: the server's name or address",
      },
    );
  }
  if (profileName !== undefined) requireName(profileName, "a profile");
  return `profiles:
  ${quoteName(profileName ?? config.defaultProfile)}:
    server_host: ${JSON.stringify(config.host)}
    server_udp_port: ${config.udpPort}
${
    config.healthPort === config.udpPort
      ? ""
      : `    health_port: ${config.healthPort}\n`
  }    server_pubkey: ${JSON.stringify(encodeBase64(config.publicKey))}
    private_key: ${JSON.stringify(encodeBase64(privateKey))}
    public_key: ${JSON.stringify(encodeBase64(publicKey))}
`;
}

/** Words that YAML would read as something else, among them those of YAML 1.1, which deployed clients may read. */
function quoteName(name: string): string {
  return /^(true|false|null|yes|no|on|off|y|n)$/i.test(name) ? JSON.stringify(name) : name;
}
