/** What setup finds on this host before it does anything, and what it cannot do without. */

import { basename, dirname } from "node:path";
import type { ServerConfig } from "../../config/server.ts";
import { DEFAULT_STATE_DIR } from "../../config/server.ts";
import { standingGuards } from "../../firewall/orphans.ts";
import { isLocked } from "../../state/lock.ts";
import { pause } from "../../system/clock.ts";
import type { RunProgram } from "../../system/run_program.ts";
import { OpenmeError } from "../../values/errors.ts";
import { loadServerConfig } from "../load.ts";
import { GUARD_UNIT, inShell, type Made, PLACES, SERVER_UNIT, UNITS } from "./steps.ts";

/** Where systemd looks for a program that a unit names without a folder, systemd.exec(5). */
const SEARCHED = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/** Exists where systemd is the init, sd_booted(3). */
const RUNS_SYSTEMD = "/run/systemd/system";

const BY_HAND = "docs/setup.md has the way without: openme init, add, then serve --confirm 60s";

/** Throws, code `USAGE`, where setup cannot work; gives the path of this program. */
export function requireGround(): string {
  if (Deno.build.os !== "linux" || !isThere(RUNS_SYSTEMD)) {
    throw new OpenmeError("USAGE", "openme setup needs systemd, which does not run here", {
      hint: BY_HAND,
    });
  }
  if (Deno.uid() !== 0) {
    throw new OpenmeError("USAGE", "openme setup changes the system, and needs root", {
      hint: "sudo openme setup",
    });
  }
  const program = Deno.execPath();
  if (!Deno.build.standalone) {
    throw new OpenmeError("USAGE", "openme setup needs the compiled program, which the units run", {
      hint:
        "docs/install.md has ways to get it; from source: deno task compile && sudo install dist/openme /usr/local/bin/",
    });
  }
  if (basename(program) !== "openme" || !SEARCHED.includes(dirname(program))) {
    throw new OpenmeError("USAGE", "openme is not where systemd looks for it", {
      hint: `put it there: sudo install ${inShell([program])} /usr/local/bin/openme`,
    });
  }
  return program;
}

/** Root's alone: who may open a file may hold its lock. */
const LOCK = "/run/openme-setup.lock";

function openLock(): Promise<Deno.FsFile> {
  return Deno.open(LOCK, { read: true, write: true, create: true, mode: 0o600 });
}

/** How long to wait for a setup that is about to end. */
const LOCK_MS = 10_000;

/** One setup at a time: the lock ends with the process. Throws, code `STATE`, where another one goes on. */
export async function lockSetup(): Promise<Deno.FsFile> {
  const file = await openLock();
  const locked = file.lock(true).then(() => true);
  if (await Promise.race([locked, pause(LOCK_MS).then(() => false)])) return file;
  throw new OpenmeError("STATE", "another openme setup is at work on this host", {
    hint: "let it end, or stop it with Ctrl-C where it runs",
  });
}

/** Waits for the end of the setup that runs, however it ends, and holds its lock from then on. */
export async function outliveSetup(): Promise<Deno.FsFile> {
  const file = await openLock();
  await file.lock(true);
  return file;
}

/**
 * Starts a process of systemd's that outlives this one, its terminal and its session, and puts everything back once this
 * process has ended in the middle.
 */
export async function startWatch(program: string, run: RunProgram): Promise<void> {
  const unit = `--unit=openme-setup-${Deno.pid}`;
  const about = "--description=Puts back what an openme setup that was killed has made";
  // A folder that setup has just made holds no record yet that says so.
  const isNew = isThere(PLACES.folder) ? [] : ["new"];
  const args = ["--quiet", "--collect", unit, about, "--", program, "__setup_watch", ...isNew];
  await run({ program: "systemd-run", args, timeoutMs: 30_000 });
}

/** A unit, as systemctl shows it. */
export interface Unit {
  readonly isThere: boolean;
  readonly isMasked: boolean;
  readonly isActive: boolean;
  readonly isEnabled: boolean;
}

/** Reads what `systemctl show` prints of some units: blocks of `KEY=VALUE`. An instance tells of its template. */
export function parseUnits(text: string): Map<string, Unit> {
  return new Map(
    text.split("\n\n").map((block): [string, Unit] => {
      const valueOf = (key: string) => new RegExp(`^${key}=(.*)$`, "m").exec(block)?.[1] ?? "";
      return [valueOf("Id").replace(/@.*\./, "@."), {
        isThere: valueOf("LoadState") === "loaded",
        isMasked: valueOf("LoadState") === "masked",
        isActive: ["active", "activating", "reloading"].includes(valueOf("ActiveState")),
        isEnabled: valueOf("UnitFileState") === "enabled",
      }];
    }),
  );
}

export async function lookAtUnits(run: RunProgram): Promise<Map<string, Unit>> {
  // It shows no template.
  const names = UNITS.map((name) => name.replace("@.", "@setup."));
  const args = ["show", "--property=Id,LoadState,ActiveState,UnitFileState", ...names];
  return parseUnits(await run({ program: "systemctl", args, timeoutMs: 30_000 }));
}

/** Why the server of the unit ended, in its own words; `undefined` where its log does not say. */
export async function reasonInLog(sinceMs: number, run: RunProgram): Promise<string | undefined> {
  const since = `--since=@${Math.floor(sinceMs / 1000)}`;
  const args = ["--no-pager", "--output=cat", since, "--unit", SERVER_UNIT];
  const log = await run({ program: "journalctl", args, timeoutMs: 10_000 }).catch(() => "");
  return [...log.matchAll(/^openme: error: (.+)$/gm)].at(-1)?.[1];
}

/** This host before setup. */
export interface Found {
  /** `undefined` where there is none yet. */
  readonly config: ServerConfig | undefined;
  readonly stateDir: string;
  readonly units: ReadonlyMap<string, Unit>;
  /** Whether a guard stands, and whether a process keeps it that is not the unit's. */
  readonly hasGuard: boolean;
}

/** Looks around; throws where another server runs than the unit's. */
export async function lookAround(run: RunProgram): Promise<Found> {
  const config = isThere(PLACES.config)
    ? (await loadServerConfig(PLACES.config)).config
    : undefined;
  const stateDir = config?.stateDir ?? DEFAULT_STATE_DIR;
  const units = await lookAtUnits(run);
  for (const [name, { isMasked }] of units) {
    if (!isMasked) continue;
    throw new OpenmeError("STATE", `${name} is masked`, { hint: `systemctl unmask ${name}` });
  }
  const guards = await standingGuards(run);
  const isActive = units.get(SERVER_UNIT)?.isActive === true;
  const livingPid = guards.find(({ livingPid }) => livingPid !== undefined)?.livingPid;
  if (!isActive && (livingPid !== undefined || isLocked(stateDir))) {
    const process = livingPid === undefined ? "" : ` (process ${livingPid})`;
    throw new OpenmeError("STATE", `an openme serve runs that systemd did not start${process}`, {
      hint: "stop it, with Ctrl-C where it runs, then run openme setup again",
    });
  }
  if (isActive && !config) {
    throw new OpenmeError("STATE", `${SERVER_UNIT} runs, but ${PLACES.config} is gone`, {
      hint: "put the file back, or stop the server: systemctl disable --now openme openme-guard",
    });
  }
  return { config, stateDir, units, hasGuard: guards.length > 0 };
}

/**
 * The units that should be enabled: a guard that closes nothing fails at every boot. The server first, since a guard that is
 * enabled alone, where the power fails in between, would close the ports for good.
 */
function wantedUnits(config: ServerConfig | undefined): readonly string[] {
  return config && !config.dropPorts ? [SERVER_UNIT] : [SERVER_UNIT, GUARD_UNIT];
}

/** Whether there is nothing left to do. */
export function isSetUp({ config, units }: Found): boolean {
  return config !== undefined && config.clients.length > 0 &&
    wantedUnits(config).every((name) => units.get(name)?.isEnabled) &&
    units.get(SERVER_UNIT)?.isActive === true;
}

/** What setup will have made of what was found; `more` are files for the profile. */
export function toBeMade(
  { config, stateDir, units, hasGuard }: Found,
  more: readonly string[],
  exists: (path: string) => boolean = isThere,
): Made {
  const missing = UNITS.filter((name) => !units.get(name)?.isThere);
  return {
    files: [
      ...missing.map((name) => `${PLACES.units}/${name}`),
      ...more,
      ...(config ? [] : [PLACES.config]),
    ],
    stateDir: exists(stateDir) ? undefined : stateDir,
    folder: !exists(PLACES.folder),
    enabled: wantedUnits(config),
    enabledBefore: wantedUnits(config).filter((name) => units.get(name)?.isEnabled),
    ranBefore: units.get(SERVER_UNIT)?.isActive === true,
    guardBefore: hasGuard,
  };
}

export function isThere(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return false;
    throw cause;
  }
}
