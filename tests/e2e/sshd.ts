/** Debian's own sshd and ssh, with keys of their own. */

import assert from "node:assert/strict";
import { findProgram, lacks } from "../support/programs.ts";
import { ONE_USER } from "../support/one_user.ts";
import { runToEnd } from "./lab.ts";
import type { Program } from "../support/spawned.ts";

/** Why sshd cannot run here, or `undefined`. */
export function sshMissing(): Promise<string | undefined> {
  return Promise.resolve(lacks("sshd", "ssh", ...ONE_USER ? ["fakeroot-sysv" as const] : []));
}

/**
 * The command of an sshd. It wants to give up its rights to a user of its own and a terminal to the group `tty`; where
 * there is one user only, both are that one, and fakeroot lets it change its groups, which the kernel would refuse.
 */
async function sshdCommand(dir: string): Promise<string[]> {
  const command = [findProgram("sshd")!, "-D", "-e", "-f", `${dir}/sshd_config`];
  if (!ONE_USER) return command;
  const linesBut = async (file: string, name: string) =>
    (await Deno.readTextFile(file)).split("\n").filter((line) =>
      line && !line.startsWith(`${name}:`)
    );
  const passwd = [...await linesBut("/etc/passwd", "sshd"), "sshd:x:0:0::/run/sshd:/bin/false"];
  const group = await linesBut("/etc/group", "tty");
  await Deno.writeTextFile(`${dir}/passwd`, passwd.join("\n") + "\n");
  await Deno.writeTextFile(`${dir}/group`, group.join("\n") + "\n");
  // Every command in a namespace of the lab's has mounts of its own. `-r`: fakeroot would be lost with another start.
  // fakeroot leaves a process behind, which ends with the process namespace.
  const script = `mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/group" /etc/group
exec unshare -pf --kill-child fakeroot-sysv "$@" -r`;
  return ["sh", "-c", script, dir, ...command];
}

/**
 * Starts an sshd on port 22 that lets root in; resolves to the client's arguments. `start` starts a program at the
 * server's side; `dir` holds keys and settings; `settings` are further lines of sshd_config.
 */
export async function startSshd(
  start: (command: readonly string[]) => Program,
  dir: string,
  settings: readonly string[] = [],
): Promise<string[]> {
  for (const name of ["host", "client"]) {
    const { code, stderr } = await runToEnd("ssh-keygen", [
      ...["-q", "-t", "ed25519", "-N", "", "-f", `${dir}/${name}_key`],
    ]);
    assert.equal(code, 0, stderr);
  }
  await Deno.copyFile(`${dir}/client_key.pub`, `${dir}/authorized`);
  const lines = [
    "Port 22",
    `HostKey ${dir}/host_key`,
    `AuthorizedKeysFile ${dir}/authorized`,
    "StrictModes no",
    "UsePAM no",
    "PermitRootLogin prohibit-password",
    "PidFile none",
    ...settings,
  ];
  await Deno.writeTextFile(`${dir}/sshd_config`, lines.map((line) => line + "\n").join(""));
  await Deno.mkdir("/run/sshd", { recursive: true });
  const sshd = start(await sshdCommand(dir));
  await sshd.stderr.waitFor(/Server listening on .* port 22/);
  const options = [
    "BatchMode=yes",
    "StrictHostKeyChecking=no",
    `UserKnownHostsFile=${dir}/known_hosts`,
    "LogLevel=ERROR",
  ];
  return ["-i", `${dir}/client_key`, ...options.flatMap((each) => ["-o", each])];
}
