/** Debian's own firewalld in the server's namespace, with a dbus-daemon and a configuration of its own. */

import { findProgram, lacks } from "../support/programs.ts";
import type { Lab, Output } from "./lab.ts";
import type { Program } from "../support/spawned.ts";
import { waitFor } from "../support/wait.ts";

/** Why firewalld cannot run here, or `undefined`. */
export function firewalldMissing(): string | undefined {
  return lacks("firewalld", "firewall-cmd", "dbus-daemon");
}

/** What firewalld does with strangers: everything that its zones do not name is refused. */
const CONFIG = `DefaultZone=public
CleanupOnExit=yes
CleanupModulesOnExit=no
FirewallBackend=nftables
FlushAllOnReload=yes
`;

/** A host on which firewalld runs, with the one zone `public`, which lets in no service but `dhcpv6-client`. */
export class FirewalldHost implements AsyncDisposable {
  /** A folder whose `firewall-cmd` speaks to this host's firewalld, first in `PATH`. */
  readonly env: Readonly<Record<string, string>>;
  /** That `firewall-cmd`. */
  readonly program: string;
  readonly #lab: Lab;
  readonly #dir: string;
  #firewalld: Program | undefined;

  private constructor(lab: Lab, dir: string) {
    this.#lab = lab;
    this.#dir = dir;
    this.program = `${dir}/bin/firewall-cmd`;
    this.env = { PATH: `${dir}/bin:${Deno.env.get("PATH")}` };
  }

  static async create(lab: Lab): Promise<FirewalldHost> {
    const dir = await Deno.makeTempDir({ prefix: "openme-firewalld-" });
    const host = new FirewalldHost(lab, dir);
    for (const name of ["bin", "config", "config/zones"]) await Deno.mkdir(`${dir}/${name}`);
    await Deno.writeTextFile(`${dir}/config/firewalld.conf`, CONFIG);
    await Deno.writeTextFile(
      `${dir}/config/zones/public.xml`,
      `<zone><short>Public</short><service name="dhcpv6-client"/></zone>\n`,
    );
    await Deno.writeTextFile(
      `${dir}/bus.conf`,
      `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type><listen>unix:path=${dir}/bus</listen><auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/>
  </policy>
</busconfig>
`,
    );
    await Deno.writeTextFile(
      host.program,
      `#!/bin/sh
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=${dir}/bus
exec ${findProgram("firewall-cmd")} "$@"
`,
      { mode: 0o755 },
    );
    lab.start("server", [
      findProgram("dbus-daemon")!,
      `--config-file=${dir}/bus.conf`,
      "--nofork",
      "--nopidfile",
    ]);
    await waitFor("the bus", () => Deno.stat(`${dir}/bus`).then(() => true, () => false));
    await host.start();
    return host;
  }

  /** Starts firewalld, and waits until it answers. */
  async start(): Promise<void> {
    this.#firewalld = this.#lab.start("server", [
      "env",
      `DBUS_SYSTEM_BUS_ADDRESS=unix:path=${this.#dir}/bus`,
      findProgram("firewalld")!,
      "--nofork",
      "--nopid",
      "--log-target=console",
      `--system-config=${this.#dir}/config`,
    ]);
    await waitFor("firewalld", async () => (await this.try("--state")).code === 0, {
      timeoutMs: 20_000,
    });
  }

  /** Stops firewalld; `SIGKILL` leaves its table. */
  async stop(signal: Deno.Signal = "SIGTERM"): Promise<void> {
    await this.#firewalld?.kill(signal, 10_000);
  }

  /** Sends firewalld a signal: `SIGSTOP` makes it hang. */
  signal(name: Deno.Signal): void {
    this.#firewalld?.signal(name);
  }

  /** Runs firewall-cmd. Rejects where it fails. */
  cmd(...args: string[]): Promise<string> {
    return this.#lab.run("server", [this.program, ...args]);
  }

  /** Runs firewall-cmd, whatever comes of it. */
  try(...args: string[]): Promise<Output> {
    return this.#lab.output("server", [this.program, ...args]);
  }

  /** The rich rules that a zone has now, sorted. */
  async rules(zone = "public"): Promise<string[]> {
    const listing = await this.cmd(`--zone=${zone}`, "--list-rich-rules");
    return listing.split("\n").filter(Boolean).sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.signal("SIGCONT");
    await this.#firewalld?.[Symbol.asyncDispose]();
    await Deno.remove(this.#dir, { recursive: true });
  }
}
