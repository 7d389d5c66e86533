/** The npm package in jobs of CI systems, as docs/ci.md and action.yml have them, with the real npm. */

import assert from "node:assert/strict";
import { cp } from "node:fs/promises";
import { parse } from "yaml";
import { VERSION } from "../../lib/values/version.ts";
import { actionSteps } from "../documents/action.ts";
import { blocksUnder, ROOT } from "../documents/blocks.ts";
import { e2e } from "../e2e/e2e.ts";
import { Folder } from "../support/folder.ts";
import { profilesYaml } from "../support/server_yaml.ts";
import { NAMES, NPM_ENV, packagePath, packagesMissing } from "./dist.ts";

const TARBALL = NAMES.npm;

e2e("the npm package in CI jobs, as documented", async (_lab, t) => {
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  using _closed = { [Symbol.dispose]: () => socket.close() };
  const { port } = socket.addr as Deno.NetAddr;
  const profile = profilesYaml({ ci: { port } });
  await using folder = await Folder.create();
  const bash = async (script: string, env: Record<string, string>) => {
    const { code, stdout, stderr } = await new Deno.Command("bash", {
      ...{ args: ["-e", "-c", script], cwd: folder.path, stdin: "null" },
      env: { ...NPM_ENV, ...env },
    }).output();
    const decoder = new TextDecoder();
    return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  };
  const quiet = { code: 0, stdout: "", stderr: "" };
  const knockCame = async () => assert.equal((await socket.receive())[0].length, 165);

  await t.step("npx fetches and runs it in one line", async () => {
    await using server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen: () => {} },
      async () => new Response(await Deno.readFile(packagePath(TARBALL))),
    );
    const document = "docs/ci.md";
    const test = import.meta.url;
    const [npx] = await blocksUnder({ document, heading: "npx", test });
    const [gitlab] = await blocksUnder({ document, heading: "GitLab CI", test });
    const lines = [npx!.text.trim(), parse(gitlab!.text).deploy.script[0]];
    assert.equal(lines[0], lines[1]);
    // Its own folder of unpacked packages beside the cache of what npm has fetched.
    const { stdout: cache } = await bash("npm config get cache", {});
    await Deno.symlink(`${cache.trim()}/_cacache`, folder.file("_cacache"));
    const local = lines[0].replace(
      `https://github.com/OWNER/openme/releases/download/v${VERSION}/`,
      `http://127.0.0.1:${server.addr.port}/`,
    );
    assert.ok(local.includes(`:${server.addr.port}/${TARBALL} `), local);
    const env = { OPENME_PROFILE: profile, "npm_config_cache": folder.path };
    assert.deepEqual(await bash(local, env), quiet);
    await knockCame();
  });

  await t.step("the GitHub action makes it from its checkout, and knocks", async () => {
    const checkout = folder.file("checkout");
    const parts = ["main.ts", "lib", "scripts", "packaging", "deno.json", "deno.lock", "LICENSE"];
    for (const part of parts) await cp(ROOT + part, `${checkout}/${part}`, { recursive: true });
    for (const { run, env } of actionSteps()) {
      const inputs = { profile, name: "ci", ip: "192.0.2.7" };
      const own = { "npm_config_cache": folder.path };
      assert.deepEqual(await bash(run, { ...own, ...env(inputs, checkout) }), quiet);
    }
    await knockCame();
  });
}, { needs: await packagesMissing("npm", "npx", "bash"), silentServer: false });
