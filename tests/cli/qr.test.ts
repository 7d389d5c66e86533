/** Profiles as QR codes: read back by another program, and imported. */

import assert from "node:assert/strict";
import { encode as encodePng } from "fast-png";
import { parseClientConfig } from "../../lib/config/profiles.ts";
import { testWith } from "../support/programs.ts";
import { must } from "../support/knocks.ts";
import { serverYaml } from "../support/server_yaml.ts";
import { Folder } from "../support/folder.ts";
import { bareEnvironment, openme } from "./program.ts";

const LIGHT_ON_DARK = "\x1b[97;40m";
const PLAIN = "\x1b[0m";

function test(title: string, fn: (folder: Folder) => Promise<void>): void {
  testWith(["zbarimg"], title, async () => {
    await using folder = await Folder.create();
    await folder.write("server.yaml", serverYaml());
    await fn(folder);
  });
}

/** What zbarimg reads in a picture. */
async function decode(path: string): Promise<string> {
  const { stdout, stderr, success } = await new Deno.Command("zbarimg", {
    args: ["--quiet", "--raw", "-Sdisable", "-Sqrcode.enable", path],
  }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout).trimEnd();
}

async function add(folder: Folder, args: readonly string[]): Promise<string> {
  const command = ["add", "bob", "--config", "server.yaml", ...args];
  const { NO_COLOR: _, ...env } = await bareEnvironment();
  const { code, stdout, stderr } = await openme(command, { cwd: folder.path, env });
  assert.equal(code, 0, stderr);
  return stdout;
}

test("a QR code in a PNG is read by zbarimg and imported: the same profile as in the YAML", async (folder) => {
  assert.equal(await add(folder, ["--qr-out", "bob.png", "--out", "bob.yaml"]), "");
  assert.equal(await folder.mode("bob.png"), 0o600);
  const text = await decode(folder.file("bob.png"));
  const payload = JSON.parse(text);
  assert.deepEqual(Object.keys(payload), [
    "profile",
    "host",
    "udp_port",
    "server_pubkey",
    "client_privkey",
    "client_pubkey",
  ]);
  assert.deepEqual([payload.profile, payload.host, payload.udp_port], [
    "default",
    "box.example",
    54154,
  ]);
  await folder.write("qr.json", text);
  const env = await bareEnvironment({ HOME: folder.path });
  const imported = await openme(["import", "qr.json"], { cwd: folder.path, env });
  assert.equal(imported.code, 0, imported.stderr);
  assert.equal(await folder.mode(".openme/config.yaml"), 0o600);
  const [scanned, written] = await Promise.all(
    [".openme/config.yaml", "bob.yaml"].map(async (name) =>
      must((await parseClientConfig(await folder.read(name), name)).get("default"))
    ),
  );
  assert.deepEqual(scanned, written);
});

test("a QR code in a terminal can be read", async (folder) => {
  const shown = await add(folder, ["--qr", "--profile", "phone"]);
  assert.ok(shown.startsWith(LIGHT_ON_DARK + "█"));
  const lines = shown.trimEnd().split("\n").map((line) =>
    line.slice(LIGHT_ON_DARK.length, -PLAIN.length)
  );
  await Deno.writeFile(folder.file("screen.png"), pictureOf(lines));
  assert.equal(JSON.parse(await decode(folder.file("screen.png"))).profile, "phone");
});

/** The half blocks as pixels, light on dark as a terminal draws them. */
function pictureOf(lines: readonly string[]): Uint8Array {
  const scale = 4;
  const width = must(lines[0]).length * scale;
  const height = lines.length * 2 * scale;
  const data = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const row = Math.floor(y / scale);
      const block = must(lines[row >> 1])[Math.floor(x / scale)];
      const light = block === "█" || block === (row % 2 === 0 ? "▀" : "▄");
      data[y * width + x] = light ? 255 : 0;
    }
  }
  return encodePng({ width, height, data, channels: 1, depth: 8 });
}

test("a QR code in an SVG holds the same modules as in a PNG", async (folder) => {
  await add(folder, ["--qr-out", "bob.svg"]);
  assert.equal(await folder.mode("bob.svg"), 0o600);
  const svg = await folder.read("bob.svg");
  const size = Number(must(/viewBox="0 0 (\d+) \1"/.exec(svg))[1]);
  const scale = 4;
  const data = new Uint8Array((size * scale) ** 2).fill(255);
  for (const [, x, y] of svg.matchAll(/M(\d+) (\d+)h1v1h-1z/g)) {
    for (let line = 0; line < scale; line++) {
      const start = (Number(y) * scale + line) * size * scale + Number(x) * scale;
      data.fill(0, start, start + scale);
    }
  }
  const png = encodePng({ width: size * scale, height: size * scale, data, channels: 1, depth: 8 });
  await Deno.writeFile(folder.file("svg.png"), png);
  assert.equal(JSON.parse(await decode(folder.file("svg.png"))).host, "box.example");
});
