/**
 * What `openme doctor` finds in the firewall. The running server is asked, which looks through its own backend; where none
 * runs, the backend of the configuration looks.
 */

import type { ServerConfig } from "../../config/server.ts";
import type { Backend } from "../../firewall/backend.ts";
import { askServer } from "../../control/socket.ts";
import { describeFirewall, type FirewallReport } from "../../control/requests.ts";
import { fail, type Finding, hintOf, ok, warn } from "../output.ts";
import { messageOf } from "../../values/errors.ts";
import { createLog } from "../../system/log.ts";
import { formatPortRange } from "../../values/ports.ts";
import { backendOf } from "../backend_of.ts";
import { extendingFlaw } from "../extending.ts";
import type { Context } from "../context.ts";
import { type Unstamped, unstampedKnocks } from "../unstamped.ts";

/** What was found, and whether a running server found it. */
interface View extends FirewallReport {
  readonly serves: boolean;
}

/** Whether the rules stand, knocks and clients get through, and guarded ports are closed. */
export async function examineFirewall(
  config: ServerConfig,
  context: Context,
): Promise<Finding[]> {
  const backend = backendOf(config, { context, log: SILENT });
  const knocks = backend.then((made) => unstampedKnocks(config, made))
    .then((unstamped) => [examineKnocks(unstamped)], () => []);
  const extending = backend.then((made) => examineExtending(config, made), () => []);
  let view: View;
  try {
    view = await viewOf(config, backend);
  } catch (error) {
    return [fail("rules", messageOf(error), hintOf(error, "run it as root"))];
  }
  return [
    examineRules(view),
    ...examineHole(config, view),
    ...await knocks,
    ...await extending,
    examinePorts(config, view),
    ...examineGrants(view),
  ];
}

function examineExtending(config: ServerConfig, backend: Backend): Finding[] {
  const flaw = extendingFlaw(config, backend);
  return flaw ? [warn("grants", flaw.why, flaw.hint)] : [];
}

const SILENT = createLog({
  level: "error",
  format: "logfmt",
  now: () => new Date(),
  write: () => {},
});

async function viewOf(config: ServerConfig, made: Promise<Backend>): Promise<View> {
  const runs = await askServer(config.stateDir, { command: "status" }).then(
    () => true,
    () => false,
  );
  if (runs) {
    const report = await askServer(config.stateDir, { command: "check" });
    return { ...report as FirewallReport, serves: true };
  }
  const backend = await made;
  const examination = await backend.examine();
  const found = describeFirewall({
    backend: backend.name,
    isIntact: true,
    examination,
    open: await backend.openToEveryone(),
    failure: undefined,
  });
  const { dropPorts, interface: only = null } = config;
  const guarded = config.guardedPorts.map(formatPortRange);
  return { ...found, guarded, dropPorts, interface: only, refused: [], serves: false };
}

function examineRules({ backend, serves, intact, examination, failure }: View): Finding {
  const flaw = failure ?? (examination?.wrong.join("; ") || undefined) ??
    (intact ? undefined : "not as openme serve put them");
  if (flaw !== undefined) {
    return fail(
      "rules",
      `${backend}: ${flaw}`,
      serves
        ? "openme serve puts that right within 10 s: look at its log if it does not"
        : "start openme serve",
    );
  }
  if (backend === "none") return ok("rules", "none: openme decides, and touches no firewall");
  if (backend === "command") {
    const found = !examination
      ? "your programs open and close; without server.command.list openme cannot see what they did"
      : serves
      ? "every grant has its rule, and every rule its grant"
      : "no rule of openme's stands";
    return ok("rules", `command: ${found}`);
  }
  if (serves) {
    return ok("rules", `${backend}: ${examination ? "all in place" : "as openme serve put them"}`);
  }
  return examination
    ? warn(
      "rules",
      `${backend}: all in place, but no openme serve runs: guarded ports stay closed, and no knock is taken`,
      "start openme serve; or, to be without openme, take its rules out: openme uninstall",
    )
    : warn(
      "rules",
      `${backend}: not looked at for this backend while no openme serve runs`,
      "start openme serve",
    );
}

/** Whether the host's own rules let knocks, and what they open, through. */
function examineHole(
  { udpPort, openKnockPort }: ServerConfig,
  { backend, examination }: View,
): Finding[] {
  if (!examination || backend === "command") return [];
  const { barred, hostMayDrop } = examination;
  // Without a guard no client is let in, so no chain is in the way.
  const stands = examination.wrong.length === 0;
  if (stands && barred.length > 0) {
    return [fail(
      "hole",
      `these chains may drop knocks, or what they open: ${barred.join(", ")}`,
      "openme serve puts a rule at their top within some seconds: is it running, and does its log complain?",
    )];
  }
  if (hostMayDrop && !openKnockPort) {
    return [warn(
      "hole",
      `open_knock_port is false: only your own rules let knocks in`,
      `let UDP port ${udpPort} in, or set open_knock_port: true`,
    )];
  }
  if (hostMayDrop && !stands) return [];
  return [ok(
    "hole",
    `the host's own chains: ${
      hostMayDrop ? "openme has its rule at their top" : "nothing in the way"
    }`,
  )];
}

/** How knocks of other programs are treated, and junk. */
function examineKnocks({ are, flaw, text }: Unstamped): Finding {
  if (are !== "dropped" || flaw === undefined) return ok("stamps", text);
  return warn("stamps", text, `the kernel would do it for less, but: ${flaw}`);
}

/** Whether guarded ports are closed to strangers, as far as this host can tell. */
function examinePorts(config: ServerConfig, view: View): Finding {
  const { backend, serves, examination, open, failure, guarded, dropPorts } = view;
  const ports = guarded.join(" ");
  const difference = differenceOf(config, view);
  if (difference !== undefined) {
    return fail(
      "ports",
      difference,
      "its log says why the file is not in force (config_rejected), or restart it",
    );
  }
  if (failure !== null) {
    return warn("ports", `cannot tell whether they are closed: ${ports}`, "see rules, above");
  }
  if (open) {
    // In front of the host there may be a firewall, such as the one that the programs of `command` speak to.
    return (backend === "command" || backend === "none" ? warn : fail)(
      "ports",
      `open to everyone: ${open.ports.join(" ")} (${open.why})`,
      open.hint ??
        "set drop_ports: true, and openme closes them itself; or close them in your own firewall",
    );
  }
  if (dropPorts && examination && examination.unguarded.length > 0) {
    return fail(
      "ports",
      `open as without openme: ${examination.unguarded.join(" ")}`,
      serves
        ? "openme serve closes them within 10 s: look at its log if not"
        : "start openme serve",
    );
  }
  const closer = closerOf(view);
  if (closer !== undefined) {
    const where = closer === "openme" && view.interface ? `, on ${view.interface} only` : "";
    return ok("ports", `closed by ${closer}: ${ports}${where}`);
  }
  return warn(
    "ports",
    `whether they are closed is not looked at for this backend: ${ports}`,
    backend === "none"
      ? "openme closes nothing with firewall: none; try a connection from elsewhere"
      : "try a connection from elsewhere, without a knock",
  );
}

/** How what the server guards differs from the file. */
function differenceOf(config: ServerConfig, { guarded, dropPorts }: View): string | undefined {
  const inFile = config.guardedPorts.map(formatPortRange);
  if (guarded.join() === inFile.join() && dropPorts === config.dropPorts) return undefined;
  const says = (ports: readonly string[], drops: boolean) =>
    `${ports.join(" ")} with drop_ports: ${drops}`;
  return `openme serve guards ${says(guarded, dropPorts)}, the file says ${
    says(inFile, config.dropPorts)
  }`;
}

/** Who keeps the ports closed; `undefined` where that is not looked at. */
function closerOf({ backend, serves, intact, examination, dropPorts }: View): string | undefined {
  if (!dropPorts) return examination ? "the host's own rules" : undefined;
  return examination || (backend !== "none" && serves && intact) ? "openme" : undefined;
}

function examineGrants({ refused }: View): Finding[] {
  if (refused.length === 0) return [];
  const names = refused.map(({ client, address, ports }) =>
    `${client} at ${address} (${ports.join(" ") || "the health port"})`
  );
  return [fail(
    "grants",
    `the firewall refused: ${names.slice(0, 5).join(", ")}${names.length > 5 ? ", and more" : ""}`,
    "openme serve tries again every few seconds; firewall_failed in its log says what went wrong",
  )];
}
