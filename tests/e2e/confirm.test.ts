/**
 * `serve --confirm` puts everything back whatever becomes of its terminal, its streams, its disk or its files, and keeps
 * the guard where somebody confirms in spite of that. The real program, with terminals of `script` and Debian's sshd.
 */

import assert from "node:assert/strict";
import { bareEnvironment } from "../cli/program.ts";
import { unless } from "../support/programs.ts";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { IPV4, type Lab, runToEnd } from "./lab.ts";
import { OPENME } from "../support/openme_command.ts";
import { openme } from "./openme.ts";
import { isAlive, type Program } from "../support/spawned.ts";
import { HOST_RULES } from "./rules.ts";
import { Site } from "./site.ts";
import { sshMissing, startSshd } from "./sshd.ts";
import { pause, waitFor, within } from "../support/wait.ts";

const CLIENTS = { clients: { alice: ["22/tcp"] } };
/** Long enough for a slow machine to break what is to break before it is over. */
const TRIAL = "4s";
/** A trial that is confirmed: never over by itself while the test runs. */
const LONG_TRIAL = "10m";

/** One way in which something around an unconfirmed `serve` breaks. */
interface Mishap {
  readonly title: string;
  /** Starts it; `command` is a shell's. */
  readonly start: (command: string, site: Site) => Program | Promise<Program>;
  /** Breaks something, once the guard stands. */
  readonly happen?: (program: Program, site: Site, pid: number) => Promise<unknown> | unknown;
  /** Puts the machine right again. */
  readonly undo?: (site: Site) => Promise<unknown>;
  /** Rules of the host's that stand before. @default {HOST_RULES} */
  readonly hostRules?: string;
  /** Where nobody can confirm any more, there is one way only. */
  readonly isMute?: boolean;
}

/** Registers a mishap's two ways. */
async function tryBoth(lab: Lab, t: Deno.TestContext, mishap: Mishap): Promise<void> {
  const client = await lab.agent("client");
  const isOpen = () => client.reaches(IPV4.server, 22, 300);
  const begin = async (site: Site, timeout: string) => {
    const command = [...OPENME, "serve", "--config", site.config, "--confirm", timeout];
    const program = await mishap.start(command.join(" "), site);
    // It answers once the guard stands.
    const pid = await waitFor("the control socket", () => pidOf(site), { timeoutMs: 20_000 })
      .catch(async (cause) => {
        await program[Symbol.asyncDispose]();
        throw new Error(`${program.stdout}\n${program.stderr}`, { cause });
      });
    assert.notEqual(await guardOf(lab), "");
    await mishap.happen?.(program, site, pid);
    return {
      pid,
      [Symbol.asyncDispose]: async () => {
        await program[Symbol.asyncDispose]();
        await mishap.undo?.(site);
      },
    };
  };

  await t.step(`${mishap.title}: everything is put back`, async () => {
    await using site = await Site.create(lab, { ...CLIENTS, server: ["on_stop: closed"] });
    await lab.nft(mishap.hostRules ?? HOST_RULES);
    const before = await lab.ruleset();
    await using trial = await begin(site, TRIAL);
    const { pid } = trial;
    await waitFor("the roll-back", async () => await lab.ruleset() === before, {
      timeoutMs: 20_000,
    });
    await waitFor("the end", () => !isAlive(pid), { timeoutMs: 10_000 });
    await lab.nft("flush ruleset");
    assert.ok(await isOpen());
  });

  if (mishap.isMute) return;
  await t.step(`${mishap.title}: openme confirm keeps the guard`, async () => {
    await using site = await Site.create(lab, CLIENTS);
    await using trial = await begin(site, LONG_TRIAL);
    const { pid } = trial;
    // Whatever the file is like by now.
    const text = await Deno.readTextFile(site.config);
    await Deno.writeTextFile(site.config, text.slice(0, text.length / 2) + "\nhalf: [");
    const args = ["confirm", "--config", site.config, "--state-dir", site.stateDir];
    const confirmed = await within(openme(lab, "server", args), 20_000, undefined);
    assert.ok(confirmed, "it waits for what has broken");
    const { code, stderr } = confirmed;
    assert.equal(code, 0, stderr);
    assert.match(stderr, /openme: confirmed: the guard stays\n$/);
    const again = await openme(lab, "server", args);
    assert.equal(again.code, 1);
    assert.match(again.stderr, /no openme serve waits for a confirmation/);
    // A mishap may have knocked.
    await waitFor("the port to be closed", async () => !await isOpen());
    await client.send(await site.seal("alice"), IPV4.server, KNOCK_PORT);
    await waitFor("the port to open", isOpen);
    assert.ok(isAlive(pid));
    Deno.kill(pid, "SIGTERM");
    await waitFor("the end", () => !isAlive(pid), { timeoutMs: 10_000 });
    assert.equal(await guardOf(lab), "");
  });
}

async function guardOf(lab: Lab): Promise<string> {
  return (await lab.output("server", ["nft", "list", "table", "inet", "openme"])).stdout;
}

/** The process of a server that answers at its control socket. */
async function pidOf(site: Site): Promise<number | undefined> {
  const socket = `${site.stateDir}/control.sock`;
  try {
    using connection = await Deno.connect({ transport: "unix", path: socket });
    await connection.write(new TextEncoder().encode('{"command":"status"}\n'));
    const buffer = new Uint8Array(1000);
    const size = await connection.read(buffer) ?? 0;
    assert.ok(JSON.parse(new TextDecoder().decode(buffer.subarray(0, size))).value.pid);
    // What it calls its process is of its own namespace: an ordinary user's sshd has one.
    for (const { name } of Deno.readDirSync("/proc")) {
      if (/^\d+$/.test(name) && isServer(name, site)) return Number(name);
    }
    return undefined;
  } catch {
    return undefined;
  }
}

function isServer(pid: string, { config }: Site): boolean {
  try {
    const args = Deno.readTextFileSync(`/proc/${pid}/cmdline`).split("\0");
    return args[0] === OPENME[0] && args.includes(config);
  } catch {
    return false; // it has ended meanwhile
  }
}

const inShell = (lab: Lab, script: string) => lab.start("server", ["bash", "-c", script]);
const onTerminal = (lab: Lab, command: string) =>
  lab.start("server", ["script", "-qfec", `exec ${command}`, "/dev/null"]);

e2e("serve --confirm, whatever becomes of its terminal", async (lab, t) => {
  await (await lab.agent("server")).listen({ tcp: [22] });
  const MISHAPS: Mishap[] = [
    {
      title: "a terminal that is closed",
      start: (command) => onTerminal(lab, command),
      happen: (program) => program.kill("SIGKILL"),
    },
    {
      title: "a terminal that is closed, with a shell in between",
      start: (command) =>
        lab.start("server", ["script", "-qfec", `bash -ic '${command}; true'`, "/dev/null"]),
      happen: (program) => program.kill("SIGKILL"),
    },
    {
      title: "a terminal whose output is stopped",
      // Ctrl-S, and then more than it holds.
      start: (command) => onTerminal(lab, `${command} --log-level debug`),
      happen: async (program) => {
        await program.stdout.waitFor(/event=listening/, 15_000);
        await program.writeLine("\x13");
        await flood(lab);
      },
    },
    {
      title: "Ctrl-Z",
      start: (command) => onTerminal(lab, command),
      happen: (program) => program.writeLine("\x1a"),
    },
    {
      title: "SIGHUP",
      start: (command) => onTerminal(lab, command),
      happen: async (program, _, pid) => {
        Deno.kill(pid, "SIGHUP");
        await program.stdout.waitFor(/event=hangup/);
      },
    },
  ];
  for (const mishap of MISHAPS) await tryBoth(lab, t, mishap);

  await t.step("shows on a terminal one line that counts, and no hint to --confirm", async () => {
    await using site = await Site.create(lab, CLIENTS);
    const session = await (await lab.agent("client")).hold(IPV4.server, 22);
    const command = [...OPENME, "serve", "--config", site.config, "--confirm", "3s"].join(" ");
    await using terminal = onTerminal(lab, command);
    await terminal.stdout.waitFor(/event=stopped/, 20_000);
    const shown = terminal.stdout.all.join("\n");
    const line = (left: string) => `openme: all is put back in ${left} s; if you can still get in`;
    for (const left of ["3", "2", "1"]) assert.ok(shown.includes(line(left)), shown);
    assert.doesNotMatch(shown, /event=unconfirmed/);
    assert.match(shown, /event=sessions_guarded/);
    assert.doesNotMatch(shown, /serve --confirm 60s/);
    assert.ok(shown.includes("\r\x1b[Ktime="), "a line of the log takes its place");
    await session.close();
  });

  await t.step("SIGHUP asks to read the file again only where there is no terminal", async () => {
    await using site = await Site.create(lab, CLIENTS);
    const command = [...OPENME, "serve", "--config", site.config].join(" ");
    {
      await using program = lab.start("server", ["setsid", ...command.split(" ")]);
      await program.stderr.waitFor(/event=listening/, 15_000);
      program.signal("SIGHUP");
      await program.stderr.waitFor(/event=reloaded/);
      program.signal("SIGTERM");
      await program.stderr.waitFor(/event=stopped/);
    }
    await using terminal = onTerminal(lab, command);
    await terminal.stdout.waitFor(/event=listening/, 15_000);
    Deno.kill((await pidOf(site))!, "SIGHUP");
    await terminal.stdout.waitFor(/event=hangup/);
    assert.doesNotMatch(terminal.stdout.all.join("\n"), /event=reloaded/);
    await terminal.writeLine("\x03");
    await terminal.stdout.waitFor(/event=stopped/);
  });
});

/** Junk that a debug log tells of, more than a terminal holds. */
async function flood(lab: Lab): Promise<void> {
  const client = await lab.agent("client");
  for (let i = 0; i < 400; i++) {
    await client.send(crypto.getRandomValues(new Uint8Array(165)), IPV4.server, KNOCK_PORT);
  }
}

e2e("serve --confirm, whatever becomes of its streams and files", async (lab, t) => {
  await (await lab.agent("server")).listen({ tcp: [22] });
  const MISHAPS: Mishap[] = [
    {
      title: "no standard error and no standard output",
      start: (command) => inShell(lab, `exec ${command} >&- 2>&-`),
    },
    {
      title: "a reader of the log that has gone",
      start: (command) => inShell(lab, `exec ${command} > >(true) 2> >(head -n 1 >/dev/null)`),
    },
    {
      title: "a log that nobody reads, and that is full",
      // A pipe holds 64 KiB.
      start: (command) =>
        inShell(
          lab,
          `exec 2> >(exec sleep 60 >&- 2>&-); head -c 65536 /dev/zero >&2; exec ${command}`,
        ),
    },
    {
      title: "a disk that is full",
      start: async (command, site) => {
        await Deno.mkdir(site.stateDir, { recursive: true, mode: 0o700 });
        await mount("-t", "tmpfs", "-o", "size=512k,mode=0700", "tmpfs", site.stateDir);
        return inShell(lab, `exec ${command}`);
      },
      happen: async (_, site) => {
        await Deno.writeFile(`${site.stateDir}/ballast`, new Uint8Array(2 ** 20)).catch(() => {});
        const client = await lab.agent("client");
        await client.send(await site.seal("alice"), IPV4.server, KNOCK_PORT);
        await pause(200);
      },
      undo: (site) => runToEnd("umount", ["-l", site.stateDir]),
    },
    {
      title: "a notify program that hangs",
      start: async (command, site) => {
        await site.configure({ server: ['notify: [/bin/sleep, "1000"]'] });
        return inShell(lab, `exec ${command}`);
      },
      happen: async (_, site) => {
        const client = await lab.agent("client");
        await client.send(await site.seal("alice"), IPV4.server, KNOCK_PORT);
      },
    },
    {
      title: "a state directory that is gone",
      start: (command) => inShell(lab, `exec ${command}`),
      happen: (_, site) => Deno.remove(site.stateDir, { recursive: true }),
      isMute: true,
    },
    {
      title: "SIGTERM, twice",
      start: (command) => inShell(lab, `exec ${command}`),
      happen: (_program, _site, pid) => {
        Deno.kill(pid, "SIGTERM");
        Deno.kill(pid, "SIGTERM");
      },
      isMute: true,
    },
  ];
  for (const mishap of MISHAPS) await tryBoth(lab, t, mishap);

  await t.step("does not begin where nobody could confirm", async () => {
    await using site = await Site.create(lab, CLIENTS);
    await Deno.mkdir(`${site.stateDir}/control.sock/mine`, { recursive: true, mode: 0o700 });
    await using served = site.startServe(["--confirm", "60s"]);
    assert.equal((await served.status).code, 1);
    await served.waitForLine(/error: cannot make the control socket ".*\/control\.sock": /);
    await served.waitForLine(/hint: openme confirm needs it; choose another folder: /);
    assert.equal(await lab.ruleset(), "");
    await using other = await site.serve(); // commands that act miss it, and it says so
    await other.waitForLine(/event=control_unavailable/);
    await other.stop();
  });
});

async function mount(...args: string[]): Promise<void> {
  const { code, stderr } = await runToEnd("mount", args);
  assert.equal(code, 0, stderr);
}

const missing = await sshMissing();
const TITLE = "serve --confirm in a session of sshd";
if (unless(missing, TITLE).ignore) {
  Deno.test({ ...unless(missing, TITLE), fn: () => {} });
} else {
  e2e(TITLE, async (lab, t) => {
    assert.equal(missing, undefined, "this host cannot");
    const dir = await Deno.makeTempDir({ prefix: "openme-e2e-" });
    try {
      const args = await startSshd((command) => lab.start("server", command), dir);
      const ssh = (flags: string[], command: string) =>
        lab.start("client", [
          "ssh",
          "-F",
          "none",
          ...args,
          ...flags,
          `root@${IPV4.server}`,
          command,
        ]);
      // A session of ssh has hardly any environment, and an ordinary user's root has another home.
      const { DENO_DIR: denoDir } = await bareEnvironment();
      for (const flags of [["-tt"], ["-T"]]) {
        await tryBoth(lab, t, {
          title: `ssh ${flags} whose client is killed`,
          start: (command) => ssh(flags, `DENO_DIR='${denoDir}' exec ${command}`),
          happen: (program) => program.kill("SIGKILL"),
          hostRules: "flush ruleset", // sshd has to be reached
        });
      }
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  });
}
