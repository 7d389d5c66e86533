/** Every command gives up at its start what it does not need: what is left when it ends is what its row says. */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { COMMANDS, HIDDEN_COMMANDS } from "../../lib/cli/catalog.ts";
import { takeLock } from "../../lib/state/lock.ts";
import { Program } from "../support/spawned.ts";
import { must } from "../support/knocks.ts";
import { serverYaml } from "../support/server_yaml.ts";
import { Folder } from "../support/folder.ts";
import { bareEnvironment, freeUdpPort, mapSome } from "./program.ts";
import { rootTest } from "../separate/processes.ts";

const PROBE = fileURLToPath(new URL("./permission_probe.ts", import.meta.url));

/** openme from its source, with every permission there is, told at its end which are left. */
async function start(folder: Folder, args: readonly string[]): Promise<Program> {
  const config = fileURLToPath(new URL("../../deno.json", import.meta.url));
  return new Program(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-check", "--config", config, PROBE, ...args],
    cwd: folder.path,
    env: await bareEnvironment({ HOME: folder.path }),
  });
}

function leftOf(program: Program): string[] {
  const line = must(program.stderr.all.find((each) => each.startsWith("left: ")));
  return line.slice("left: ".length).split(" ").filter(Boolean).sort();
}

Deno.test("every command but serve ends with the permissions of its row, and no others", async () => {
  await using folder = await Folder.create();
  const rows = Object.entries({ ...COMMANDS, ...HIDDEN_COMMANDS })
    .filter(([name]) => name !== "serve");
  // `uninstall` needs no file: a lock keeps it from this host's firewall.
  const lock = takeLock(folder.path);
  const left = await mapSome(rows, async ([name, { load }]) => {
    // Neither file is there: the others end at that, or at what they are not told, having begun.
    const args = ["--config", "none.yaml", "--client-config", "none.yaml"];
    args.push(...((await load()).arguments ?? "").split(" ").filter((each) => /^[^[]/.test(each)));
    if (name === "uninstall") args.push("--state-dir", folder.path);
    await using program = await start(folder, [name, ...args]);
    await program.closeStdin();
    await program.status;
    await program.stderr.waitFor(/^left: /);
    return [name, leftOf(program)];
  }).finally(lock.release);
  assert.deepEqual(left, rows.map(([name, { permissions }]) => [name, [...permissions].sort()]));
});

Deno.test("serve gives foreign functions up once it has bound its socket", async () => {
  assert.deepEqual(await leftOfServe("off"), ["env", "net", "read", "run", "sys", "write"]);
});

rootTest(["setpriv"], "serve as two processes gives sockets up too", async () => {
  assert.deepEqual(await leftOfServe("auto"), ["env", "read", "run", "sys", "write"]);
});

async function leftOfServe(separate: string): Promise<string[]> {
  await using folder = await Folder.create();
  const server = [`udp_port: ${freeUdpPort()}`, "firewall: none", `separate: ${separate}`];
  await folder.write("server.yaml", serverYaml({ server }));
  const args = ["serve", "--config", "server.yaml", "--state-dir", folder.file("state")];
  await using program = await start(folder, args);
  await program.stderr.waitFor(/event=listening/, 15_000);
  assert.equal((await program.kill("SIGTERM")).code, 0);
  await program.stderr.waitFor(/^left: /);
  return leftOf(program);
}
