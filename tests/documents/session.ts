/**
 * The consoles of the documents: a server `vps` and a laptop, in a lab, with Debian's own sshd and ssh. What a line
 * would write into the machine goes into copies: every command has mounts of its own.
 */

import assert from "node:assert/strict";
import { bareEnvironment } from "../cli/program.ts";
import { IPV4, type Lab, type Output, runToEnd, type Side } from "../e2e/lab.ts";
import { OPENME } from "../support/openme_command.ts";
import type { Program } from "../support/spawned.ts";
import { startSshd } from "../e2e/sshd.ts";

/** The names by which the documents call the server. */
const HOSTS = ["vps.example.org", "web1.corp", "db1.corp"];

const MOUNT =
  'for at in etc:/etc var:/var/lib run:/run; do mount --bind "$0/${at%%:*}" "${at#*:}" || exit; done; ' +
  'cd "$1" && exec env HOME="$1" sh -c "$2"';

/** A line of a console, and where it is typed. */
export interface Line {
  readonly side: Side;
  readonly command: string;
}

/** The lines of a block that are typed; what stands between them is what they print. */
export function linesOf(text: string): Line[] {
  return [...text.matchAll(/^(vps|laptop)\$ +(.*?)(?: +#.*)?$/gm)].map(([, where, command]) => ({
    side: where === "vps" ? "server" : "client",
    command: command!,
  }));
}

function shellWords(command: readonly string[]): string {
  return command.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
}

/** Two machines with the program and nothing of openme's. */
export class Session implements AsyncDisposable {
  readonly #lab: Lab;
  readonly #dir: string;
  readonly #prelude: string;
  #served: Program | undefined;
  /** What the last command printed. */
  #printed = "";

  private constructor(lab: Lab, dir: string, prelude: string) {
    this.#lab = lab;
    this.#dir = dir;
    this.#prelude = prelude;
  }

  static async create(lab: Lab): Promise<Session> {
    const dir = await Deno.makeTempDir({ prefix: "openme-session-" });
    for (const name of ["bin", "var", "run/sshd", "server", "client/.ssh"]) {
      await Deno.mkdir(`${dir}/${name}`, { recursive: true });
    }
    // An ordinary user may not read all of it: what nobody else may read stays behind.
    await new Deno.Command("cp", { args: ["-a", "/etc", `${dir}/etc`] }).output();
    await Deno.remove(`${dir}/etc/openme`, { recursive: true }).catch(() => {});
    await Deno.writeTextFile(`${dir}/etc/hosts`, `${IPV4.server} ${HOSTS.join(" ")}\n`);
    await Deno.writeTextFile(`${dir}/client/.ssh/config`, "");
    const bare = await bareEnvironment();
    const path = `${dir}/bin:${bare["PATH"]}`;
    const session = new Session(lab, dir, `export PATH='${path}' NO_COLOR=1; `);
    await session.#script("sudo", 'exec "$@"');
    await session.#script(
      "openme",
      `DENO_DIR='${bare["DENO_DIR"]}' exec ${shellWords(OPENME)} "$@"`,
    );
    const ssh = await startSshd(
      (command) => lab.start("server", session.#inside("server", shellWords(command))),
      dir,
      [`SetEnv PATH=${path}`],
    );
    const args = ["-F", `${dir}/client/.ssh/config`, "-o", "ConnectTimeout=10", ...ssh];
    await session.#script("ssh", `exec /usr/bin/ssh ${args.join(" ")} "$@"`);
    return session;
  }

  /**
   * To where a first session leads: a server with a client, `laptop` unless `text` adds one of that name,
   * whose profile is the laptop's `home`.
   */
  async install(text = ""): Promise<void> {
    const name = text.includes("openme add laptop") ? "desk" : "laptop";
    for (
      const { side, command } of [
        { side: "server", command: "sudo openme init --server vps.example.org" },
        { side: "server", command: `sudo openme add ${name} --out laptop.yaml` },
        { side: "client", command: "openme import laptop.yaml --as home" },
      ] satisfies Line[]
    ) await this.type({ side, command });
    await Deno.remove(`${this.#dir}/server/laptop.yaml`);
    await Deno.remove(`${this.#dir}/client/laptop.yaml`);
  }

  /** Runs a line as it stands. `serve` goes on beside the next ones; another one comes after Ctrl-C. Rejects where it fails. */
  async type({ side, command }: Line): Promise<void> {
    const line = command.replaceAll("BASE64", this.#printed.trim());
    if (/\bopenme serve\b/.test(line)) return await this.#serve(line);
    const seen = this.#served?.stderr.all.length;
    const { code, stdout, stderr } = await this.output(side, line);
    assert.equal(code, 0, `${line}: ${stderr}`);
    this.#printed = stdout;
    // A person needs longer to type the next line than the server to read the changed file.
    if (/\bopenme add\b/.test(line)) {
      await this.#served?.stderr.waitFor(/event=reloaded/, 15_000, seen);
    }
    if (/\bopenme confirm\b/.test(line)) await this.#served!.stderr.waitFor(/event=confirmed/);
    if (/^openme knock\b/.test(line)) await this.#served!.stderr.waitFor(/event=granted client=/);
    if (side === "server") await this.#carryProfiles();
  }

  /** Runs a line to its end, whatever its exit code. */
  output(side: Side, line: string): Promise<Output> {
    return this.#lab.output(side, this.#inside(side, line));
  }

  /** Whether the laptop reaches port 22. */
  async reaches(): Promise<boolean> {
    const probe = `timeout 1 bash -c 'exec 3<>/dev/tcp/${HOSTS[0]}/22' 2>&-`;
    return (await this.output("client", probe)).code === 0;
  }

  /** Writes a file into the laptop's home. */
  async write(name: string, text: string): Promise<void> {
    await Deno.writeTextFile(`${this.#dir}/client/${name}`, text);
  }

  /** Presses Ctrl-C where `serve` runs. */
  async interrupt(): Promise<void> {
    const status = await this.#served?.kill("SIGINT", 15_000);
    this.#served = undefined;
    assert.ok(status === undefined || status.success, "serve fails at the stop");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lab.nft("flush ruleset");
    // sshd's children outlive it, and would hold its output open.
    const killSshd = 'for pid in $(ip netns pids "$0"); do ' +
      '[ "$(cat /proc/$pid/comm)" != sshd ] || kill -9 "$pid"; done';
    await runToEnd("sh", ["-c", killSshd, this.#lab.namespace("server")]);
    await this.#served?.[Symbol.asyncDispose]();
    await Deno.remove(this.#dir, { recursive: true });
  }

  async #serve(line: string): Promise<void> {
    await this.interrupt();
    assert.ok(await this.reaches(), "the port is closed before openme serve");
    const served = this.#lab.start("server", this.#inside("server", `exec ${line}`));
    this.#served = served;
    await served.stderr.waitFor(/event=listening/, 15_000);
    assert.equal(await this.reaches(), line.includes("--dry-run"), `${line}: port 22`);
  }

  /** What a reader does with a profile that the server has written. */
  async #carryProfiles(): Promise<void> {
    for await (const { name } of Deno.readDir(`${this.#dir}/server`)) {
      if (!name.endsWith(".yaml")) continue;
      await Deno.copyFile(`${this.#dir}/server/${name}`, `${this.#dir}/client/${name}`);
    }
  }

  #inside(side: Side, line: string): string[] {
    return ["sh", "-c", MOUNT, this.#dir, `${this.#dir}/${side}`, this.#prelude + line];
  }

  async #script(name: string, text: string): Promise<void> {
    await Deno.writeTextFile(`${this.#dir}/bin/${name}`, `#!/bin/sh\n${text}\n`);
    await Deno.chmod(`${this.#dir}/bin/${name}`, 0o755);
  }
}
