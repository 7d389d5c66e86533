/** The set-up of demo and tests: what it says where it may not fetch, and a cache that is whole or not there. */

import assert from "node:assert/strict";
import { NotFetched, packageTree, type System } from "../scripts/setup/packages.ts";
import { howToInstall, takeOffline } from "../scripts/setup/setup.ts";
import { ALL_PROGRAMS, findProgram, packagesOf } from "./support/programs.ts";

/** `$conf` and `$command` of the stand-ins for apt-get and apt-cache. */
const READ =
  `for arg; do case $arg in */apt.conf) conf=$arg ;; update|install|pkgnames) command=$arg ;; esac; done
work=\${conf%/*}`;

/** Stand-ins for apt and dpkg, whose packages are plain tar archives, in a folder of their own. */
class Mirror implements AsyncDisposable {
  private constructor(readonly folder: string, readonly system: System) {}

  /** `install` is what `apt-get install` does, with `$work` to put things in. */
  static async create(install: string): Promise<Mirror> {
    const folder = await Deno.makeTempDir({ prefix: "openme-mirror-" });
    const status = `${folder}/status`;
    const mirror = new Mirror(folder, { status, path: `${folder}/bin:${Deno.env.get("PATH")}` });
    await Deno.mkdir(`${folder}/bin`);
    await Deno.writeTextFile(status, "Package: base\n");
    await Deno.mkdir(`${folder}/made/usr/bin`, { recursive: true });
    await Deno.writeTextFile(`${folder}/made/usr/bin/thing`, "#!/bin/sh\n", { mode: 0o755 });
    await mirror.#program("apt-cache", `${READ}\necho thing`);
    await mirror.#program("dpkg-deb", 'cat "$2"');
    await mirror.#program(
      "apt-get",
      `${READ}
echo "$command" >> ${folder}/calls
[ "$command" = install ] || exit 0
${install.replaceAll("$mirror", folder)}`,
    );
    return mirror;
  }

  async #program(name: string, script: string): Promise<void> {
    await Deno.writeTextFile(`${this.folder}/bin/${name}`, `#!/bin/sh\n${script}\n`, {
      mode: 0o755,
    });
  }

  get cache(): string {
    return `${this.folder}/cache`;
  }

  tree(offline = false) {
    const { cache, system } = this;
    return packageTree(["thing", "unknown"], { cache, offline, system });
  }

  /** How often it was asked to install. */
  async installs(): Promise<number> {
    const calls = await Deno.readTextFile(`${this.folder}/calls`).catch(() => "");
    return calls.split("\n").filter((call) => call === "install").length;
  }

  /** What is in the cache, apart from its lock and the mount point. */
  async kept(): Promise<string[]> {
    const names = await Array.fromAsync(Deno.readDir(this.cache), ({ name }) => name);
    return names.filter((name) => name !== "lock" && name !== "layers");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.folder, { recursive: true });
  }
}

/** In two parts: it is not to be found here. */
const VARIABLE = `get("OPENME${"_"}E2E")`;
const GOOD = "tar -c -C $mirror/made -f $work/archives/thing.deb .";
const options = { ignore: Deno.build.os !== "linux" };

Deno.test("packages are fetched once, and again when the system has changed", options, async () => {
  await using mirror = await Mirror.create(GOOD);
  assert.equal(await mirror.tree(true), undefined, "--offline fetches nothing");
  assert.equal(await mirror.installs(), 0);
  const first = await mirror.tree();
  assert.equal(first?.fetched?.packages, 1);
  assert.ok((await Deno.stat(`${first!.path}/usr/bin/thing`)).isFile);
  assert.deepEqual(await mirror.tree(), { path: first!.path });
  assert.deepEqual(await mirror.tree(true), { path: first!.path });
  assert.equal(await mirror.installs(), 1);

  await Deno.writeTextFile(mirror.system.status, "Package: base\nVersion: 2\n");
  const second = await mirror.tree();
  assert.notEqual(second!.path, first!.path);
  assert.equal((await mirror.kept()).length, 2, "a run may still use the first");
  const longAgo = new Date(Date.now() - 48 * 3600 * 1000);
  await Deno.utime(first!.path, longAgo, longAgo);
  await Deno.writeTextFile(mirror.system.status, "Package: base\nVersion: 3\n");
  await mirror.tree();
  assert.equal((await mirror.kept()).length, 2);
});

Deno.test("two runs at the same time fetch once", options, async () => {
  await using mirror = await Mirror.create(`sleep 0.3; ${GOOD}`);
  const trees = await Promise.all([mirror.tree(), mirror.tree(), mirror.tree()]);
  assert.equal(new Set(trees.map((tree) => tree!.path)).size, 1);
  assert.equal(trees.filter((tree) => tree!.fetched).length, 1);
  assert.equal(await mirror.installs(), 1);
});

Deno.test("what fails half-way leaves nothing, and says why", options, async () => {
  const rows = [
    [`${GOOD}; echo 'E: no route to host' >&2; exit 100`, /^E: no route to host\n$/],
    ["echo nonsense > $work/archives/thing.deb", /thing\.deb could not be unpacked/],
  ] as const;
  for (const [install, why] of rows) {
    await using mirror = await Mirror.create(install);
    // What a run that was killed has left.
    await Deno.mkdir(`${mirror.cache}/fetching/tree/usr`, { recursive: true });
    await assert.rejects(
      mirror.tree(),
      (error) => error instanceof NotFetched && why.test(error.message),
    );
    assert.deepEqual(await mirror.kept(), []);
  }
});

Deno.test("what is missing is told in the words of the system's package manager", () => {
  const rows: [string, string][] = [
    ["apt-get", "apt-get install iproute2 nftables openssh-client"],
    ["dnf", "dnf install iproute nftables openssh-clients"],
    ["apk", "apk add iproute2 nftables openssh-client"],
    ["pacman", "pacman -S iproute2 nftables openssh"],
    ["zypper", "zypper install iproute2 nftables openssh-clients"],
  ];
  for (const [manager, command] of rows) {
    const told = howToInstall(["nft", "ip", "ssh"], (program) => program === manager);
    assert.equal(told, `Missing: nft, ip, ssh. As root: ${command}`);
  }
  assert.equal(
    howToInstall(["nft"], () => false),
    "Missing: nft. Install nftables (Debian's names)",
  );
  assert.deepEqual(takeOffline(["a", "--offline", "b"]), { offline: true, rest: ["a", "b"] });
});

Deno.test("a program is found where only root's PATH looks, and a folder is none", () => {
  assert.ok(findProgram("sh"));
  assert.equal(findProgram("openme-has-none"), undefined);
  assert.equal(findProgram("bin"), undefined);
  assert.ok(packagesOf(ALL_PROGRAMS, "apt").includes("nftables"));
});

Deno.test("whether a test may be skipped is decided in one place", async () => {
  const deciding: string[] = [];
  const read = async (folder: string) => {
    for await (const { name, isDirectory } of Deno.readDir(folder)) {
      const path = `${folder}/${name}`;
      if (isDirectory) await read(path);
      else if (name.endsWith(".ts") && (await Deno.readTextFile(path)).includes(VARIABLE)) {
        deciding.push(name);
      }
    }
  };
  await read(import.meta.dirname!);
  assert.deepEqual(deciding, ["programs.ts"]);
});
