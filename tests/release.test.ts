/** What .github/workflows/release.yml makes of the files that its machines have built. */

import assert from "node:assert/strict";
import { assemble, filesOf, notesOf } from "../scripts/package/release.ts";
import { VERSION as CURRENT } from "../lib/values/version.ts";
import { sha256 } from "../scripts/package/sums.ts";
import * as tarball from "../scripts/package/tarball.ts";
import { blocksUnder } from "./documents/blocks.ts";
import { NAMES } from "./package/dist.ts";
import { Folder } from "./support/folder.ts";
import { findProgram, testWith } from "./support/programs.ts";

const VERSION = "1.2.3";
const EPOCH = 1_700_000_000;
const LIBRARY = { name: "libc6", version: "2.36-9", architecture: "amd64", sha256: "0".repeat(64) };

Deno.test("a release's notes are its section of the changelog, and the tag is its version", () => {
  const changelog =
    "# Changelog\n\n## 1.2.3 (2026-12-01)\n\n- One.\n\n### More\n\n- Two.\n\n## 1.2.2\n\n- Old.\n";
  assert.equal(notesOf("v1.2.3", "1.2.3", changelog), "- One.\n\n### More\n\n- Two.\n");
  assert.equal(notesOf("v1.2.2", "1.2.2", changelog), "- Old.\n");
  for (const tag of ["1.2.3", "v1.2.2", "v1.2.3-rc1", "v1.2.3\n"]) {
    assert.throws(() => notesOf(tag, "1.2.3", changelog), /expected v1\.2\.3/);
  }
  for (
    const text of ["# Changelog\n\n## Unreleased\n\n- One.\n", "## 1.2.3\n\n## 1.2.2\n- Old.\n"]
  ) {
    assert.throws(() => notesOf("v1.2.3", "1.2.3", text), /has no section "## 1\.2\.3"/);
  }
});

Deno.test("a release has what task package makes", () => {
  const files = filesOf(CURRENT);
  for (const name of Object.values(NAMES)) assert.ok(files.includes(name), name);
});

/** What the machines have built, of programs that only print. */
async function build(folder: Folder): Promise<string> {
  const built = folder.file("built");
  const program = await folder.write("openme", "#!/bin/sh\necho text\n", 0o755);
  for (const architecture of ["x86_64", "aarch64"] as const) {
    const dist = `${built}/linux-${architecture}`;
    await Deno.mkdir(dist, { recursive: true });
    await tarball.make({ program, dist, version: VERSION, architecture, epochSeconds: EPOCH });
    for (const name of filesOf(VERSION)) {
      const isOfLinux = !/macos|windows|install|cdx/.test(name) && !name.includes("linux-x86") &&
        !name.includes("linux-aarch");
      const isHere = architecture === "x86_64"
        ? !/aarch64|arm64/.test(name)
        : /aarch64|arm64/.test(name);
      if (isOfLinux && isHere) await Deno.writeTextFile(`${dist}/${name}`, name);
    }
    await Deno.mkdir(`${built}/macos-${architecture}`);
    await Deno.writeTextFile(`${built}/macos-${architecture}/openme`, `macos ${architecture}`);
  }
  await Deno.mkdir(`${built}/windows-x86_64`);
  await Deno.writeTextFile(`${built}/windows-x86_64/openme.exe`, "windows");
  return built;
}

const assembled = (built: string, output: string) =>
  assemble({
    built,
    output,
    repository: "an-owner/a.name",
    version: VERSION,
    epochSeconds: EPOCH,
    libraries: [LIBRARY],
  });

async function lines(program: string, ...args: string[]): Promise<string[]> {
  const { code, stdout, stderr } = await new Deno.Command(program, { args }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout).trimEnd().split("\n");
}

testWith(
  ["zip", "xz", "busybox", "dash"],
  "a release has every file, and the same sums when made again",
  async () => {
    await using folder = await Folder.create();
    const built = await build(folder);
    const output = folder.file("release");
    await assembled(built, output);
    const sums = (await Deno.readTextFile(`${output}/SHA256SUMS`)).trimEnd().split("\n");
    assert.deepEqual(sums.map((line) => line.slice(66)), filesOf(VERSION));
    for (const line of sums) {
      assert.equal(line.slice(0, 66), `${await sha256(`${output}/${line.slice(66)}`)}  `);
    }
    await assembled(built, folder.file("again"));
    assert.equal(await folder.read("again/SHA256SUMS"), await folder.read("release/SHA256SUMS"));

    const [block] = await blocksUnder({
      document: "docs/install.md",
      heading: "Verify",
      test: import.meta.url,
    });
    const verified = await new Deno.Command("sh", { args: ["-ec", block!.text], cwd: output })
      .output();
    const told = new TextDecoder().decode(verified.stdout);
    assert.equal(told, filesOf(VERSION).map((name) => `${name}: OK\n`).join(""));

    for (const arch of ["x86_64", "aarch64"]) {
      const name = `openme-${VERSION}-macos-${arch}`;
      const listed = await lines("tar", "-tvzf", `${output}/${name}.tar.gz`);
      assert.match(
        listed.join("\n"),
        new RegExp(`^-rwxr-xr-x root/root .* ${name}/bin/openme$`, "m"),
      );
      assert.match(listed.join("\n"), /share\/man\/man1\/openme\.1/);
      assert.doesNotMatch(listed.join("\n"), /systemd/);
      await lines("tar", "-C", folder.path, "-xzf", `${output}/${name}.tar.gz`);
      assert.equal(await folder.read(`${name}/bin/openme`), `macos ${arch}`);
    }
    const windows = `openme-${VERSION}-windows-x86_64`;
    await lines("busybox", "unzip", "-q", `${output}/${windows}.zip`, "-d", folder.path);
    assert.equal(await folder.read(`${windows}/openme.exe`), "windows");
    assert.match(await folder.read(`${windows}/LICENSE`), /MIT/);
    const bill = JSON.parse(await folder.read("release/openme.cdx.json"));
    assert.equal(bill.metadata.component.version, VERSION);

    const script = await folder.read("release/install.sh");
    assert.match(script, /https:\/\/github\.com\/an-owner\/a\.name\/releases/);
    const { stdout, stderr } = await new Deno.Command(findProgram("dash")!, {
      args: [`${output}/install.sh`, "--prefix", "/dev/null"],
    }).output();
    assert.match(new TextDecoder().decode(stderr), /cannot write to \/dev\/null/); // it knows its place
    assert.equal(stdout.length, 0);
  },
);

testWith(["zip", "xz"], "a release that lacks a file, or has one more, is not made", async () => {
  await using folder = await Folder.create();
  const built = await build(folder);
  await Deno.remove(`${built}/linux-aarch64/openme_${VERSION}_arm64.deb`);
  await Deno.writeTextFile(`${built}/linux-aarch64/core`, "");
  await assert.rejects(
    assembled(built, folder.file("release")),
    /^Error: openme_1\.2\.3_arm64\.deb is missing, core is not expected$/,
  );
  await assert.rejects(Deno.stat(folder.file("release/SHA256SUMS")), Deno.errors.NotFound);
});
