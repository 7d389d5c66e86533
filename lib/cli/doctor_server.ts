/** What `openme doctor` looks at on a server. */

import type { ServerConfig } from "../config/server_config.ts";
import { askServer } from "../control.ts";
import type { ServerReport } from "../control_requests.ts";
import { fail, type Finding, ok, warn } from "../doctor.ts";
import { messageOf, OpenmeError } from "../errors.ts";
import { createNftBackend } from "../firewall/nft.ts";
import { type HostChain, mayDrop } from "../firewall/host_chains.ts";
import { parseHostChains } from "../firewall/nft_host.ts";
import { TABLE } from "../firewall/nft_rules.ts";
import { formatPortRange } from "../ports.ts";
import type { RunProgram } from "../run_program.ts";
import { guardPlanOf } from "../server.ts";
import { VERSION } from "../version.ts";
import { type Arguments, configPath, type Context } from "./context.ts";
import { loadServerConfig } from "./load.ts";

const DEADLINE_MS = 5000;

/** Configuration, files, the running server, the firewall, the clock. */
export async function examineServer(args: Arguments, { run }: Context): Promise<Finding[]> {
  const path = configPath(args);
  let config: ServerConfig;
  try {
    config = (await loadServerConfig(path)).config;
  } catch (error) {
    return [fail("config", messageOf(error), hintOf(error, "mend the line that it names"))];
  }
  const findings = [
    ok("config", `${path}: ${countOf(config.clients.length, "client")}`),
    ...examineClients(config),
    await examineMode("config", path, 0o027, `chmod 600 ${path}`),
    await examineMode("state", config.stateDir, 0o077, `chmod 700 ${config.stateDir}`),
  ];
  const running = await examineServe(config);
  const clock = await examineClock(run);
  return [
    ...findings,
    running,
    ...await examineFirewall(config, running.level === "ok", run),
    clock,
  ];
}

function examineClients({ clients }: ServerConfig): Finding[] {
  if (clients.length === 0) {
    return [warn("clients", "nobody can knock", "register one: openme add NAME")];
  }
  return clients.filter(({ expiresAtMs }) => expiresAtMs !== undefined && expiresAtMs <= Date.now())
    .map(({ name }) =>
      warn("clients", `the key of ${name} has expired`, `take it out, or make a new one`)
    );
}

/** Whether a file or folder gives away anything of what `mask` holds. */
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

async function examineServe({ stateDir }: ServerConfig): Promise<Finding> {
  try {
    const { pid, version, grants } = await askServer(stateDir, {
      command: "status",
    }) as ServerReport;
    const found = `runs, process ${pid}, ${countOf(grants, "grant")} in force`;
    if (version === VERSION) return ok("serve", found);
    return warn(
      "serve",
      `${found}, version ${version}; this is ${VERSION}`,
      "restart openme serve",
    );
  } catch (error) {
    return fail("serve", messageOf(error), hintOf(error, "start it: openme serve"));
  }
}

async function examineFirewall(
  config: ServerConfig,
  serves: boolean,
  run: RunProgram,
): Promise<Finding[]> {
  const nft = (args: string[]) =>
    run({
      program: "nft",
      args,
      timeoutMs: DEADLINE_MS,
      missingHint: "install nftables: apt-get install nftables",
    });
  let chains: HostChain[];
  try {
    chains = parseHostChains(await nft(["--json", "--terse", "list", "ruleset"]));
  } catch (error) {
    return [fail("nft", messageOf(error), hintOf(error, "run it as root"))];
  }
  const stands = await nft(["--terse", "list", "table", ...TABLE.split(" ")]).then(
    () => true,
    () => false,
  );
  const rules = stands
    ? serves ? ok("rules", `the table ${TABLE} is in place`) : warn(
      "rules",
      `the table ${TABLE} stands, but nobody tends it: guarded ports stay closed, and no knock is taken`,
      "start openme serve; or, to be without openme: nft delete table inet openme",
    )
    : fail("rules", `the table ${TABLE} is not there: nothing is guarded`, "start openme serve");
  return [rules, examineKnockPort(config, chains, stands), await examineGuard(config, stands, run)];
}

/** Whether the host's own rules let knocks, and what they open, through. */
function examineKnockPort(
  { udpPort, openKnockPort, dropPorts }: ServerConfig,
  chains: readonly HostChain[],
  stands: boolean,
): Finding {
  const dropping = chains.filter((chain) => chain.hook === "input" && mayDrop(chain));
  const closed = dropping.filter(({ rules }) => !rules.some(({ isHole }) => isHole));
  const names = closed.map(({ family, table, name }) => `${family} ${table} ${name}`).join(", ");
  if (stands && closed.length > 0) {
    return fail(
      "hole",
      `these chains may drop knocks, or what they open: ${names}`,
      "openme serve puts a rule at their top within some seconds: is it running, and does its log complain?",
    );
  }
  if (dropping.length > 0 && !openKnockPort) {
    return warn(
      "hole",
      `open_knock_port is false: only your own rules let knocks in`,
      `let UDP port ${udpPort} in, or set open_knock_port: true`,
    );
  }
  const why = dropping.length > 0 || !dropPorts
    ? "openme has its rule at their top"
    : "nothing in the way";
  return ok("hole", `the host's own chains: ${why}`);
}

/** Whether guarded ports are closed to strangers, as far as this host can tell. */
async function examineGuard(
  config: ServerConfig,
  stands: boolean,
  run: RunProgram,
): Promise<Finding> {
  const ports = config.guardedPorts.map(formatPortRange).join(" ");
  const elsewhere = config.interface === undefined ? "" : `, on ${config.interface} only`;
  if (config.dropPorts) {
    return stands
      ? ok("ports", `closed by openme: ${ports}${elsewhere}`)
      : fail("ports", `open as without openme: ${ports}`, "start openme serve");
  }
  try {
    const open = await createNftBackend(guardPlanOf(config), run).openToEveryone();
    if (!open) return ok("ports", `closed by the host's own rules: ${ports}`);
    return fail(
      "ports",
      `open to everyone: ${open.ports.map(formatPortRange).join(" ")} (${open.why})`,
      "set drop_ports: true, and openme closes them itself; or close them in your own firewall",
    );
  } catch (error) {
    return warn("ports", messageOf(error), hintOf(error, "look at: nft list ruleset"));
  }
}

async function examineClock(run: RunProgram): Promise<Finding> {
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

function hintOf(error: unknown, otherwise: string): string {
  return (error instanceof OpenmeError ? error.hint : undefined) ?? otherwise;
}
