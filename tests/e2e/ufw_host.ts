/**
 * Debian's own ufw in the server's namespace: with an /etc/ufw, an /etc/default and a /run of its own, so that nothing of
 * this machine's ufw is read or changed.
 */

import assert from "node:assert/strict";
import { findProgram, lacks } from "../support/programs.ts";
import { type Lab, runToEnd } from "./lab.ts";

/** Why ufw cannot run here, or `undefined`. */
export function ufwMissing(): string | undefined {
  return lacks("ufw", "iptables-nft");
}

/** A host whose ufw is on, with Debian's own rules. */
export class UfwHost implements AsyncDisposable {
  /** A folder whose `ufw` is this host's, first in `PATH`. */
  readonly env: Readonly<Record<string, string>>;
  readonly #lab: Lab;
  readonly #dir: string;

  private constructor(lab: Lab, dir: string) {
    this.#lab = lab;
    this.#dir = dir;
    this.env = { PATH: `${dir}/bin:${Deno.env.get("PATH")}` };
  }

  static async create(lab: Lab): Promise<UfwHost> {
    const dir = await Deno.makeTempDir({ prefix: "openme-ufw-" });
    const host = new UfwHost(lab, dir);
    for (const name of ["bin", "default", "run"]) await Deno.mkdir(`${dir}/${name}`);
    const copy = `cp -a /etc/ufw ${dir}/ufw && cp /usr/share/ufw/*.rules ${dir}/ufw`;
    const copied = await runToEnd("sh", ["-c", copy]);
    assert.equal(copied.code, 0, copied.stderr);
    await Deno.writeTextFile(`${dir}/ufw/ufw.conf`, "ENABLED=no\nLOGLEVEL=off\n");
    await Deno.writeTextFile(
      `${dir}/default/ufw`,
      `IPV6=yes
DEFAULT_INPUT_POLICY="DROP"
DEFAULT_OUTPUT_POLICY="ACCEPT"
DEFAULT_FORWARD_POLICY="DROP"
DEFAULT_APPLICATION_POLICY="SKIP"
MANAGE_BUILTINS=no
IPT_SYSCTL=/etc/ufw/sysctl.conf
IPT_MODULES=""
`,
    );
    await Deno.writeTextFile(
      `${dir}/bin/ufw`,
      `#!/bin/sh
exec unshare -m sh -c '
  mount --bind ${dir}/ufw /etc/ufw && mount --bind ${dir}/default /etc/default &&
  mount --bind ${dir}/run /run && exec "$@"' sh ${findProgram("ufw")} "$@"
`,
      { mode: 0o755 },
    );
    await host.ufw("--force", "enable");
    return host;
  }

  /** Runs it to its end. Rejects where it fails. */
  ufw(...args: string[]): Promise<string> {
    return this.#lab.run("server", [`${this.#dir}/bin/ufw`, ...args]);
  }

  /** Every rule that was added, as `ufw show added` prints it. */
  async rules(): Promise<string[]> {
    return (await this.ufw("show", "added")).split("\n").filter((line) => line.startsWith("ufw "));
  }

  /** The addresses that the kernel accepts to a TCP port by rules of ufw's, sorted. */
  async accepted(port: number): Promise<string[]> {
    const listings = await Promise.all([
      this.#lab.run("server", ["iptables", "-S", "ufw-user-input"]),
      this.#lab.run("server", ["ip6tables", "-S", "ufw6-user-input"]),
    ]);
    const pattern = new RegExp(`-s (\\S+)/(?:32|128) .*--dport ${port} -j ACCEPT`, "g");
    return [...listings.join("\n").matchAll(pattern)].map(([, address]) => address!).sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#dir, { recursive: true });
  }
}
