/** What `openme doctor` looks at on a server. */

import type { ServerConfig } from "../../config/server.ts";
import { askServer } from "../../control/socket.ts";
import { SEPARATE_OFF, type ServerReport } from "../../control/requests.ts";
import { fail, type Finding, hintOf, ok, warn } from "../output.ts";
import { messageOf } from "../../values/errors.ts";
import { type DropCounts, tellDrops } from "../../receive/recent_drops.ts";
import type { RunProgram } from "../../system/run_program.ts";
import { VERSION } from "../../values/version.ts";
import { type Arguments, configPath, type Context, textFlag } from "../context.ts";
import { examineFleet } from "./doctor_fleet.ts";
import { examineFirewall } from "./doctor_firewall.ts";
import { misfitsOf } from "../host_fit.ts";
import { loadServerConfig } from "../load.ts";

const DEADLINE_MS = 5000;

/** Configuration, files, the running server, the firewall, the clock. */
export async function examineServer(args: Arguments, context: Context): Promise<Finding[]> {
  const path = configPath(args);
  let config: ServerConfig;
  try {
    const { config: loaded } = await loadServerConfig(path);
    config = { ...loaded, stateDir: textFlag(args, "state-dir") ?? loaded.stateDir };
  } catch (error) {
    return [fail("config", messageOf(error), hintOf(error, "mend the line that it names"))];
  }
  const findings = [
    ok("config", `${path}: ${countOf(config.clients.length, "client")}`),
    ...examineClients(config),
    await examineMode("config", path, 0o027, `chmod 600 ${path}`),
    await examineMode("state", config.stateDir, 0o077, `chmod 700 ${config.stateDir}`),
  ];
  return [
    ...findings,
    ...await examineServe(path, config, await unitOf(context.run)),
    ...config.fleet ? await examineFleet(config.stateDir) : [],
    ...await examineFirewall(config, context),
    ...(await misfitsOf(config, context.run)).map(({ why, hint }) => warn("host", why, hint)),
    await examineClock(context.run),
  ];
}

/** Whether there are clients, and whose keys have ended. */
function examineClients({ clients }: ServerConfig): Finding[] {
  if (clients.length === 0) {
    return [
      warn("clients", "there are none: no knock is accepted", "register one: openme add NAME"),
    ];
  }
  return clients.filter(({ expiresAtMs }) => expiresAtMs !== undefined && expiresAtMs <= Date.now())
    .map(({ name }) =>
      warn("clients", `the key of ${name} has expired`, `take it out, or make a new one`)
    );
}

/** Whether a file or folder has none of the permissions in `mask`. */
async function examineMode(
  what: string,
  path: string,
  mask: number,
  hint: string,
): Promise<Finding> {
  try {
    const { mode } = await Deno.stat(path);
    const text = `${path}: mode ${((mode ?? 0) & 0o777).toString(8).padStart(4, "0")}`;
    if (mode === null || (mode & mask) === 0) return ok(what, text);
    return fail(what, `${text}, others can read or change it`, hint);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      return warn(what, `${path} is not there`, "openme serve makes it when it starts");
    }
    return fail(what, messageOf(error), "run it as the user of openme serve: try sudo");
  }
}

/** Whether the server runs, in which version, as how many processes, and how many knocks had a wrong key. */
async function examineServe(
  path: string,
  { stateDir }: ServerConfig,
  unit: Unit | undefined,
): Promise<Finding[]> {
  try {
    const { pid, version, grants, recentDrops, separate } = await askServer(stateDir, {
      command: "status",
    }) as ServerReport;
    const isUnits = unit?.mainPid === pid;
    const runs = isUnits ? `runs as ${UNIT}` : "runs";
    const found = `${runs}, process ${pid}, ${countOf(grants, "grant")} in force${
      isUnits ? "; its log: journalctl -u openme" : ""
    }`;
    if (version === VERSION) {
      return [
        ok("serve", found),
        examineSeparation(separate),
        ...examineKnocks(path, recentDrops),
      ];
    }
    return [warn(
      "serve",
      `${found}, version ${version}; this is ${VERSION}`,
      isUnits ? "sudo systemctl restart openme" : "restart openme serve",
    )];
  } catch (error) {
    if (unit) {
      return [fail(
        "serve",
        `${messageOf(error)}; ${UNIT} is ${unit.state}`,
        unit.state === "inactive"
          ? "sudo systemctl enable --now openme"
          : "see why: journalctl -u openme -n 50; then: sudo systemctl restart openme",
      )];
    }
    return [fail("serve", messageOf(error), hintOf(error, "start it: openme serve"))];
  }
}

/** Whether the process that reads what strangers send is one without rights. */
export function examineSeparation({ separated, why }: ServerReport["separate"]): Finding {
  if (separated) {
    return ok(
      "taker",
      "serve is two processes: the one that reads strangers' datagrams has no rights",
    );
  }
  const found =
    `serve is one process, which reads strangers' datagrams with all its rights: ${why}`;
  if (why === SEPARATE_OFF) return ok("taker", found);
  return warn(
    "taker",
    found,
    "run serve as root, with setpriv (in util-linux), and restart it; or set server.separate: off",
  );
}

function examineKnocks(path: string, drops: DropCounts): Finding[] {
  const [decrypt, signature] = [
    `server_pubkey in that client's profile has to be public_key in ${path}; anyone can send junk, too`,
    "openme list shows the registered keys, openme add --pubkey registers one; anyone with a profile can send these",
  ];
  const told = [
    ...tellDrops({ ...drops, signature: 0 }).map((found) => warn("knocks", found, decrypt)),
    ...tellDrops({ ...drops, decrypt: 0 }).map((found) => warn("knocks", found, signature)),
  ];
  return told.length > 0 ? told : [ok("knocks", "none with a wrong key in the last hour")];
}

/** Whether this machine's clock is synchronised. */
export async function examineClock(run: RunProgram): Promise<Finding> {
  try {
    const answer = await run({
      program: "timedatectl",
      args: ["show", "--property=NTPSynchronized", "--value"],
      timeoutMs: DEADLINE_MS,
    });
    if (answer.trim() === "yes") return ok("clock", "synchronised");
    return warn(
      "clock",
      "not synchronised",
      "knocks are refused when clocks differ by more than replay_window: timedatectl set-ntp true",
    );
  } catch {
    return warn(
      "clock",
      "cannot tell whether it is synchronised: timedatectl does not answer",
      "make sure that something sets it, such as chrony or systemd-timesyncd",
    );
  }
}

function countOf(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

export const UNIT = "openme.service";

/** What systemd says of the unit. */
export interface Unit {
  /** `active`, `inactive`, `failed`, `activating` … */
  readonly state: string;
  /** 0 where none runs. */
  readonly mainPid: number;
}

/** `undefined` where there is no systemd, or no such unit. */
export async function unitOf(run: RunProgram): Promise<Unit | undefined> {
  const text = await run({
    program: "systemctl",
    args: ["show", UNIT, "--property=LoadState,ActiveState,MainPID"],
    timeoutMs: 5000,
  }).catch(() => "");
  const valueOf = (name: string) => new RegExp(`^${name}=(.*)$`, "m").exec(text)?.[1];
  if (valueOf("LoadState") !== "loaded") return undefined;
  return { state: valueOf("ActiveState") ?? "unknown", mainPid: Number(valueOf("MainPID") ?? 0) };
}
