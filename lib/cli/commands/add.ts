/** `openme add`: registers a client and prints its profile. */

import { insertEntry, isGuardedGroup } from "../../config/edit_server.ts";
import { portsOf } from "../../config/port_groups.ts";
import { lastingPorts, type ServerConfig } from "../../config/server.ts";
import { bytesToHex, encodeBase64 } from "../../crypto/keys.ts";
import { OpenmeError } from "../../values/errors.ts";
import { parsePortSpec, reversedHint, subtractPortRanges } from "../../values/ports.ts";
import { escapeUnprintable, quote } from "../../values/text.ts";
import { describeClient } from "../client_json.ts";
import { type Arguments, type Command, configPath, flagError, textFlag } from "../context.ts";
import {
  editServerFile,
  keepPortsGuarded,
  requireClient,
  requireName,
} from "../edit_server_file.ts";
import { clientKeyOf, profileFor } from "../new_profile.ts";
import { checkProfileFlags, printProfile, PROFILE_FLAGS, tellHowToKeep } from "../print_profile.ts";
import { expiresFlag, prefixFlag, tellWhoGetsIn } from "../flags.ts";
import { RULE_FLAGS, ruleFlags } from "../rule_flags.ts";
import { requireSame } from "../registered_client.ts";

export const add: Command = {
  about:
    `Makes a key for a client, registers it in the server's configuration and prints the client's
profile (YAML).`,
  arguments: "NAME",
  parameters: {
    "--ports A,B":
      `groups or ports that a knock opens (default: the only group, or the one called "default")`,
    "--expires WHEN":
      `when the key ends: 90d, 2027-12-31 (its first moment, UTC) or 2027-12-31T18:00:00Z`,
    "--prefix SIZES":
      `such as v4=24,v6=64, or one of the two: a knock opens for the whole network of that size
      around its address, for a client behind carrier NAT (v4 from 16, v6 from 48); with nft the
      first address of it that connects is let in, with other firewalls every one`,
    ...RULE_FLAGS,
    ...PROFILE_FLAGS,
  },
  notes:
    `Ports that no group has are put into the group "guarded" as well: they stay closed when the client
is revoked. The private key is printed or written once and kept nowhere. A running "openme serve"
lets the client in from now on.`,
  example: "sudo openme add alice --expires 90d --out alice.yaml",
  run: async (args, context) => {
    const name = args.positionals[0]!;
    requireName(name, "a client");
    const expires = expiresFlag(args, Date.now());
    const prefix = prefixFlag(args);
    const rules = ruleFlags(args);
    checkProfileFlags(args);
    const key = await clientKeyOf(args, context);
    const path = configPath(args);
    await editServerFile(path, async (file) => {
      const { config } = file;
      const registered = config.clients.find((client) =>
        client.name === name && client.key === bytesToHex(key.publicKey)
      );
      if (registered) {
        const profile = profileFor(config, args, {
          ...key,
          totp: registered.rules?.totp !== undefined,
        });
        requireSame(registered, { args, config, ports: readPorts(args, config) });
        const result = { ...describeClient(registered, config), changed: false };
        await printProfile(profile, { name, args, context, file, result });
        context.stderr(`openme: ${name} has this key and these ports already: nothing changed`);
        return;
      }
      refuseTaken(config, name, bytesToHex(key.publicKey), path);
      const specs = readPorts(args, config);
      const authenticator = args.values["totp"]
        ? await (await import("../authenticator.ts")).newAuthenticator(name, config)
        : undefined;
      const profile = profileFor(config, args, { ...key, totp: authenticator !== undefined });
      file.edit((text) =>
        insertEntry(text, "clients", name, {
          ed25519_pubkey: encodeBase64(key.publicKey),
          allowed_ports: specs,
          ...(expires === undefined ? {} : { expires }),
          ...(prefix === undefined ? {} : { prefix }),
          ...rules.entry,
          ...(authenticator && { totp: authenticator.secret }),
        })
      );
      const ports = specs.flatMap((spec) => portsOf(spec, config.groups) ?? []);
      const told = keepPortsGuarded(file, subtractPortRanges(ports, lastingPorts(config)), path);
      const changed = file.check();
      const result = { ...describeClient(requireClient(changed, name), changed), changed: true };
      await printProfile(profile, { name, args, context, file, result });
      const until = expires === undefined ? "" : `, until ${expires}`;
      context.stderr(`openme: added ${name} to ${escapeUnprintable(path)}${until}`);
      told.forEach((line) => context.stderr(line));
      if (prefix) tellWhoGetsIn(name, prefix, config.firewall, context);
      tellHowToKeep(profile, context);
      await authenticator?.show(context);
    });
    return 0;
  },
};

function refuseTaken({ clients }: ServerConfig, name: string, key: string, path: string): void {
  if (clients.some((client) => client.name === name)) {
    throw new OpenmeError(
      "CONFIG",
      `cannot add ${quote(name)}: there is a client of that name`,
      { hint: `choose another name, or give it a new key: openme rotate ${name}` },
    );
  }
  const owner = clients.find((client) => client.key === key || client.previous?.key === key);
  if (owner) {
    throw new OpenmeError("CONFIG", `cannot add ${quote(name)}: ${owner.name} has that key`, {
      hint: `every client needs its own; take ${owner.name} out of ${path} if it is the same one`,
    });
  }
}

function readPorts(args: Arguments, { groups }: ServerConfig): string[] {
  const names = [...groups.keys()];
  const text = textFlag(args, "ports");
  if (text === undefined) {
    if (groups.has("default")) return ["default"];
    const meant = names.filter((name) => !isGuardedGroup(name));
    if (meant.length === 1) return meant;
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
      reversedHint(item) ?? `groups here: ${names.join(", ") || "none"}`,
    );
  });
}
