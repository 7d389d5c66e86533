/**
 * A fresh machine that really boots: Debian 12 with systemd, nftables and sshd in a container, whose network is the
 * server's in a lab. Somebody has a login there, with sudo.
 */

import assert from "node:assert/strict";
import { type Lab, runToEnd } from "../e2e/lab.ts";
import { Program } from "../support/spawned.ts";
import { waitFor, within } from "../support/wait.ts";
import { makeTree, succeed } from "./tree.ts";

export const USER = "anna";

/**
 * The hierarchies of control groups that systemd uses: the only one (version 2), or one of version 1 beside one of
 * version 2. Each machine has a group of its own there, `$0`: in a shared one, where systemd-nspawn would boot it, the
 * systemd of one machine kills the services of another.
 */
const EACH_GROUP = `for top in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
  [ -e $top/cgroup.procs ] || continue
  group=$top/$0`;
const RUN_IN_GROUP = `${EACH_GROUP}
  mkdir -p $group && echo $$ > $group/cgroup.procs
done
echo $$ > "$1"
shift
exec systemd-nspawn "$@"`;
/** Kills the machine's first process, a child of the systemd-nspawn in the file `$0`, which it would outlive by a second. */
const KILL = `pid=$(cat "$0"); kill -KILL $(pgrep -P "$pid") || kill -KILL "$pid" || :`;
const REMOVE_GROUP = `${EACH_GROUP}
  for i in $(seq 100); do
    [ -d $group ] || break
    find $group -depth -type d -exec rmdir {} + || sleep 0.05
  done
done 2>/dev/null`;

/** Why no machine can boot here, or `undefined`. */
export async function bootMissing(): Promise<string | undefined> {
  if (Deno.env.get("OPENME_BIN") === undefined) return "needs OPENME_BIN, as dist/openme";
  for (const program of ["debootstrap", "systemd-nspawn"]) {
    const { code } = await runToEnd("sh", ["-c", 'command -v "$0"', program]);
    if (code !== 0) return `needs ${program} (apt-get install debootstrap systemd-container)`;
  }
  return Deno.uid() === 0 ? undefined : "needs root";
}

/** The machine's files; boots and reboots. */
export class Machine implements AsyncDisposable {
  readonly #lab: Lab;
  readonly #dir: string;
  #console: Program | undefined;

  private constructor(lab: Lab, dir: string) {
    this.#lab = lab;
    this.#dir = dir;
  }

  /** Installs Debian as apt reaches it here, with a login for whoever has `publicKey`; does not boot it. */
  static async install(lab: Lab, publicKey: string): Promise<Machine> {
    const machine = new Machine(lab, await Deno.makeTempDir({ prefix: "openme-boot-" }));
    const ready = Deno.env.get("OPENME_BOOT_TREE");
    if (ready === undefined) await makeTree(machine.root);
    else await succeed("cp", "-a", ready, machine.root);
    await machine.run("useradd", "--create-home", "--shell", "/bin/bash", USER);
    await machine.write(`/etc/sudoers.d/${USER}`, `${USER} ALL=(ALL) NOPASSWD: ALL\n`, 0o440);
    await machine.write(`/home/${USER}/.ssh/authorized_keys`, publicKey);
    await machine.write("/etc/hostname", "vps\n");
    await machine.write("/etc/hosts", "127.0.0.1 localhost\n127.0.1.1 vps\n");
    return machine;
  }

  get root(): string {
    return `${this.#dir}/root`;
  }

  get #pidFile(): string {
    return `${this.#dir}/pid`;
  }

  /** The name of its control groups. */
  get #group(): string {
    return this.#dir.slice(this.#dir.lastIndexOf("/") + 1);
  }

  /** Boots; resolves when sshd listens, as seen on the machine itself. `meanwhile` is asked again and again until then. */
  async boot(meanwhile: () => Promise<void> = () => Promise.resolve()): Promise<void> {
    // Not through the lab: inside "ip netns exec" there are no control groups, without which systemd does not boot.
    this.#console = new Program("sh", {
      args: [
        ...["-c", RUN_IN_GROUP, this.#group, this.#pidFile],
        ...["--quiet", "-D", this.root, "--register=no", "--keep-unit", "--console=pipe"],
        `--network-namespace-path=/run/netns/${this.#lab.namespace("server")}`,
        ...["--capability=CAP_NET_ADMIN,CAP_NET_RAW", "--resolv-conf=off", "-b"],
      ],
    });
    await waitFor("sshd", async () => {
      await meanwhile();
      return /:22\b/.test(await this.#lab.run("server", ["ss", "-Hltn", "sport", "22"]));
    }, { timeoutMs: 60_000 });
  }

  /** Waits for the end of a machine that was told to power off. What the kernel held of it, rules and all, is gone then. */
  async isOff(): Promise<void> {
    const status = await within(this.#console!.status, 90_000, undefined);
    assert.ok(status, `the machine does not power off: ${this.#console!.stderr}`);
    this.#console = undefined;
    await this.#lab.nft("flush ruleset");
  }

  /** Cuts the power. */
  async losePower(): Promise<void> {
    await succeed("sh", "-c", KILL, this.#pidFile);
    await this.isOff();
  }

  /** Runs a program on the machine's files, booted or not. */
  async run(...command: string[]): Promise<string> {
    return await succeed("chroot", this.root, ...command);
  }

  /** Writes a file with its folders. */
  async write(path: string, text: string, mode = 0o644): Promise<void> {
    const file = this.root + path;
    await Deno.mkdir(file.slice(0, file.lastIndexOf("/")), { recursive: true });
    await Deno.writeTextFile(file, text);
    await Deno.chmod(file, mode);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#console) await this.losePower();
    await succeed("sh", "-c", REMOVE_GROUP, this.#group);
    await Deno.remove(this.#dir, { recursive: true });
  }
}
