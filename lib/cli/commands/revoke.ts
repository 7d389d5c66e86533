/** `openme revoke`: takes a client's key out of the configuration. */

import { lastingPorts, type ServerConfig } from "../../config/server.ts";
import { removeClient } from "../../config/edit_server.ts";
import { askServer } from "../../control/socket.ts";
import type { CloseReport, CloseRequest } from "../../control/requests.ts";
import { fingerprint } from "../../crypto/sync.ts";
import { messageOf, OpenmeError } from "../../values/errors.ts";
import { formatNetwork } from "../../values/network.ts";
import { shownPorts, subtractPortRanges } from "../../values/ports.ts";
import { escapeUnprintable } from "../../values/text.ts";
import { readSnapshot } from "../../state/read.ts";
import { closeAtOthers, requireAllClosed, tellClosed } from "./close.ts";
import { type Command, configPath, renderJson, textFlag } from "../context.ts";
import { editServerFile, keepPortsGuarded, requireClient } from "../edit_server_file.ts";

export const revoke: Command = {
  about:
    `Takes a client out of the server's configuration. A running "openme serve" withdraws the client's
open grants in the same second; established connections live on, unless --kill cuts them. Ports
that no other client and no group has go into the group "guarded", so that they stay closed.`,
  arguments: "CLIENT",
  parameters: {
    "--kill": `cut the client's established connections too, through the running "openme serve"`,
    "--fleet":
      `at every host of the fleet (server.fleet): each refuses the key from now on, also while its own
      files still have it`,
    "--json": `print what was revoked: {"revoked": {"client", "fingerprint"}}, with --kill also what
      "openme close --json" prints; "cut" is null where serve could not be asked; with --fleet also "others": docs/json.md`,
    "--state-dir DIR":
      "with --kill and --fleet: where serve keeps its state (default: server.state_dir)",
  },
  notes:
    `--kill cuts by address: everyone behind the client's address is cut from the client's ports. Where
serve does not run, or cannot cut all, the key is still revoked, the remaining connections are
listed, and the exit code is 1.`,
  example: "sudo openme revoke alice --kill",
  run: async (args, context) => {
    const name = args.positionals[0]!;
    const kill = args.values["kill"] === true;
    const isFleets = args.values["fleet"] === true;
    const json = args.values["json"] === true;
    const givenDir = textFlag(args, "state-dir");
    if (givenDir !== undefined && !kill && !isFleets) {
      throw new OpenmeError("USAGE", "--state-dir does nothing without --kill or --fleet", {
        hint: "see openme revoke --help",
      });
    }
    const path = configPath(args);
    const edited = await editServerFile(path, async (files) => {
      const { config, editClient, save } = files;
      const client = requireClient(config, name);
      const file = editClient(name, (text) => removeClient(text, name));
      const others = config.clients.filter((each) => each !== client);
      const kept = [...lastingPorts(config), ...others.flatMap(({ ports }) => ports)];
      const told = keepPortsGuarded(files, subtractPortRanges(client.ports, kept), path);
      const stateDir = givenDir ?? config.stateDir;
      const open = kill ? openOf(name, stateDir, config) : [];
      await save();
      return { client, file, told, stateDir, open };
    });
    const again = `on each of those hosts: openme revoke ${name}`;
    const key = fingerprint(edited.client.publicKey);
    context.stderr(`openme: revoked ${name} (key ${key}) in ${escapeUnprintable(edited.file)}`);
    if (edited.file !== path) {
      context.stderr("openme: if another program writes that file, take the client out there too");
    }
    edited.told.forEach((line) => context.stderr(line));
    const revoked = { client: name, fingerprint: key };
    const { client } = edited;
    const keys = [client.key, ...client.previous ? [client.previous.key] : []];
    const others = isFleets
      ? await closeAtOthers(
        edited.stateDir,
        { command: "close", client: name, keys, kill, revoked: true },
        context,
      ).catch((cause) => {
        throw withWords(cause, "the key is revoked here, but not at the other hosts");
      })
      : undefined;
    if (!kill) {
      const report = { closed: [], cut: null, failures: [] };
      if (json) context.stdout(renderJson({ revoked, others }));
      else if (others) tellClosed(report, context, others);
      requireAllClosed(report, context, { others, again });
      return 0;
    }
    const report = await askToCut(name, edited.stateDir);
    if (report instanceof OpenmeError) {
      if (json) {
        const nothing = { closed: [], cut: null, failures: [report.message] };
        context.stdout(renderJson({ revoked, ...nothing }));
      }
      throw report;
    }
    // Where the running server took the change before it was asked, it has nothing left to close.
    const closed = report.closed.length > 0 ? report.closed : edited.open;
    const told = { ...report, closed };
    if (json) {
      context.stdout(renderJson({ revoked, ...told, others }));
    } else tellClosed(told, context, others);
    requireAllClosed(told, context, { others, again });
    return 0;
  },
};

/** The client's grants, as far as the database tells. */
function openOf(name: string, stateDir: string, config: ServerConfig): CloseReport["closed"] {
  try {
    return readSnapshot(stateDir, Date.now()).grants.filter(({ client }) => client === name)
      .map(({ client, address, ports }) => ({
        client,
        address: formatNetwork(address),
        ports: shownPorts(ports, config.healthPort),
      }));
  } catch {
    return [];
  }
}

function withWords(cause: unknown, words: string): OpenmeError {
  const hint = cause instanceof OpenmeError ? cause.hint : undefined;
  return new OpenmeError("STATE", `${words}: ${messageOf(cause)}`, { hint, cause });
}

/** Has `serve` cut the client's connections; returns the error where it cannot be asked. */
async function askToCut(name: string, stateDir: string): Promise<CloseReport | OpenmeError> {
  const request: CloseRequest = { command: "close", client: name, kill: true, revoked: true };
  try {
    return await askServer(stateDir, request) as CloseReport;
  } catch (cause) {
    return new OpenmeError(
      "STATE",
      `the key is revoked, but no connection was cut: ${messageOf(cause)}`,
      {
        hint: (cause instanceof OpenmeError && cause.hint ? `${cause.hint}; ` : "") +
          `then: openme close ${name} --kill`,
        cause,
      },
    );
  }
}
