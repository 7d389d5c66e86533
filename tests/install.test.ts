/** packaging/install.sh against a place with releases: what is right is installed, and nothing else is left behind. */

import assert from "node:assert/strict";
import { findProgram, skip, testWith } from "./support/programs.ts";
import {
  ARCH,
  LIBRARIES,
  NEEDED,
  ORDINARY,
  ordinary,
  pack,
  PORTABLE,
  portable,
  program,
  SCRIPT,
  Site,
  VERSION,
} from "./install/site.ts";

function test(title: string, fn: (site: Site, t: Deno.TestContext) => Promise<void>): void {
  testWith(NEEDED, `install.sh: ${title}`, async (t) => {
    await using site = await Site.create();
    await fn(site, t);
  });
}

test("installs the latest release, or the one that is asked for, over another", async (site) => {
  for (const where of await site.surroundings()) {
    const { code, stdout, stderr } = await site.run(where);
    assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
    assert.match(stdout, /^openme 1\.2\.3 is now .*\/prefix\/bin\/openme\./);
    assert.match(stdout, /is not in your PATH\.\nNext: /);
    assert.deepEqual(await site.left(), ["prefix/bin", "prefix/bin/openme"]);
    assert.equal(await site.folder.read("prefix/bin/openme"), program(VERSION));
    assert.equal(await site.folder.mode("prefix/bin/openme"), 0o755);
    const asked = ["/latest/download/SHA256SUMS", `/download/v${VERSION}/${ORDINARY}`];
    assert.deepEqual(site.releases.asked.splice(0), asked);

    await site.folder.write("prefix/bin/openme", "a former one", 0o755);
    const again = await site.run(where, ["--version", `v${VERSION}`, `--prefix=${site.prefix}/`], {
      env: { PREFIX: "/nowhere" },
    });
    assert.equal(again.code, 0, again.stderr);
    assert.equal(site.releases.asked.splice(0)[0], `/download/v${VERSION}/SHA256SUMS`);
    assert.equal(await site.folder.read("prefix/bin/openme"), program(VERSION));
    await Deno.remove(`${site.prefix}/bin`, { recursive: true });
  }
});

test("a file with a wrong sum, a cut-off one and a missing one are not installed", async (site) => {
  const path = `/download/v${VERSION}/${ORDINARY}`;
  const good = await ordinary();
  for (const where of await site.surroundings()) {
    site.releases.set(path, await ordinary("6.6.6"));
    await site.fails(where, /: expected the SHA-256 [0-9a-f]{64}, got [0-9a-f]{64}\n.*try again/);
    site.releases.set(path, good.subarray(0, good.length - 1));
    await site.fails(where, /expected the SHA-256/);
    site.releases.set(path, good, true);
    await site.fails(where, /cannot fetch http.*|expected the SHA-256/);
    site.releases.remove(path);
    await site.fails(where, /cannot fetch http.*404/);
    site.releases.set(path, good);
  }
});

test("SHA256SUMS has to name the file, once", async (site) => {
  const sum = "0".repeat(64);
  const others = [
    "",
    `${sum}  openme-${VERSION}-linux-other.tar.xz\n`,
    `${sum}  x${ORDINARY}\n${sum}  ${ORDINARY}.sig\n`,
    `${sum.slice(1)}  ${ORDINARY}\n`,
    `${sum}  ../${ORDINARY}\n`,
    `${sum}  openme-1.2.3;reboot-linux-${ARCH}.tar.xz\n`,
  ];
  for (const where of await site.surroundings()) {
    for (const sums of others) {
      site.releases.setSums(VERSION, sums);
      await site.fails(where, /SHA256SUMS has no line for openme-/);
    }
    site.releases.setSums(VERSION, `${sum}  ${ORDINARY}\n`.repeat(2));
    await site.fails(where, /SHA256SUMS has more than one line/);
    await site.fails(where, /cannot fetch .*404/, ["--version", "9.9.9"]);
  }
});

test("what does not unpack, has no program or does not start is not installed", async (site) => {
  const archives: [RegExp, Uint8Array][] = [
    [/tar cannot unpack/, new TextEncoder().encode("not an archive")],
    [/has no program/, await pack({ "bin/openme": program(VERSION) })],
    [/does not start here: .*\n.*--portable/, await ordinary("1.2.2")],
    [
      /does not start here: .*not found/,
      await pack({
        [`openme-${VERSION}-linux-${ARCH}/bin/openme`]: "#!/bin/sh\nno-such-program\n",
      }),
    ],
  ];
  await Deno.mkdir(`${site.prefix}/bin`);
  await site.folder.write("prefix/bin/openme", "a former one", 0o755);
  for (const where of await site.surroundings()) {
    for (const [message, archive] of archives) {
      site.releases.publish(VERSION, { [ORDINARY]: archive });
      await site.fails(where, message);
      assert.equal(await site.folder.read("prefix/bin/openme"), "a former one");
    }
  }
});

test("says what is missing before it fetches anything", async (site) => {
  const dash = { shell: ["dash"] };
  const without = await site.tools("without", []);
  await site.fails({ ...dash, path: without }, /neither curl nor wget is here\n.*install curl/);
  const unknown = (machine: string, system = "Linux") =>
    `case $1 in -m) echo ${machine} ;; *) echo ${system} ;; esac`;
  for (
    const [name, uname] of Object.entries({
      router: unknown("mips"),
      old: unknown("i686"),
      bsd: unknown("x86_64", "FreeBSD"),
    })
  ) {
    const path = await site.tools(name, ["curl"], { uname });
    await site.fails({ ...dash, path }, /there is no openme for this machine: .*, \w+\n/);
  }
  await Deno.mkdir(site.folder.file("taken/bin/openme"), { recursive: true });
  const [where] = await site.surroundings();
  await site.fails(where!, /taken\/bin\/openme is a folder\n/, [], {
    env: { PREFIX: site.folder.file("taken") },
  });
  const misuses = [["--frobnicate"], ["--version"], ["--version", "1.2;3"], ["--prefix", "here"], [
    "--prefix",
    "/",
  ]];
  for (const args of misuses) {
    await site.fails(where!, /hint: install.sh --help/, args, { code: 2 });
  }
  for (const url of ["http://example.org/", "http://127.0.0.1.example.org/", "ftp://example.org"]) {
    await site.fails(where!, /expected https/, ["--base-url", url], { code: 2 });
  }
  await site.fails(where!, /does not know where the releases are/, [], {
    env: { OPENME_RELEASES: "" },
  });
  assert.deepEqual(site.releases.asked, []);
});

test("an ordinary user who may not write there is told so", async (site, t) => {
  const through = [
    findProgram("setpriv")!,
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--",
  ];
  const probe = await new Deno.Command(through[0]!, { args: [...through.slice(1), "true"] })
    .output().catch(() => undefined);
  if (!probe?.success) return await skip(t, "there is one user only");
  for (const where of await site.surroundings()) {
    await site.fails(where, /cannot write to .*\/prefix\n.*--prefix "\$HOME/, [], { through });
    await site.fails(where, /cannot write to \/usr\/bin\n/, ["--prefix", "/usr"], {
      through,
    });
  }
  assert.deepEqual(site.releases.asked, []);
});

test("a wget that checks no certificates is refused", async (site) => {
  const wget = findProgram("wget");
  const path = await site.tools("careless", [], {
    wget: `echo "wget: note: TLS certificate validation not implemented" >&2; exec ${wget} "$@"`,
  });
  await site.fails({ shell: ["dash"], path }, /checks no certificates.*\n.*install curl/);
});

test("curl is to fetch by TLS alone, also where it is sent elsewhere", async (site) => {
  const args = site.folder.file("arguments");
  const path = await site.tools("recorded", [], { curl: `printf '%s ' "$@" > '${args}'; exit 7` });
  await site.fails({ shell: ["dash"], path }, /cannot fetch https:\/\/example\.org\/latest\//, [
    "--base-url",
    "https://example.org/",
  ]);
  assert.match(await Deno.readTextFile(args), /--proto =https --proto-redir =https /);
});

test("what the other side says reaches the terminal in printable characters", async (site) => {
  const path = await site.tools("loud", [], {
    curl: String.raw`printf 'curl: \033[31m\007 no\n' >&2; exit 22`,
  });
  await site.fails({ shell: ["dash"], path }, /^[ -~\n]*curl: \[31m no\n$/);
});

test("half a script does nothing", async (site) => {
  const lengths = Array.from({ length: 40 }, (_, i) => Math.floor(i / 40 * SCRIPT.length));
  for (let end = SCRIPT.length - 20; end < SCRIPT.length - 1; end++) lengths.push(end);
  const before = await site.left();
  const [dash, , busybox] = await site.surroundings();
  for (const where of [dash!, busybox!]) {
    for (const length of lengths) {
      await site.run(where, [], { script: SCRIPT.slice(0, length) });
      assert.deepEqual(await site.left(), before, `${length} bytes`);
    }
  }
  assert.deepEqual(site.releases.asked, []);
});

testWith(
  NEEDED,
  "install.sh: where there is no glibc, the portable archive with its libraries",
  async () => {
    await using site = await Site.create();
    // A system of busybox alone.
    const root = site.folder.file("root");
    for (const path of ["bin", "dev", "tmp", LIBRARIES]) {
      await Deno.mkdir(`${root}/${path}`, { recursive: true });
    }
    await Deno.copyFile(findProgram("busybox")!, `${root}/bin/busybox`);
    const inside = async (...args: string[]) => {
      const { code, stderr } = await new Deno.Command("chroot", {
        args: [root, "/bin/busybox", ...args],
      }).output();
      assert.equal(code, 0, new TextDecoder().decode(stderr));
    };
    await inside("--install", "-s", "/bin");
    await site.folder.write("root/dev/null", ""); // a file does: a device needs more rights
    await site.folder.write(`root/${LIBRARIES}/libc.so.6`, "a former one", 0o755);
    const where = { shell: ["chroot", root, "/bin/busybox", "sh"], path: "/bin" };
    const env = { TMPDIR: "/tmp", PREFIX: "" };
    const state = async () => ({
      bin: await Array.fromAsync(Deno.readDir(`${root}/usr/bin`)).catch(() => []),
      lib: (await Array.fromAsync(Deno.readDir(`${root}/usr/lib`))).map(({ name }) => name),
      libc: await site.folder.read(`root/${LIBRARIES}/libc.so.6`),
      tmp: await Array.fromAsync(Deno.readDir(`${root}/tmp`)),
    });

    // A program that does not start takes its libraries away with it.
    const before = await state();
    site.releases.publish(VERSION, { [PORTABLE]: await portable("1.2.2") });
    const failed = await site.run(where, [], { env });
    assert.match(failed.stderr, /openme 1\.2\.3 does not start here/);
    assert.deepEqual(await state(), before);

    site.releases.publish(VERSION, { [PORTABLE]: await portable() });
    const { code, stdout, stderr } = await site.run(where, [], { env });
    assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
    assert.match(stdout, /^openme 1\.2\.3 is now \/usr\/bin\/openme\./);
    const after = await state();
    assert.deepEqual(after.bin.map(({ name }) => name), ["openme"]);
    assert.deepEqual({ ...after, bin: [] }, { ...before, bin: [], libc: VERSION });
    assert.equal((await Deno.stat(`${root}/${LIBRARIES}`)).mode! & 0o777, 0o755);
  },
);
