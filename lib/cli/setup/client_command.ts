/** The one command that brings the first profile to a client, knocks with it and logs in. */

import { NAME_PATTERN } from "../../values/name.ts";
import { parseAddress } from "../../values/address.ts";
import { inShell } from "./steps.ts";

/** How the profile comes to the client over ssh. */
export interface Errand {
  /** The name or address of this server. */
  readonly host: string;
  /** Who logs in there; `undefined` where only the client knows. */
  readonly user: string | undefined;
  readonly sshPort: number;
  /** The command at the server that prints the profile: words for its shell, or one line of it. */
  readonly remote: readonly string[];
  /** What the profile is called on the client. */
  readonly profile: string;
}

/** How long the client knocks: the server closes its ports, and listens, only once the profile is on its way. */
const KNOCKING = "2m";

/** One line for a POSIX shell. */
export function clientCommand({ host, user, sshPort, remote, profile }: Errand): string {
  const ssh = [
    "ssh",
    ...(sshPort === 22 ? [] : ["-p", String(sshPort)]),
    user === undefined ? host : `${user}@${host}`,
  ];
  return [
    // ssh joins the words by spaces and gives them to a shell at the server: none of them needs quotes there.
    `${inShell([...ssh, ...remote])} | openme import - --as ${inShell([profile])}`,
    knockCommand(profile),
    inShell(ssh),
  ].join(" && ");
}

/** Knocks until the server says that the client is let in. */
export function knockCommand(profile: string): string {
  return `openme knock ${inShell([profile])} --check --timeout ${KNOCKING}`;
}

/** What a profile of this server is called on a client: the first part of its name, such as `vps`. */
export function profileName(host: string): string {
  const first = host.split(".")[0]!;
  return !parseAddress(host) && NAME_PATTERN.test(first) ? first : "server";
}

/** A user's name that needs no quotes in any shell. */
export function isPlainUser(name: string | undefined): name is string {
  return /^[a-z_][a-z0-9_.-]{0,31}$/.test(name ?? "");
}
