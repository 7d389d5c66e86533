/** What is in each package: paths, modes, owners, what it depends on; and the sums of all. */

import assert from "node:assert/strict";
import { UNITS } from "../../lib/cli/setup/steps.ts";
import { VERSION } from "../../lib/values/version.ts";
import { entriesOf, NAMES, packagePath, succeed, testPackages } from "./dist.ts";

const FILE = "-rw-r--r-- root/root";
const COMMON = [
  `drwx------ root/root /etc/openme/`,
  `-rwxr-xr-x root/root /usr/bin/openme`,
  ...UNITS.map((name) => `${FILE} /usr/lib/systemd/system/${name}`),
  `${FILE} /usr/share/doc/openme/openme.json`,
  `${FILE} /usr/share/doc/openme/openme.rules.yml`,
  `${FILE} /usr/share/bash-completion/completions/openme`,
  `${FILE} /usr/share/fish/vendor_completions.d/openme.fish`,
  `${FILE} /usr/share/man/man1/openme.1.gz`,
];
const LICENSED = [
  ...COMMON,
  `drwxr-xr-x root/root /usr/share/doc/openme/`,
  `drwxr-xr-x root/root /usr/share/licenses/openme/`,
  `${FILE} /usr/share/doc/openme/CHANGELOG.md`,
  `${FILE} /usr/share/licenses/openme/LICENSE`,
  `${FILE} /usr/share/zsh/site-functions/_openme`,
];

function assertEntries(actual: string[], expected: string[]): void {
  const byPath = (line: string) => line.slice(line.indexOf("/", line.indexOf("/") + 1));
  const sorted = expected.toSorted((a, b) => byPath(a) < byPath(b) ? -1 : 1);
  assert.deepEqual(actual, sorted);
}

await testPackages(
  ["dpkg-deb"],
  "the .deb has its files, and depends on what openme runs",
  async () => {
    const deb = packagePath(NAMES.deb);
    assertEntries(entriesOf(await succeed("dpkg-deb", "--contents", deb)), [
      ...COMMON,
      `drwxr-xr-x root/root /usr/share/doc/openme/`,
      `${FILE} /usr/share/doc/openme/changelog.gz`,
      `${FILE} /usr/share/doc/openme/copyright`,
      `${FILE} /usr/share/lintian/overrides/openme`,
      `${FILE} /usr/share/zsh/vendor-completions/_openme`,
    ]);
    const field = async (name: string) => (await succeed("dpkg-deb", "--field", deb, name)).trim();
    assert.equal(await field("Version"), VERSION);
    assert.equal(await field("Depends"), "libc6 (>= 2.27), libgcc-s1, nftables | iptables");
    assert.equal(await field("Recommends"), "conntrack");
    assert.equal(await field("Section"), "net");
    const scripts = await succeed("sh", "-c", 'dpkg-deb --ctrl-tarfile "$0" | tar -t', deb);
    assert.deepEqual(
      scripts.split("\n").map((name) => name.replace("./", "")).filter(Boolean).sort(),
      ["control", "md5sums", "postinst", "postrm", "prerm"],
    );
    const changelog = await succeed(
      "sh",
      "-c",
      'dpkg-deb --fsys-tarfile "$0" | tar -xO ./usr/share/doc/openme/changelog.gz | gzip -d',
      deb,
    );
    assert.match(
      changelog,
      new RegExp(`^openme \\(${VERSION}\\) stable; urgency=medium\\n\\n {2}\\* `),
    );
  },
);

await testPackages(["rpm"], "the .rpm has its files, and requires what openme runs", async () => {
  const rpm = packagePath(NAMES.rpm);
  const query = (format: string) => succeed("rpm", "-qp", "--queryformat", format, rpm);
  const files = await query("[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} %{FILENAMES}\n]");
  const entries = files.trimEnd().split("\n").map((line) => line.replace(/^(d.*)$/, "$1/"));
  assertEntries(entries, LICENSED);
  assert.equal(await query("%{NAME}-%{VERSION}-%{RELEASE}"), `openme-${VERSION}-1`);
  const needs = await succeed("rpm", "-qp", "--requires", rpm);
  assert.match(needs, /^\(nftables or iptables\)$/m);
  assert.equal(await succeed("rpm", "-qp", "--recommends", rpm), "conntrack-tools\n");
  const scripts = await succeed("rpm", "-qp", "--scripts", rpm);
  for (const name of ["postinstall", "preuninstall", "postuninstall"]) {
    assert.match(scripts, new RegExp(`^${name} scriptlet \\(using /bin/sh\\):$`, "m"));
  }
  await succeed("rpm", "--checksig", "--nosignature", rpm);
});

await testPackages(
  ["tar", "zstd"],
  "the package for Arch has its files and functions",
  async () => {
    const path = packagePath(NAMES.arch);
    const entries = entriesOf(await succeed("tar", "--zstd", "-tvf", path));
    const metadata = [".INSTALL", ".MTREE", ".PKGINFO"].map((name) => `${FILE} /${name}`);
    assertEntries(entries, [...metadata, ...LICENSED]);
    const read = (name: string) => succeed("tar", "--zstd", "-xOf", path, name);
    const info = await read(".PKGINFO");
    assert.match(info, new RegExp(`^pkgver = ${VERSION}-1$`, "m"));
    assert.match(info, /^depend = nftables$/m);
    const install = await read(".INSTALL");
    for (const name of ["post_install", "post_upgrade", "pre_remove", "post_remove"]) {
      assert.match(install, new RegExp(`^function ${name}\\(\\) \\{$`, "m"));
    }
  },
);

await testPackages(["tar", "xz"], "the archive is laid out like /usr/local", async () => {
  const root = `openme-${VERSION}-linux-${Deno.build.arch}`;
  const entries = entriesOf(await succeed("tar", "-tvf", packagePath(NAMES.tar)))
    .filter((line) => !line.startsWith("d")).map((line) => line.replace(`/${root}/`, ""));
  assert.deepEqual(entries, [
    ...["CHANGELOG.md", "LICENSE", "README.md", "SECURITY.md"].map((name) => `${FILE} ${name}`),
    "-rwxr-xr-x root/root bin/openme",
    ...UNITS.toSorted().map((name) => `${FILE} lib/systemd/system/${name}`),
    `${FILE} share/bash-completion/completions/openme`,
    `${FILE} share/doc/openme/openme.json`,
    `${FILE} share/doc/openme/openme.rules.yml`,
    `${FILE} share/fish/vendor_completions.d/openme.fish`,
    `${FILE} share/man/man1/openme.1`,
    `${FILE} share/zsh/site-functions/_openme`,
  ]);
});

await testPackages(["sha256sum"], "SHA256SUMS names every package, with its sum", async () => {
  const sums = await Deno.readTextFile(packagePath("SHA256SUMS"));
  const names = sums.trimEnd().split("\n").map((line) => line.split("  ")[1]!);
  assert.deepEqual(Object.values(NAMES).filter((name) => !names.includes(name)), []);
  await succeed(
    "sh",
    "-c",
    'cd "$0" && sha256sum --check --strict --quiet SHA256SUMS',
    packagePath("."),
  );
});
