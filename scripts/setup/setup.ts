/**
 * The set-up of `deno task demo` and `deno task test`: finds out which programs are missing, fetches Debian's or
 * Ubuntu's packages of them into a cache folder of its own, and runs a command with them. Nothing is installed.
 */

import {
  absent,
  findProgram,
  type Manager,
  packagesOf,
  type ProgramName,
  searchPath,
} from "../../tests/support/programs.ts";
import { print, run } from "../run.ts";
import { type Covering, inNamespaces } from "./namespaces.ts";
import { hasApt, NotFetched, packageTree } from "./packages.ts";

/** What stands in front of the package names in the one command that installs them. */
const INSTALL: Record<Manager, { readonly program: string; readonly command: string }> = {
  apt: { program: "apt-get", command: "apt-get install" },
  dnf: { program: "dnf", command: "dnf install" },
  apk: { program: "apk", command: "apk add" },
  pacman: { program: "pacman", command: "pacman -S" },
  zypper: { program: "zypper", command: "zypper install" },
};

/** What a script is told on its command line. */
export interface Options {
  /** Whether fetching is forbidden; what is in the cache is used all the same. */
  readonly offline: boolean;
}

/** Takes `--offline` out of a script's arguments. */
export function takeOffline(args: readonly string[]): Options & { readonly rest: string[] } {
  return { offline: args.includes("--offline"), rest: args.filter((arg) => arg !== "--offline") };
}

/** Where a command is run, and what is missing there. */
export interface Ground {
  /** Programs that are not here and could not be had. */
  readonly missing: readonly ProgramName[];
  /** Whether network namespaces can be made; without them the command runs as it is. */
  readonly namespaces: boolean;
  /** Runs a command with this terminal; resolves to its exit code. */
  run(command: readonly string[], env?: Readonly<Record<string, string>>): Promise<number>;
}

/** What to do where a system has no namespaces for an ordinary user. */
export const ALLOW_NAMESPACES = "needs root, or user namespaces " +
  "(sysctl kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0)";

/** Makes ready what a command needs that starts these programs, and says what it did and what it could not do. */
export async function setUp(
  programs: readonly ProgramName[],
  { offline }: Options,
): Promise<Ground> {
  const wanted = Deno.build.os === "linux" ? absent(programs) : [];
  const covering = wanted.length > 0 ? await fetchFor(wanted, offline) : undefined;
  const missing = wanted.filter((program) => !covering || !isIn(covering.tree, program));
  if (missing.length > 0) print(howToInstall(missing));
  const probe = await inNamespaces([], covering);
  return {
    missing,
    namespaces: Deno.build.os === "linux" && probe !== undefined,
    run: async (command, env = {}) => {
      const [program, ...args] = await inNamespaces(command, covering) ?? command;
      return await run(program!, args, { PATH: searchPath(), ...env });
    },
  };
}

/** One line for a person: what is missing, and the command of this system that installs it. */
export function howToInstall(
  missing: readonly ProgramName[],
  has: (program: string) => boolean = (program) => findProgram(program) !== undefined,
): string {
  const list = missing.join(", ");
  for (const [manager, { program, command }] of Object.entries(INSTALL)) {
    if (!has(program)) continue;
    const names = packagesOf(missing, manager as Manager).join(" ");
    return `Missing: ${list}. As root: ${command} ${names}`;
  }
  return `Missing: ${list}. Install ${packagesOf(missing, "apt").join(", ")} (Debian's names)`;
}

/** The packages of programs that are missing, fetched where that is possible and allowed. */
async function fetchFor(
  wanted: readonly ProgramName[],
  offline: boolean,
): Promise<Covering | undefined> {
  if (!await hasApt()) return undefined;
  const base = Deno.env.get("XDG_CACHE_HOME") ||
    (Deno.env.get("HOME") && `${Deno.env.get("HOME")}/.cache`);
  if (!base) {
    print("Set HOME or XDG_CACHE_HOME: packages are fetched into a folder there.");
    return undefined;
  }
  const cache = `${base}/openme-programs`;
  const names = packagesOf(wanted, "apt");
  try {
    const tree = await packageTree(names, {
      cache,
      offline,
      beforeFetch: () => {
        print(`Missing here: ${wanted.join(", ")}.`);
        print(`Fetching ${names.join(", ")} into ${cache}; nothing is installed.`);
      },
    });
    if (!tree) {
      print(`--offline: nothing was fetched, and ${cache} does not have what is missing.`);
      return undefined;
    }
    if (tree.fetched) {
      const { packages, bytes, ms } = tree.fetched;
      print(
        `Fetched ${packages} packages, ${(bytes / 1e6).toFixed(1)} MB, in ${
          (ms / 1000).toFixed(0)
        } s.\n`,
      );
    } else print(`${wanted.join(", ")}: from ${tree.path}, since they are not installed.\n`);
    return { tree: tree.path, layers: `${cache}/layers` };
  } catch (error) {
    if (!(error instanceof NotFetched)) throw error;
    print(`The packages could not be fetched: ${error.message.trim()}`);
    return undefined;
  }
}

/** Whether a tree of packages has a program. */
function isIn(tree: string, program: string): boolean {
  return ["usr/bin", "usr/sbin", "bin", "sbin"].some((folder) => {
    try {
      Deno.lstatSync(`${tree}/${folder}/${program}`);
      return true;
    } catch {
      return false;
    }
  });
}
