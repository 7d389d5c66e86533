/** `openme import fwknop|knockd`: another program's clients as groups and clients of the server's configuration. */

import type { ServerConfig } from "../../config/server.ts";
import { insertEntry } from "../../config/edit_server.ts";
import { renderProfileYaml } from "../../config/profile_text.ts";
import { encodeBase64 } from "../../crypto/keys.ts";
import { OpenmeError } from "../../values/errors.ts";
import { readPlainFile } from "../../system/read_file.ts";
import { createSecretFile } from "../../system/write_file.ts";
import type { Foreign, ForeignClient } from "../import/foreign.ts";
import { readFwknop } from "../import/fwknop.ts";
import { readKnockd } from "../import/knockd.ts";
import { quote } from "../../values/text.ts";
import { type Arguments, configPath, type Context, renderJson, textFlag } from "../context.ts";
import { type NewFile, printOrUndo, withNewFiles } from "../undo.ts";
import { editServerFile } from "../edit_server_file.ts";
import { newClientKey, profileFor } from "../new_profile.ts";
import { formatTime } from "../flags.ts";

const READERS = { fwknop: readFwknop, knockd: readKnockd } as const;

/** Where these files usually are. */
const WHERE = { fwknop: "/etc/fwknop/access.conf", knockd: "/etc/knockd.conf" } as const;

/** The result of an import, for people and as JSON. */
interface Outcome {
  readonly groups: readonly { group: string; ports: readonly string[] }[];
  readonly clients: {
    client: string;
    group: string;
    expires_at: string | null;
    /** The client's profile. */
    file: string | null;
  }[];
}

/** Imports the file, or only says what that would add. Returns the exit code. */
export async function importServer(
  program: "fwknop" | "knockd",
  file: string,
  args: Arguments,
  context: Context,
): Promise<number> {
  const found = READERS[program](await readPlainFile(file, `is it ${WHERE[program]}?`));
  const dryRun = args.values["dry-run"] === true;
  if (found.clients.length === 0) {
    tellLeftOut(found, file, context);
    throw new OpenmeError(
      "CONFIG",
      `cannot import ${quote(file, 1000)}: no client of it fits openme`,
      {
        hint: `is it ${program === "fwknop" ? "an access.conf" : "a knockd.conf"}?`,
      },
    );
  }
  const path = configPath(args);
  const dir = textFlag(args, "out-dir") ?? ".";
  const outcome = await editServerFile(path, async ({ config, edit, check, save, restore }) => {
    refuseTaken(found.clients, config);
    const planned = plan(found.clients, config);
    for (const [name, specs] of planned.newGroups) {
      edit((text) => insertEntry(text, "ports", name, specs));
    }
    const groups = [...planned.newGroups].map(([group, ports]) => ({ group, ports }));
    const outcome: Outcome = { groups, clients: [] };
    const profiles: NewFile[] = [];
    for (const { name, group, expiresAtMs } of planned.clients) {
      const key = newClientKey();
      const expires = expiresAtMs === undefined ? undefined : formatTime(expiresAtMs);
      edit((text) =>
        insertEntry(text, "clients", name, {
          ed25519_pubkey: encodeBase64(key.publicKey),
          allowed_ports: [group],
          ...(expires === undefined ? {} : { expires }),
        })
      );
      const profile = `${dir}/${name}.yaml`;
      profiles.push([profile, renderProfileYaml(profileFor(config, args, key))]);
      outcome.clients.push({
        client: name,
        group,
        expires_at: expires ?? null,
        file: dryRun ? null : profile,
      });
    }
    // Profiles first, so that no client is registered whose private key got lost.
    await withNewFiles(dryRun ? [] : profiles, makeProfile, async () => {
      if (dryRun) check();
      else await save();
      if (!args.values["json"]) return;
      const shown = renderJson({ ...outcome, "left_out": found.leftOut });
      const undo = dryRun ? () => Promise.resolve() : restore;
      await printOrUndo(shown, context, { what: "what was imported", undo });
    });
    return outcome;
  });
  tell(outcome, { path, dryRun, context });
  tellLeftOut(found, file, context);
  return 0;
}

/** The new groups, one for each set of ports, and the group of each client. */
function plan(clients: readonly ForeignClient[], { groups }: ServerConfig) {
  const newGroups = new Map<string, readonly string[]>();
  const byPorts = new Map<string, string>();
  return {
    clients: clients.map((client) => {
      const ports = client.specs.toSorted().join(" ");
      let group = byPorts.get(ports);
      if (group === undefined) {
        group = groupName(client.specs, (name) => groups.has(name) || newGroups.has(name));
        newGroups.set(group, client.specs);
        byPorts.set(ports, group);
      }
      return { ...client, group };
    }),
    newGroups,
  };
}

/** A new name: `tcp-22` for one port, `tcp-22-and-2` for three. */
function groupName(specs: readonly string[], taken: (name: string) => boolean): string {
  const [ports = "", protocol = "port"] = specs[0]!.split("/");
  const base = `${protocol}-${ports}` + (specs.length > 1 ? `-and-${specs.length - 1}` : "");
  for (let n = 1;; n++) {
    const name = n === 1 ? base : `${base}.${n}`;
    if (!taken(name)) return name;
  }
}

function refuseTaken(clients: readonly ForeignClient[], config: ServerConfig): void {
  const taken = clients.find(({ name }) => config.clients.some((each) => each.name === name));
  if (!taken) return;
  throw new OpenmeError(
    "CONFIG",
    `cannot import ${quote(taken.name)}: there is a client of that name`,
    {
      hint:
        `was the file imported before? openme rename ${taken.name} makes room, openme revoke takes it out`,
    },
  );
}

async function makeProfile(path: string, text: string | Uint8Array): Promise<void> {
  await createSecretFile(path, text, {
    existsHint: "choose another folder with --out-dir",
    makeFolder: true,
  });
}

function tell(
  { groups, clients }: Outcome,
  { path, dryRun, context }: { path: string; dryRun: boolean; context: Context },
): void {
  const done = dryRun ? "would add" : "added";
  for (const { group, ports } of groups) {
    context.stderr(`openme: ${done} group ${group} (${ports.join(", ")}) to ${path}`);
  }
  for (const { client, group, expires_at: expires, file } of clients) {
    const until = expires === null ? "" : `, until ${expires}`;
    context.stderr(
      `openme: ${done} client ${client} (${group}${until})${file === null ? "" : `: ${file}`}`,
    );
  }
}

function tellLeftOut({ leftOut }: Foreign, file: string, context: Context): void {
  for (const { line, what, why } of leftOut) {
    context.stderr(`openme: left out: ${file}, line ${line}: ${quote(what)}: ${why}`);
  }
}
