/**
 * The documents' consoles, scripts and ssh settings, run as they are printed. A block that begins with `openme init`
 * begins on machines with nothing of openme's; any other where a first session has led to.
 */

import assert from "node:assert/strict";
import { DEFAULT_UDP_PORT } from "../../lib/config/fields.ts";
import { allBlocks, type Block, ROOT } from "../documents/blocks.ts";
import { linesOf, Session } from "../documents/session.ts";
import { e2e } from "./e2e.ts";
import { sshMissing } from "./sshd.ts";

const README = await Deno.readTextFile(`${ROOT}README.md`);
const ALL = await allBlocks();
const BLOCKS = ALL.filter(({ runBy, notRun }) => !runBy && !notRun);
const missing = await sshMissing();

Deno.test("every profile that the README names is one that it has made", () => {
  const named = [...README.matchAll(/openme (?:knock|connect|status) ([a-z]+)\b/g)];
  assert.ok(named.length >= 2);
  for (const { index, 1: name } of named) {
    const before = README.slice(0, index);
    assert.match(before, new RegExp(`openme import .*--as ${name}\\b`), name);
  }
});

Deno.test("every guard of the README's is one that a locked-out administrator gets rid of", () => {
  const typed = ALL.filter(({ document, language }) =>
    document === "README.md" && language === "console"
  ).flatMap(({ text }) => linesOf(text)).map(({ command }) => command);
  const guards = typed.filter((command) => /openme (setup|serve|guard)\b/.test(command));
  assert.equal(guards[0], "sudo openme setup");
  for (const each of guards.slice(1)) assert.match(each, /serve --(confirm \d+s|dry-run)$/);
  const screen = README.slice(0, README.indexOf("\n## "));
  assert.ok(screen.includes(`open UDP ${DEFAULT_UDP_PORT} in your provider's firewall`));
});

function runs(
  languages: readonly string[],
  body: (session: Session, block: Block) => Promise<void>,
) {
  for (const block of BLOCKS.filter(({ language }) => languages.includes(language))) {
    const title = `${block.document}:${block.line} (${block.heading})`;
    e2e(title, async (lab) => {
      await using session = await Session.create(lab);
      await body(session, block);
    }, { silentServer: /openme (knock|connect)\b/.test(block.text), needs: missing });
  }
}

/** The server runs beside what is typed, where a block does not start or remove it. */
async function serveBeside(session: Session, text: string): Promise<void> {
  await session.install(text);
  if (/\bopenme (serve|uninstall)\b/.test(text)) return;
  await session.type({ side: "server", command: "sudo openme serve" });
}

runs(["console"], async (session, { text }) => {
  const lines = linesOf(text);
  assert.equal(
    lines.length,
    [...text.matchAll(/^\S*\$ /gm)].length,
    "the prompts that are known are vps$ and laptop$",
  );
  assert.ok(lines.length > 0, "nothing is typed");
  if (!/\bopenme init\b/.test(text)) await serveBeside(session, text);
  for (const line of lines) await session.type(line);
  await session.interrupt();
});

// On the laptop, for servers to which it has ssh already.
runs(["sh"], async (session, { text }) => {
  await session.install();
  await session.write("script", text);
  const { code, stderr } = await session.output("client", "sh -eu script");
  assert.equal(code, 0, stderr);
});

runs(["ssh_config"], async (session, { text }) => {
  const host = /^Host (\S+)$/m.exec(text)![1]!.replace("*", "web1");
  await session.install();
  await session.type({ side: "server", command: "sudo openme add again --out again.yaml" });
  if (host !== "home") {
    await session.type({ side: "client", command: `openme import again.yaml --as ${host}` });
  }
  await session.type({ side: "server", command: "sudo openme serve" });
  await session.write(".ssh/config", text);
  const { code, stdout, stderr } = await session.output("client", `ssh ${host} echo logged in`);
  assert.deepEqual([code, stdout], [0, "logged in\n"], stderr);
});
