/**
 * Debian's and Ubuntu's packages without installing them: apt resolves, downloads and verifies into a folder of our own,
 * and dpkg unpacks there. No root, no lock of the system's, no maintainer script.
 */

import { createHash } from "node:crypto";
import { searchPath } from "../../tests/support/programs.ts";
/** Some programs are missing and could not be had; the message says why, in apt's own words. */
export class NotFetched extends Error {}

/** A folder with unpacked packages, laid out like `/`. */
export interface Tree {
  readonly path: string;
  /** What was fetched just now; `undefined` where the tree was there. */
  readonly fetched?: { readonly packages: number; readonly bytes: number; readonly ms: number };
}

/** Whether packages can be fetched and unpacked here at all. */
export async function hasApt(): Promise<boolean> {
  const all = await Promise.all(
    ["/usr/bin/apt-get", "/usr/bin/dpkg-deb", THIS_SYSTEM.status].map(isThere),
  );
  return all.every(Boolean);
}

/** Where trees are kept, and whether one may be made. */
export interface CacheOptions {
  readonly cache: string;
  readonly offline: boolean;
  /** Called before anything is fetched. */
  readonly beforeFetch?: () => void;
  /** What the system has, for tests. @default {this system} */
  readonly system?: System;
}

/** Where dpkg lists what is installed, and the `PATH` of apt and dpkg. */
export interface System {
  readonly status: string;
  readonly path: string;
}

const THIS_SYSTEM: System = { status: "/var/lib/dpkg/status", path: searchPath() };

/** No tree that is older is in use by a run that goes on. */
const UNUSED_MS = 24 * 3600 * 1000;
/** Documentation and pictures: a tenth of the bytes, and nothing starts them. */
const LEFT_OUT = ["doc", "locale", "icons", "man"].map((each) => `--exclude=./usr/share/${each}/*`);

/**
 * A tree with some packages and what they depend on that the system lacks, from the cache where it has one. The cache
 * knows it by the names and by the system's own packages, so an update of the system makes another.
 *
 * `undefined` where it is not in the cache and `offline` forbids fetching.
 *
 * @throws {NotFetched} where they cannot be had; nothing half-done is left then
 */
export async function packageTree(
  names: readonly string[],
  { cache, offline, beforeFetch, system = THIS_SYSTEM }: CacheOptions,
): Promise<Tree | undefined> {
  const installed = await Deno.readFile(system.status);
  const key = createHash("sha256").update(names.join(" ")).update("\0").update(installed)
    .digest("hex").slice(0, 16);
  const path = `${cache}/${key}`;
  if (offline) return await isThere(path) ? await use(path) : undefined;
  await ownFolder(cache);
  await Deno.mkdir(`${cache}/layers`, { recursive: true });
  // One run fetches, another waits for it and finds the tree. The kernel gives the lock back whatever happens.
  using lock = await Deno.open(`${cache}/lock`, { create: true, write: true });
  await lock.lock(true);
  if (await isThere(path)) return await use(path);
  beforeFetch?.();
  const work = `${cache}/fetching`;
  await removeUnused(cache);
  await Deno.remove(work, { recursive: true }).catch(() => {}); // what a killed run has left
  try {
    return { path, fetched: await fetchInto(path, work, names, system.path) };
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

async function use(path: string): Promise<Tree> {
  await Deno.utime(path, new Date(), new Date());
  return { path };
}

/** Fetches and unpacks in `work`; only what is complete gets the name `path`. */
async function fetchInto(path: string, work: string, names: readonly string[], PATH: string) {
  const startMs = performance.now();
  Deno.umask(0o022); // whoever a program becomes is to read what is unpacked
  const [lists, archives, tree] = [`${work}/lists`, `${work}/archives`, `${work}/tree`];
  for (const folder of [`${lists}/partial`, `${archives}/partial`, tree]) {
    await Deno.mkdir(folder, { recursive: true });
  }
  const config = `${work}/apt.conf`;
  // Read after the system's own: where apt may write, as whom it fetches, and nothing that it would run afterwards.
  await Deno.writeTextFile(
    config,
    `Dir::State::Lists "${lists}";
Dir::Cache "${work}";
Dir::Cache::archives "${archives}";
Debug::NoLocking "1";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
`,
  );
  const apt = (...args: string[]) => runApt(config, PATH, ...args);
  const updated = await apt("update"); // succeeds also where a source is out of reach
  // Ubuntu has no package of Chromium, say; the others are wanted all the same.
  const known = new Set((await apt("pkgnames")).stdout.split("\n"));
  const wanted = names.filter((name) => known.has(name));
  if (wanted.length === 0) throw new NotFetched(updated.stderr || "apt does not know them");
  const download = ["install", "-y", "--no-install-recommends", "--download-only", ...wanted];
  const downloaded = await apt(...download);
  if (!downloaded.success) throw new NotFetched(updated.stderr + downloaded.stderr);
  // Where /bin is a link to usr/bin it is one in the tree too, whatever the packages call their paths.
  for (const name of ["bin", "sbin", "lib", "lib32", "lib64", "libx32"]) {
    const target = await Deno.readLink(`/${name}`).catch(() => undefined);
    if (target === undefined) continue;
    await Deno.symlink(target, `${tree}/${name}`);
    await Deno.mkdir(`${tree}/${target}`, { recursive: true });
  }
  const packages: string[] = [];
  let bytes = 0;
  for await (const { name } of Deno.readDir(archives)) {
    if (!name.endsWith(".deb")) continue;
    packages.push(`${archives}/${name}`);
    bytes += (await Deno.stat(`${archives}/${name}`)).size;
  }
  const left = [...packages];
  const worker = async () => {
    for (let next = left.pop(); next !== undefined; next = left.pop()) {
      await unpack(next, tree, PATH);
    }
  };
  await Promise.all(Array.from({ length: navigator.hardwareConcurrency }, worker));
  await configure(tree);
  await Deno.rename(tree, path);
  return { packages: packages.length, bytes, ms: Math.round(performance.now() - startMs) };
}

async function runApt(config: string, PATH: string, ...args: string[]) {
  const { success, stdout, stderr } = await new Deno.Command(
    args[0] === "pkgnames" ? "apt-cache" : "apt-get",
    {
      args: ["-c", config, "-qq", ...args],
      env: { PATH, LC_ALL: "C", DEBIAN_FRONTEND: "noninteractive" },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    },
  ).output();
  const decoder = new TextDecoder();
  return { success, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

async function unpack(archive: string, tree: string, PATH: string): Promise<void> {
  const unpacker = new Deno.Command("dpkg-deb", {
    args: ["--fsys-tarfile", archive],
    env: { PATH },
    stdout: "piped",
  }).spawn();
  const tar = new Deno.Command("tar", {
    args: [
      ...["-x", "-C", tree, "--keep-directory-symlink", "--no-same-owner", "--no-same-permissions"],
      ...LEFT_OUT,
    ],
    stdin: "piped",
  }).spawn();
  await unpacker.stdout.pipeTo(tar.stdin).catch(() => {}); // the exit codes tell
  const [first, second] = await Promise.all([unpacker.status, tar.status]);
  if (!first.success || !second.success) throw new NotFetched(`${archive} could not be unpacked`);
}

/** What the packages' own scripts would have done that the tests need. */
async function configure(tree: string): Promise<void> {
  const sbin = `${tree}/usr/sbin`;
  for (
    const name of ["iptables", "ip6tables"].flatMap((each) =>
      ["", "-save", "-restore"].map((end) => each + end)
    )
  ) {
    const [family, end = ""] = name.split("-");
    const target = `${family}-nft${end && `-${end}`}`;
    if (await isThere(`${sbin}/${target}`)) await Deno.symlink(target, `${sbin}/${name}`);
  }
  const ufw = `${tree}/usr/share/ufw`;
  if (await isThere(ufw)) {
    await Deno.copyFile(`${ufw}/ufw.conf`, `${tree}/etc/ufw/ufw.conf`);
    for await (const { name } of Deno.readDir(`${ufw}/iptables`)) {
      await Deno.copyFile(`${ufw}/iptables/${name}`, `${tree}/etc/ufw/${name}`);
    }
  }
}

/** Removes the trees that nobody has used for a day. */
async function removeUnused(cache: string): Promise<void> {
  for await (const { name, isDirectory } of Deno.readDir(cache)) {
    if (!isDirectory || !/^[0-9a-f]{16}$/.test(name)) continue;
    const { mtime } = await Deno.stat(`${cache}/${name}`);
    if (Date.now() - (mtime?.getTime() ?? 0) < UNUSED_MS) continue;
    await Deno.remove(`${cache}/${name}`, { recursive: true });
  }
}

/** The cache: a folder that nobody else can put programs into. */
async function ownFolder(path: string): Promise<void> {
  await Deno.mkdir(path, { recursive: true, mode: 0o700 });
  const { uid } = await Deno.stat(path);
  if (uid !== Deno.uid()) throw new NotFetched(`${path} belongs to another user (uid ${uid})`);
}

async function isThere(path: string): Promise<boolean> {
  return await Deno.lstat(path).then(() => true, () => false);
}
