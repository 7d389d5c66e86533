/** The laptop of somebody who has a login on the machine: what is typed on it, and what over its ssh at the server. */

import assert from "node:assert/strict";
import { IPV4, type Lab, runToEnd } from "../e2e/lab.ts";
import { OPENME } from "../support/openme_command.ts";
import type { Program } from "../support/spawned.ts";
import { waitFor, within } from "../support/wait.ts";
import { USER } from "./machine.ts";

const HOST = "vps.example.org";

export class Laptop implements AsyncDisposable {
  readonly #lab: Lab;
  readonly #dir: string;
  readonly publicKey: string;
  #served: Program | undefined;
  #logins = 0;

  private constructor(lab: Lab, dir: string, publicKey: string) {
    this.#lab = lab;
    this.#dir = dir;
    this.publicKey = publicKey;
  }

  static async create(lab: Lab): Promise<Laptop> {
    const dir = await Deno.makeTempDir({ prefix: "openme-laptop-" });
    const key = `${dir}/key`;
    const { code } = await runToEnd("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", key]);
    assert.equal(code, 0);
    await Deno.writeTextFile(`${dir}/hosts`, `${IPV4.server} ${HOST}\n`);
    const script = async (name: string, text: string) => {
      await Deno.mkdir(`${dir}/bin`, { recursive: true });
      await Deno.writeTextFile(`${dir}/bin/${name}`, `#!/bin/sh\n${text}\n`);
      await Deno.chmod(`${dir}/bin/${name}`, 0o755);
    };
    await script("openme", `exec ${OPENME.map((word) => `'${word}'`).join(" ")} "$@"`);
    const options = [
      "BatchMode=yes",
      "StrictHostKeyChecking=no",
      `UserKnownHostsFile=${dir}/known_hosts`,
      "LogLevel=ERROR",
      "ConnectTimeout=5",
    ].map((each) => `-o ${each}`).join(" ");
    await script("ssh", `exec /usr/bin/ssh -F none -i ${key} -l ${USER} ${options} "$@"`);
    return new Laptop(lab, dir, await Deno.readTextFile(`${key}.pub`));
  }

  /** Runs a line to its end; what it printed. Rejects where it fails. */
  async type(line: string): Promise<string> {
    const { code, stdout, stderr } = await this.#lab.output("client", this.#inside(line));
    assert.equal(code, 0, `${line}: ${stderr}`);
    return stdout;
  }

  /** Whether port 22 takes a connection. */
  async reaches(): Promise<boolean> {
    const probe = `timeout 1 bash -c 'exec 3<>/dev/tcp/${HOST}/22' 2>&-`;
    return (await this.#lab.output("client", this.#inside(probe))).code === 0;
  }

  /** Opens the ssh session over which {@linkcode typeAtServer} types from now on. */
  async logIn(): Promise<void> {
    this.#logins++;
    const master = this.#lab.start(
      "client",
      this.#inside(`exec ssh -M -S ${this.#control} -N ${HOST}`),
    );
    for (let tries = 0; tries < 50; tries++) {
      const { code } = await this.#lab.output(
        "client",
        this.#inside(`ssh -S ${this.#control} -O check ${HOST}`),
      );
      if (code === 0) return;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    throw new Error(`cannot log in: ${master.stderr}`);
  }

  /** Runs a line at the server, in the clone of openme there; what it printed. Rejects where it fails. */
  typeAtServer(line: string): Promise<string> {
    return this.type(this.#atServer(line));
  }

  /** Logs in anew and types a line into a terminal at the server, where it goes on. Standard input is the keyboard. */
  onTerminal(line: string): Program {
    return this.#lab.start(
      "client",
      this.#inside(`exec ssh -tt ${HOST} ${quoted(`cd openme && ${line}`)}`),
    );
  }

  /**
   * Types a line with `serve` into a terminal at the server, where it goes on. Over a connection of its own: a shared one
   * takes the terminal's modes from standard input, which is a pipe here, and then Ctrl-C would be a byte like any other.
   */
  async serve(line: string): Promise<void> {
    this.#served = this.onTerminal(line);
    await this.#served.stdout.waitFor(/listening/, 20_000);
  }

  /** Presses Ctrl-C where `serve` runs. */
  async interrupt(): Promise<void> {
    await waitFor("the end of serve", async () => {
      await this.#served!.writeLine("\x03");
      return await within(this.#served!.status, 1000, undefined);
    }, { timeoutMs: 20_000 }).catch((cause) => {
      throw new Error(`${this.#served!.stdout}`, { cause });
    });
    const { code } = await this.#served!.status;
    assert.equal(code, 0, `${this.#served!.stdout}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#dir, { recursive: true });
  }

  get #control(): string {
    return `${this.#dir}/control-${this.#logins}`;
  }

  #atServer(line: string): string {
    return `ssh -S ${this.#control} ${HOST} ${quoted(`cd openme && ${line}`)}`;
  }

  #inside(line: string): string[] {
    const script = 'mount --bind "$0/hosts" /etc/hosts && cd "$0" && exec env HOME="$0" sh -c "$1"';
    const path = `export PATH='${this.#dir}/bin:${Deno.env.get("PATH")}' NO_COLOR=1; `;
    return ["sh", "-c", script, this.#dir, path + line];
  }
}

/** As one word of the shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
