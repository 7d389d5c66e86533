/**
 * The programs of other people that the demo and the tests start, and the package that has each. A test names what it
 * needs; where that is missing it is skipped, and with `OPENME_E2E=require` it fails. `OPENME_E2E=never` skips them all.
 */

import assert from "node:assert/strict";

/** The package managers whose words are known. */
export type Manager = "apt" | "dnf" | "apk" | "pacman" | "zypper";

/** The package by Debian's name, and by the others' where they call it otherwise. */
type Packages = { readonly apt: string } & { readonly [manager in Manager]?: string };

const UTIL_LINUX: Packages = { apt: "util-linux" };
const OPENSSH_CLIENT: Packages = {
  apt: "openssh-client",
  dnf: "openssh-clients",
  pacman: "openssh",
  zypper: "openssh-clients",
};
const IPTABLES: Packages = { apt: "iptables", dnf: "iptables-nft" };

/** Program -> package. Whatever a test starts is to be listed: `deno task test` fetches it from here. */
export const PROGRAMS = {
  nft: { apt: "nftables" },
  ip: { apt: "iproute2", dnf: "iproute" },
  ss: { apt: "iproute2", dnf: "iproute", apk: "iproute2-ss" },
  unshare: UTIL_LINUX,
  nsenter: UTIL_LINUX,
  setsid: UTIL_LINUX,
  setpriv: { apt: "util-linux", apk: "setpriv" },
  mount: {
    apt: "mount",
    dnf: "util-linux",
    apk: "mount",
    pacman: "util-linux",
    zypper: "util-linux",
  },
  script: {
    apt: "bsdutils",
    dnf: "util-linux",
    apk: "util-linux-misc",
    pacman: "util-linux",
    zypper: "util-linux",
  },
  sysctl: { apt: "procps", dnf: "procps-ng", pacman: "procps-ng" },
  ps: { apt: "procps", dnf: "procps-ng", pacman: "procps-ng" },
  "iptables-nft": IPTABLES,
  "iptables-legacy": { apt: "iptables", dnf: "iptables-legacy", apk: "iptables-legacy" },
  conntrack: {
    apt: "conntrack",
    dnf: "conntrack-tools",
    apk: "conntrack-tools",
    pacman: "conntrack-tools",
    zypper: "conntrack-tools",
  },
  ssh: OPENSSH_CLIENT,
  "ssh-agent": OPENSSH_CLIENT,
  "ssh-add": OPENSSH_CLIENT,
  sshd: { apt: "openssh-server", pacman: "openssh" },
  "ssh-keygen": {
    apt: "openssh-client",
    dnf: "openssh",
    apk: "openssh-keygen",
    pacman: "openssh",
    zypper: "openssh-common",
  },
  "fakeroot-sysv": { apt: "fakeroot" },
  bash: { apt: "bash" },
  ufw: { apt: "ufw" },
  firewalld: { apt: "firewalld" },
  "firewall-cmd": { apt: "firewalld" },
  "dbus-daemon": { apt: "dbus-daemon", apk: "dbus", pacman: "dbus", zypper: "dbus-1-daemon" },
  cron: { apt: "cron", dnf: "cronie", apk: "cronie", pacman: "cronie", zypper: "cronie" },
  "systemd-analyze": { apt: "systemd" },
  "systemd-socket-activate": { apt: "systemd" },
  systemctl: { apt: "systemd" },
  zsh: { apt: "zsh" },
  fish: { apt: "fish" },
  age: { apt: "age" },
  man: { apt: "man-db", zypper: "man" },
  zbarimg: { apt: "zbar-tools", dnf: "zbar", apk: "zbar", pacman: "zbar", zypper: "zbar" },
  oathtool: {
    apt: "oathtool",
    dnf: "oathtool",
    apk: "oath-toolkit-oathtool",
    pacman: "oath-toolkit",
    zypper: "oath-toolkit",
  },
  prometheus: { apt: "prometheus" },
  promtool: { apt: "prometheus" },
  "redis-server": {
    apt: "redis-server",
    dnf: "redis",
    apk: "redis",
    pacman: "redis",
    zypper: "redis",
  },
  "redis-cli": { apt: "redis-tools", dnf: "redis", apk: "redis", pacman: "redis", zypper: "redis" },
  openssl: { apt: "openssl" },
  chromium: { apt: "chromium" },
  dash: { apt: "dash" },
  busybox: { apt: "busybox-static", dnf: "busybox", apk: "busybox-static", pacman: "busybox" },
  curl: { apt: "curl" },
  wget: { apt: "wget" },
  xz: { apt: "xz-utils", dnf: "xz", apk: "xz", pacman: "xz", zypper: "xz" },
  zip: { apt: "zip" },
  shellcheck: { apt: "shellcheck", dnf: "ShellCheck", zypper: "ShellCheck" },
} satisfies Record<string, Packages>;

export type ProgramName = keyof typeof PROGRAMS;

/** Every program of {@linkcode PROGRAMS}. */
export const ALL_PROGRAMS = Object.keys(PROGRAMS) as ProgramName[];

/** Where programs lie; an ordinary user's `PATH` lacks the folders of those that are for root. */
export function searchPath(): string {
  const folders = (Deno.env.get("PATH") ?? "").split(":").filter(Boolean);
  return [...new Set([...folders, "/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"])]
    .join(":");
}

/** The file of a program, `undefined` where there is none. */
export function findProgram(name: string): string | undefined {
  return searchPath().split(":").map((folder) => `${folder}/${name}`).find((path) => {
    try {
      const { isFile, mode } = Deno.statSync(path);
      return isFile && (mode ?? 0) & 0o111;
    } catch {
      return false;
    }
  });
}

/** Those of the programs that are not here. */
export function absent(programs: readonly ProgramName[]): ProgramName[] {
  return programs.filter((program) => findProgram(program) === undefined);
}

/** The packages of some programs as a package manager calls them, each once. */
export function packagesOf(programs: readonly ProgramName[], manager: Manager): string[] {
  const names = programs.map((program) => {
    const packages: Packages = PROGRAMS[program];
    return packages[manager] ?? packages.apt;
  });
  return [...new Set(names)].sort();
}

/** Why a test that needs these programs is not run here, `undefined` where it is. */
export function lacks(...programs: ProgramName[]): string | undefined {
  if (Deno.env.get("OPENME_E2E") === "never") return "not quick";
  const missing = absent(programs);
  return missing.length === 0 ? undefined : `needs ${missing.join(", ")}`;
}

/** Whether a test that cannot run is a failure, and not skipped. */
export function skipsForbidden(): boolean {
  return Deno.env.get("OPENME_E2E") === "require";
}

/** A test's name and whether it is left out, for {@linkcode Deno.test} and for steps alike. */
export function unless(
  missing: string | undefined,
  title: string,
): { readonly name: string; readonly ignore: boolean } {
  const ignore = missing !== undefined && !skipsForbidden();
  return { name: ignore ? `${title} [skipped: ${missing}]` : title, ignore };
}

/**
 * Registers a test that starts programs of other people. Where one is missing the test is skipped, and its title says
 * so; with `OPENME_E2E=require` it fails instead.
 */
export function testWith(
  programs: readonly ProgramName[],
  title: string,
  fn: (t: Deno.TestContext) => void | Promise<void>,
  options: Omit<Partial<Deno.TestDefinition>, "fn" | "name" | "ignore"> = {},
): void {
  const missing = lacks(...programs);
  Deno.test({
    ...options,
    ...unless(missing, title),
    fn: (t) => {
      assert.equal(missing, undefined, "OPENME_E2E=require, but this host cannot");
      return fn(t);
    },
  });
}

/** Says in a step of a test that its rest is skipped; with `OPENME_E2E=require` it fails instead. */
export async function skip(t: Deno.TestContext, why: string): Promise<void> {
  assert.ok(!skipsForbidden(), `OPENME_E2E=require, but this host cannot: ${why}`);
  await t.step({ name: `[skipped: ${why}]`, ignore: true, fn: () => {} });
}
