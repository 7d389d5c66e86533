/** The npm package: installed by npm in an empty folder, and used there as a CI job does. */

import assert from "node:assert/strict";
import { COMMANDS, HIDDEN_COMMANDS } from "../../lib/cli/catalog.ts";
import { VERSION } from "../../lib/values/version.ts";
import { freeUdpPort, mapSome } from "../cli/program.ts";
import { e2e } from "../e2e/e2e.ts";
import { startParties } from "../e2e/parties.ts";
import { Site } from "../e2e/site.ts";
import { Folder } from "../support/folder.ts";
import { profilesYaml, serverYaml } from "../support/server_yaml.ts";
import { Program } from "../support/spawned.ts";
import { NAMES, NPM_ENV, packagePath, packagesMissing } from "./dist.ts";

const TARBALL = NAMES.npm;
const needs = await packagesMissing("npm", "npx", "bash", "setsid", "script");

/** A folder of a project, with openme in its node_modules. */
class Project implements AsyncDisposable {
  private constructor(readonly folder: Folder) {}

  /** Installs the package in an empty folder. What npm has in its cache is not fetched again. */
  static async create(): Promise<Project> {
    const project = new Project(await Folder.create());
    const install = ["install", "--no-audit", "--no-fund", packagePath(TARBALL)];
    const { code, stderr } = await project.run("npm", install);
    assert.equal(code, 0, stderr);
    return project;
  }

  /** What `npx openme` runs. */
  get openme(): string {
    return this.folder.file("node_modules/.bin/openme");
  }

  /** Runs a command in the folder to its end. */
  async run(program: string, args: readonly string[], env: Record<string, string> = {}) {
    const { code, stdout, stderr } = await new Deno.Command(program, {
      args: [...args],
      cwd: this.folder.path,
      env: { ...NPM_ENV, NO_COLOR: "1", ...env },
      stdin: "null",
    }).output();
    const decoder = new TextDecoder();
    return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  }

  /** Starts `openme serve`, without a firewall, through `command`; resolves once it takes knocks. */
  async serve(...command: string[]): Promise<Program> {
    const server = [
      `udp_port: ${freeUdpPort()}`,
      "firewall: none",
      `state_dir: ${this.folder.file("state")}`,
    ];
    await this.folder.write("server.yaml", serverYaml({ server }));
    const args = [...command, "serve", "--config", "server.yaml"];
    const program = new Program(args[0]!, { args: args.slice(1), cwd: this.folder.path });
    await program.stderr.waitFor(/event=listening/, 15_000);
    return program;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.folder[Symbol.asyncDispose]();
  }
}

e2e("the npm package", async (lab, t) => {
  await using project = await Project.create();
  const { folder, openme } = project;
  const program = folder.file("node_modules/openme/program/main.js");
  await folder.write("profiles.yaml", profilesYaml({ home: {} }));
  const knock = ["knock", "--client-config", "profiles.yaml"];

  await t.step("npx openme knock opens a port of a real server", async () => {
    await using site = await Site.create(lab, { clients: { alice: ["22/tcp"] } });
    const { isOpen, isClosed } = await startParties(lab);
    await site.serve();
    assert.ok(await isClosed());
    const profile = await Deno.readTextFile(`${site.dir}/alice.yaml`);
    const env = { ...NPM_ENV, OPENME_PROFILE: profile };
    const { code, stdout, stderr } = await lab.output("client", [
      ...["env", "-C", folder.path, ...Object.entries(env).map((pair) => pair.join("="))],
      ...["npx", "-y", "openme", "knock"],
    ]);
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: "", stderr: "" });
    assert.ok(await isOpen());
  });

  await t.step("exit codes and output come through, with npx as without", async () => {
    const good = { code: 0, stdout: `openme ${VERSION}\n`, stderr: "" };
    assert.deepEqual(await project.run("npx", ["openme", "--version"]), good);
    const wrong = await project.run("npx", ["openme", "knock", "--bogus"]);
    assert.deepEqual([wrong.code, wrong.stdout], [2, ""]);
    assert.match(wrong.stderr, /^openme: error: unknown option "--bogus"\n/);
    const failed = await project.run(openme, [...knock, "away"]);
    assert.equal(failed.code, 1, failed.stderr);
    const closed = await project.run(openme, [...knock, "--wait", "9/tcp", "--timeout", "1s"]);
    assert.equal(closed.code, 3, closed.stderr);
    const unread = 'exec 3> >(exec sleep 0); wait $!; exec "$0" --version >&3';
    assert.equal((await project.run("bash", ["-c", unread, openme])).code, 141);
  });

  await t.step("signals come through", async () => {
    // SIGUSR1 leaves its guard to the next one, and opens no debugger of Node's.
    for (const signal of ["SIGUSR1", "SIGTERM", "SIGINT"] as const) {
      // Without a terminal, as in a CI job.
      await using server = await project.serve("setsid", openme);
      assert.equal((await server.kill(signal)).code, 0);
    }
  });

  await t.step("files of the folder decide nothing, and none is written", async () => {
    const hostile = ["deno.json", "deno.jsonc", "package.json", "deno.lock", "tsconfig.json"];
    for (const name of hostile) await folder.write(name, "{ broken");
    await folder.write(".npmrc", "registry=http://127.0.0.1:1/\n");
    await folder.write(".env", "OPENME_PROFILE=broken\n");
    const before = await folder.names();
    const { code, stderr } = await project.run(openme, knock);
    assert.deepEqual([code, stderr], [0, ""]);
    assert.deepEqual(await folder.names(), before);
  });

  await t.step("a subcommand has the permissions of its row, and no others", async () => {
    await Deno.writeTextFile(program, PROBE);
    const rows = { ...COMMANDS, ...HIDDEN_COMMANDS };
    const help = rows["help"]!.permissions;
    const lines: [string[], readonly string[]][] = [
      ...Object.entries(rows).map(([name, { permissions }]): [string[], readonly string[]] => [
        [name],
        permissions,
      ]),
      [["--config", "serve", "list"], rows["list"]!.permissions],
      [["--config=serve", "--log-level", "serve", "version", "serve"], []],
      [[], help],
      [["--help"], help],
      [["toString"], help],
    ];
    const found = await mapSome(lines, async ([args]) => {
      const { stdout, stderr } = await project.run(openme, args);
      assert.equal(stderr, "");
      return [args, JSON.parse(stdout)];
    });
    const expected = lines.map(([args, permissions]) => {
      const granted = [...new Set(["env", ...permissions])].sort();
      return [args, { granted, runs: granted.includes("run"), args }];
    });
    assert.deepEqual(found, expected);
  });

  await t.step("SIGINT is sent on where no terminal does that", async () => {
    await Deno.writeTextFile(program, INTERRUPTED);
    const check = [openme, "check"]; // which may run programs, and so send signals
    const { code, stdout } = await project.run("setsid", ["--wait", ...check]);
    assert.deepEqual([code, stdout], [7, "interrupts: 1\n"]);
    const args = ["--quiet", "--return", "--command", `exec ${check.join(" ")}`, "/dev/null"];
    await using terminal = new Program("script", { args });
    await terminal.stdout.waitFor(/interrupts: 0/, 15_000);
    await terminal.writeLine("\x03"); // reaches both
    assert.equal((await terminal.status).code, 7);
  });

  await t.step("the signal that ended it ends what started it", async () => {
    await Deno.writeTextFile(program, 'Deno.kill(Deno.pid, "SIGKILL");');
    const child = new Deno.Command(openme, { args: ["check"] }); // which may run programs
    assert.equal((await child.output()).signal, "SIGKILL");
  });

  await t.step("where there is no Deno for this system, it says so", async () => {
    await Deno.remove(folder.file("node_modules/@deno"), { recursive: true });
    const { code, stdout, stderr } = await project.run(openme, ["--version"]);
    assert.deepEqual([code, stdout], [1, ""]);
    assert.match(stderr, /^openme: error: cannot start Deno: .+\nopenme: hint: .+\n$/);
  });
}, { needs });

/** Sends SIGINT to what started it, and prints how many come from there. Ends with the first, as late as that is. */
const INTERRUPTED = `
let count = 0;
Deno.addSignalListener("SIGINT", () => count++);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
Deno.kill(Deno.ppid, "SIGINT");
await pause(300);
console.log("interrupts: " + count);
while (count === 0) await pause(10);
Deno.exit(7);
`;

/** Prints which permissions it has, whether it can run a program, and its arguments. */
const PROBE = `
const names = ["net", "read", "write", "run", "env", "sys", "ffi"];
const granted = names.filter((name) => Deno.permissions.querySync({ name }).state === "granted");
let runs = true;
try {
  new Deno.Command("true").outputSync();
} catch (error) {
  runs = !(error instanceof Deno.errors.NotCapable);
}
console.log(JSON.stringify({ granted: granted.sort(), runs, args: Deno.args }));
`;
