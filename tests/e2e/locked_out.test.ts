/** Every way out that docs/troubleshooting.md lists for who has locked himself out, as it is printed. */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { blocksUnder } from "../documents/blocks.ts";
import { linesOf } from "../documents/session.ts";
import { lacks, unless } from "../support/programs.ts";
import { e2e } from "./e2e.ts";
import { flushLegacy, iptablesHost, rulesOf, setFirewall } from "./host_rules.ts";
import { type Lab, type Output, runToEnd } from "./lab.ts";
import { startParties } from "./parties.ts";
import { OPENME } from "../support/openme_command.ts";
import type { Served } from "./openme.ts";
import { Site } from "./site.ts";

const DOCUMENT = await Deno.readTextFile(new URL("../../docs/troubleshooting.md", import.meta.url));
const SECTION = DOCUMENT.slice(DOCUMENT.indexOf("\n## I have locked myself out\n"));

/** The commands of the blocks, in order. */
const COMMANDS = (await blocksUnder({
  document: "docs/troubleshooting.md",
  heading: "I have locked myself out",
  test: import.meta.url,
})).flatMap(({ text }) => linesOf(text)).map(({ command }) => command);

/** What takes a guard out without openme, by the name of the firewall. */
const BY_HAND = new Map(
  [...SECTION.matchAll(/^\| `([a-z-]+)` +\| `(.*?)` +\|$/gm)].map((
    [, name, line],
  ) => [name!, line!.replaceAll("\\|", "|")]),
);

const FIREWALLS = ["nft", "iptables", "iptables-nft", "iptables-legacy"];

/** How a server comes to close ports while nobody gets in. */
const STATES = [
  { title: "a server that runs", server: [] },
  { title: "a server that runs with on_stop: closed", server: ["on_stop: closed"] },
  { title: "a server that was stopped with on_stop: closed", server: ["on_stop: closed"] },
  { title: "a server that was killed", server: [] },
  { title: "openme guard", server: [] },
] as const;

e2e("locked out", async (lab, t) => {
  const { isOpen } = await startParties(lab);

  for (const firewall of FIREWALLS) {
    for (const { title, server } of STATES) {
      await t.step(`the two commands open what is closed by ${title}: ${firewall}`, async () => {
        await using site = await Site.create(lab, { clients: { alice: ["22/tcp"] }, server });
        await setFirewall(site, firewall);
        await flushLegacy(lab);
        const before = await rulesOf(lab);
        await using shell = await Shell.create(lab, site);
        await close(site, shell, title);
        assert.equal(await isOpen(), false);
        for (const line of COMMANDS.slice(0, 2)) {
          const { code, stderr } = await shell.type(line);
          assert.equal(code, 0, stderr);
        }
        assert.equal(await isOpen(), true);
        assert.equal(await rulesOf(lab), before);
      });
    }

    await t.step(`the firewall's own program opens what a crash left: ${firewall}`, async () => {
      await using site = await Site.create(lab, { clients: { alice: ["22/tcp"] } });
      await setFirewall(site, firewall);
      await flushLegacy(lab);
      // Somebody else's rules, into which there are holes, and a mark of his.
      await iptablesHost(lab, firewall === "iptables-legacy" ? "legacy" : "nft");
      const tool = firewall === "nft" ? "iptables-nft" : firewall;
      await lab.run("server", [tool, "-I", "INPUT", "-p", "tcp", "--dport", "22", "-j", "ACCEPT"]);
      const mark = ["-p", "tcp", "--dport", "9000", "-j", "MARK", "--set-mark", "1"];
      await lab.run("server", [tool, "-t", "mangle", "-A", "PREROUTING", ...mark]);
      assert.equal(await isOpen(), true);
      await using shell = await Shell.create(lab, site);
      await close(site, shell, "a server that was killed");
      assert.equal(await isOpen(), false);
      const { code, stderr } = await shell.type(BY_HAND.get(firewall)!);
      assert.equal(code, 0, stderr);
      assert.equal(await isOpen(), true);
      const rules = await rulesOf(lab);
      assert.doesNotMatch(rules, /OPENME|table inet openme/);
      assert.match(rules, /--set-x?mark 0x1|mark set 0x1/, "his rule stands");
      await flushLegacy(lab);
    });
  }

  const title = "the rescue system's command keeps the units from the next boot";
  const fn = async () => {
    const root = await Deno.makeTempDir({ prefix: "openme-root-" });
    try {
      const units = `${root}/etc/systemd/system`;
      await Deno.mkdir(units, { recursive: true });
      const packaging = fileURLToPath(new URL("../../packaging", import.meta.url));
      await succeeds("sh", "-c", `cp ${packaging}/*.service ${units}`);
      const wanted = async () =>
        (await succeeds("find", units, "-type", "l", "-printf", "%f\n")).split("\n").sort().join(
          " ",
        );
      await succeeds("systemctl", `--root=${root}`, "enable", "openme", "openme-guard");
      assert.equal((await wanted()).trim(), "openme-guard.service openme.service");
      const line = COMMANDS[2]!.replace("sudo ", "").replace("/mnt", root);
      assert.match(line, /^systemctl --root=/);
      await succeeds("sh", "-c", line);
      assert.equal((await wanted()).trim(), "");
    } finally {
      await Deno.remove(root, { recursive: true });
    }
  };
  await t.step({ ...unless(lacks("systemctl"), title), fn });
}, { silentServer: false });

async function close(site: Site, shell: Shell, title: string): Promise<void> {
  if (title === "openme guard") {
    const { code, stderr } = await shell.type(`openme guard --config ${site.config}`);
    assert.equal(code, 0, stderr);
    return;
  }
  const served = await site.serve();
  if (/killed/.test(title)) await served.kill("SIGKILL");
  else if (/was stopped/.test(title)) await served.stop();
  else shell.unit = served;
}

/** A root shell on the server, with this configuration in /etc/openme and units that are what the test has started. */
class Shell implements AsyncDisposable {
  /** What `systemctl` stops. */
  unit: Served | undefined;
  readonly #lab: Lab;
  readonly #dir: string;

  private constructor(lab: Lab, dir: string) {
    this.#lab = lab;
    this.#dir = dir;
  }

  static async create(lab: Lab, { config }: Site): Promise<Shell> {
    const dir = await Deno.makeTempDir({ prefix: "openme-shell-" });
    const script = (name: string, body: string) =>
      Deno.writeTextFile(`${dir}/${name}`, `#!/bin/sh\n${body}\n`, { mode: 0o755 });
    await script("sudo", 'exec "$@"');
    await script(
      "systemctl",
      `[ "$*" = "disable --now openme openme-guard" ] && echo > ${dir}/stop`,
    );
    const words = OPENME.map((word) => `'${word}'`).join(" ");
    await script(
      "openme",
      `case " $* " in *" --config "*) ;; *) set -- "$@" --config ${config} ;; esac
exec ${words} "$@"`,
    );
    return new Shell(lab, dir);
  }

  /** Types a line, and waits for its end. */
  async type(line: string): Promise<Output> {
    const path = `PATH=${this.#dir}:${Deno.env.get("PATH")}`;
    const output = await this.#lab.output("server", ["env", path, "sh", "-c", line]);
    const stops = await Deno.remove(`${this.#dir}/stop`).then(() => true, () => false);
    if (stops && this.unit) await this.unit.stop();
    return output;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#dir, { recursive: true });
  }
}

async function succeeds(program: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runToEnd(program, args);
  assert.equal(code, 0, stderr);
  return stdout;
}
