/**
 * The files of a fresh Debian 12 that can boot, as apt reaches it here. `deno run -A tests/boot/tree.ts PATH` makes them
 * ahead of the test, which is told of them by OPENME_BOOT_TREE.
 */

import assert from "node:assert/strict";
import { runToEnd } from "../e2e/lab.ts";

/** What Debian's installer gives a server, and what is too small to be worth a question. */
const PACKAGES = [
  ...["systemd", "systemd-sysv", "dbus", "udev", "nftables", "conntrack", "iproute2"],
  ...["openssh-server", "sudo", "cron", "ca-certificates"],
];

/** Runs a command to its end and gives its standard output. Rejects where it fails. */
export async function succeed(...command: string[]): Promise<string> {
  const [program, ...args] = command;
  const { code, stdout, stderr } = await runToEnd(program!, args);
  assert.equal(code, 0, `${command.join(" ")}: ${stderr}\n${stdout.slice(-2000)}`);
  return stdout;
}

/** Installs Debian into a folder that is not there yet. */
export async function makeTree(path: string): Promise<void> {
  const packages = `--include=${PACKAGES.join(",")}`;
  await succeed("debootstrap", "--variant=minbase", packages, "bookworm", path);
}

if (import.meta.main) await makeTree(Deno.args[0]!);
