/**
 * The glibc under the portable openme: the loader and the libraries of pinned Debian packages, so that every machine
 * builds the same archive. glibc is under the LGPL, libgcc under the GPL with an exception: their texts come along.
 */

import type { Architecture } from "./options.ts";
import { run } from "../run.ts";
import { writeFile } from "./files.ts";
import { sha256 } from "./sums.ts";

/** The folder of an installed openme that the program loads its libraries from. */
export const FOLDER = "usr/lib/openme";

/** The name of the loader, which has the program's start. */
export const LOADERS: Readonly<Record<Architecture, string>> = {
  "x86_64": "ld-linux-x86-64.so.2",
  aarch64: "ld-linux-aarch64.so.1",
};

/** A package of Debian's, with its sums. */
export interface DebianPackage {
  readonly name: string;
  readonly version: string;
  readonly architecture: "amd64" | "arm64";
  readonly source: string;
  readonly sha256: string;
  /** By this snapshot.debian.org knows a file that Debian's mirrors have no more. */
  readonly sha1: string;
}

const GLIBC = { name: "libc6", source: "glibc", version: "2.36-9+deb12u14" };
const GCC = { source: "gcc-12", version: "12.2.0-14+deb12u1" };

/** Debian 12's. The sums of another version: `apt-cache show libc6` in such a system, and `sha1sum`. */
export const LIBRARIES: readonly DebianPackage[] = [{
  ...GLIBC,
  architecture: "amd64",
  sha256: "ba4f88f73dbc3ae9055f3c20f4523bfdbaf1ad13ff95e258924f77d20b4fbedf",
  sha1: "c534c6c7f912b61ca26b7cf4082235a0343b8751",
}, {
  ...GLIBC,
  architecture: "arm64",
  sha256: "01f4330719fd4f65580e16ea5a0527f372fca750e8f588d26deaf09f2d3b1cf4",
  sha1: "85af57bf1f9fa075163e51c99d9536154c21ab7e",
}, {
  ...GCC,
  name: "libgcc-s1",
  architecture: "amd64",
  sha256: "3016e62cb4b7cd8038822870601f5ed131befe942774d0f745622cc77d8a88f7",
  sha1: "c72798568b9086ecacf3d46e420c6d90b78ce50d",
}, {
  ...GCC,
  name: "libgcc-s1",
  architecture: "arm64",
  sha256: "576926b283613db80168ddf76380a3bd877602778cf0d226caa7bfbfa71eacf3",
  sha1: "6534755fbb89e7bd0ef86c53fce6f34b4f7bfbd4",
}];

/** Taken for their texts, which are the same on every architecture. */
const TEXTS: readonly DebianPackage[] = [{
  ...GCC,
  name: "gcc-12-base",
  architecture: "amd64",
  sha256: "1896a2aacf4ad681ff5eacc24a5b0ca4d5d9c9b9c9e4b6de5197bc1e116ea619",
  sha1: "715f9e66f5f45930246f5881c6dfe75ab8c6f32c",
}, {
  name: "base-files",
  version: "12.4+deb12u15",
  architecture: "amd64",
  source: "base-files",
  sha256: "3eb1ea6d85488f488cc2a163b98ad640ef88cee4c79287cf14e361aaf6206f47",
  sha1: "9127e8b37cee2d2f4be081488fc45c1aa155efb7",
}];

const SOURCES = "https://snapshot.debian.org/package";

/** What the licences ask for beside their texts: what is under them, and where its sources are. */
const NOTICE =
  `The libraries in this folder are not part of openme. They are unchanged files of Debian 12:

  libgcc_s.so.1        libgcc-s1 ${GCC.version}, GPL-3 with the GCC Runtime Library Exception
  all other libraries  libc6 ${GLIBC.version}, LGPL-2.1 or later, parts under other free licences

glibc.copyright and gcc.copyright name the authors and all the terms; LGPL-2.1 and GPL-3 are the
licences. The sources:

  ${SOURCES}/${GLIBC.source}/${encodeURIComponent(GLIBC.version)}/
  ${SOURCES}/${GCC.source}/${encodeURIComponent(GCC.version)}/

You may put other versions of these libraries into this folder: openme loads what it finds here.
`;

/**
 * Puts the loader, the libraries named in `needed` and what those need in turn, and the licences into `root`, a folder
 * laid out like `/`. `neededBy` gives the names of the libraries that a file loads. Needs dpkg-deb.
 */
export async function installGlibc(
  root: string,
  { architecture, needed, neededBy }: {
    readonly architecture: Architecture;
    readonly needed: readonly string[];
    readonly neededBy: (path: string) => Promise<string[]>;
  },
): Promise<void> {
  const tree = await Deno.makeTempDir({ prefix: "openme-glibc-" });
  try {
    const debian = architecture === "x86_64" ? "amd64" : "arm64";
    const libraries = LIBRARIES.filter((each) => each.architecture === debian);
    for (const each of [...libraries, ...TEXTS]) {
      const code = await run("dpkg-deb", ["-x", await fetchPackage(each), tree]);
      if (code !== 0) throw new Error(`dpkg-deb could not unpack ${each.name}`);
    }
    const left = [LOADERS[architecture], ...needed];
    const taken = new Set<string>();
    for (let name = left.pop(); name !== undefined; name = left.pop()) {
      if (taken.has(name)) continue;
      taken.add(name);
      const from = `${tree}/lib/${architecture}-linux-gnu/${name}`;
      const mode = name === LOADERS[architecture] ? 0o755 : 0o644;
      await writeFile(`${root}/${FOLDER}/${name}`, await Deno.readFile(from), mode);
      left.push(...await neededBy(from));
    }
    const texts = {
      "glibc.copyright": "doc/libc6/copyright",
      "gcc.copyright": "doc/gcc-12-base/copyright",
      "LGPL-2.1": "common-licenses/LGPL-2.1",
      "GPL-3": "common-licenses/GPL-3",
    };
    for (const [name, path] of Object.entries(texts)) {
      const text = await Deno.readFile(`${tree}/usr/share/${path}`);
      await writeFile(`${root}/${FOLDER}/licenses/${name}`, text);
    }
    await writeFile(`${root}/${FOLDER}/licenses/README`, NOTICE);
  } finally {
    await Deno.remove(tree, { recursive: true });
  }
}

/** The path of a package, fetched where the cache has it not. Throws where no mirror has it, or its sum is another. */
async function fetchPackage(
  { name, version, architecture, source, sha256: expected, sha1 }: DebianPackage,
): Promise<string> {
  const home = Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME")}/.cache`;
  const folder = `${home}/openme-programs`;
  const file = `${name}_${version}_${architecture}.deb`;
  const kept = `${folder}/${file}`;
  if (await sha256(kept).catch(() => undefined) === expected) return kept;
  await Deno.mkdir(folder, { recursive: true });
  const failures: string[] = [];
  // Without TLS where a machine reaches its mirror through a proxy: the sum decides.
  for (
    const url of [
      `http://deb.debian.org/debian/pool/main/${source[0]}/${source}/${file}`,
      `https://snapshot.debian.org/file/${sha1}`,
    ]
  ) {
    const fetched = await Deno.makeTempFile({ dir: folder });
    try {
      const response = await fetch(url, { signal: AbortSignal.timeout(120_000) });
      if (!response.ok || !response.body) throw new Error(`status ${response.status}`);
      await Deno.writeFile(fetched, response.body);
      const sum = await sha256(fetched);
      if (sum !== expected) throw new Error(`expected the SHA-256 ${expected}, got ${sum}`);
      await Deno.rename(fetched, kept); // two runs at a time do not see half a file
      return kept;
    } catch (error) {
      failures.push(`${url}: ${(error as Error).message}`);
      await Deno.remove(fetched);
    }
  }
  throw new Error(failures.join("; "));
}
