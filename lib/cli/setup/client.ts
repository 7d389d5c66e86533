/** The first client: how it comes into the configuration, and its profile to the client. */

import { isGuardedGroup } from "../../config/edit_server.ts";
import type { ServerConfig } from "../../config/server.ts";
import type { RunProgram } from "../../system/run_program.ts";
import type { Context } from "../context.ts";
import { clientCommand, isPlainUser, profileName } from "./client_command.ts";
import type { Wishes } from "./wishes.ts";

/** What is done for a client. */
export interface Introduction {
  /** Registers the client here: `openme add`; `undefined` where the command at the client does. */
  readonly add: readonly [command: "add", ...args: string[]] | undefined;
  /** What is typed at the client. */
  readonly atClient: string | undefined;
  /** A file at the server for the profile; the command at the client removes it. */
  readonly file: string | undefined;
}

/** Who runs setup, and how they come here. */
export interface Caller {
  /** The user that called `sudo`; `undefined` for root itself. */
  readonly user: string | undefined;
  /** Whether `sudo` asks that user for no password, so that it works without a terminal. */
  readonly needsNoPassword: boolean;
  readonly home: string | undefined;
  readonly sshPort: number;
}

/** Finds out who called. */
export async function findCaller(
  { env, run }: Pick<Context, "env" | "run">,
  sshPort: number,
): Promise<Caller> {
  const user = env("SUDO_USER");
  if (!isPlainUser(user) || user === "root") {
    return { user: undefined, needsNoPassword: true, home: undefined, sshPort };
  }
  // -k: what the user typed a minute ago does not count at another terminal.
  const asks = ["-n", "-u", user, "--", "sudo", "-k", "-n", "openme", "version"];
  const needsNoPassword = await succeeds(run, "sudo", asks);
  const entry = await run({ program: "getent", args: ["passwd", user], timeoutMs: 10_000 })
    .catch(() => "");
  return { user, needsNoPassword, home: entry.trim().split(":")[5] || undefined, sshPort };
}

async function succeeds(run: RunProgram, program: string, args: readonly string[]) {
  return await run({ program, args, timeoutMs: 10_000 }).then(() => true, () => false);
}

/** What registers the client and brings its profile there. */
export function introduce(
  { host, client, way }: Pick<Wishes, "host" | "client" | "way">,
  { user, needsNoPassword, home, sshPort }: Caller,
  groups: readonly string[],
): Introduction {
  const ports = groups.length > 0 ? ["--ports", groups.join(",")] : [];
  const add = (...more: string[]) => ["add", client, ...ports, ...more] as const;
  if (way.by === "screen") {
    return { add: add(`--${way.showing}`), atClient: undefined, file: undefined };
  }
  const key = way.key === undefined ? [] : ["--pubkey", way.key];
  if (way.by === "output") {
    const out = way.file === undefined ? [] : ["--out", way.file];
    return { add: add(...key, ...out), atClient: undefined, file: way.file };
  }
  const errand = { host, user: user ?? "root", sshPort, profile: profileName(host) };
  if (!needsNoPassword && home !== undefined) {
    const name = `openme-${client}.yaml`;
    const file = `${home}/${name}`;
    const remote = [`cat ${name} && rm ${name}`];
    return {
      add: add(...key, "--out", file),
      atClient: clientCommand({ ...errand, remote }),
      file,
    };
  }
  const remote = [...(user === undefined ? [] : ["sudo"]), "openme", ...add(...key)];
  return { add: undefined, atClient: clientCommand({ ...errand, remote }), file: undefined };
}

/** The groups to name to `openme add`, where it cannot tell which ones are meant. */
export function groupsToName(config: ServerConfig | undefined): string[] {
  const names = [...config?.groups.keys() ?? []];
  const meant = names.filter((name) => !isGuardedGroup(name));
  return names.includes("default") || meant.length <= 1 ? [] : meant;
}
