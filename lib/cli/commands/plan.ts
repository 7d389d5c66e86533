/** `openme plan`: what serve would run, and which of this host's ports it closes. Changes nothing. */

import type { ServerConfig } from "../../config/server.ts";
import { type Backend, isGuarding } from "../../firewall/backend.ts";
import { closesPorts, isBackendName } from "../../firewall/plan.ts";
import { BACKENDS } from "../../firewall/catalog.ts";
import { requirePrograms } from "../../firewall/command/line.ts";
import { listeningPorts } from "../../firewall/host/sockets.ts";
import { hostFirewall } from "../../firewall/host/summary.ts";
import {
  formatPortRange,
  intersectPortRanges,
  mergePortRanges,
  type PortRange,
  subtractPortRanges,
} from "../../values/ports.ts";
import { backendOf } from "../backend_of.ts";
import { extendingFlaw } from "../extending.ts";
import { type Colour, type Paint, paintFor } from "../output.ts";
import { type Command, configPath, logOf, renderJson } from "../context.ts";
import { guardsInTheWay } from "../serve/start_checks.ts";
import { interfaceFlag, withInterface } from "../flags.ts";
import { loadServerConfig } from "../load.ts";
import { type Unstamped, unstampedKnocks } from "../unstamped.ts";

export const plan: Command = {
  about:
    `Shows what openme serve would run on this host, and which of its ports become closed, are closed
already, or stay open to everyone in spite of openme. Changes nothing.`,
  parameters: {
    "--interface IF":
      `guard only what arrives on this interface, as serve would (default: server.interface)`,
    "--json": `{"firewall", "interface", "rules", "unstamped_knocks", "ports_become_closed",
      "ports_closed", "ports_open_in_spite", "ports_open_unguarded", "ports_knock"}: docs/json.md;
      with an interface, the first two lists of ports hold on that one`,
  },
  example: "sudo openme plan",
  run: async (args, context) => {
    const interfaceName = interfaceFlag(args);
    const { config: read } = await loadServerConfig(configPath(args));
    const config = withInterface(read, interfaceName);
    if (config.command) requirePrograms(config.command);
    let text = "";
    const backend = await backendOf(config, {
      context,
      log: logOf(args, context),
      show: (command) => text += command,
    });
    await backend.install([]);
    for (const { why, hint } of await guardsInTheWay(backend, context.run)) {
      context.stderr(`openme: warning: ${why}`);
      context.stderr(`openme: hint: ${hint}`);
    }
    const flaw = extendingFlaw(config, backend);
    if (flaw) {
      context.stderr(`openme: warning: ${flaw.why}`);
      context.stderr(`openme: hint: ${flaw.hint}`);
    }
    const unstamped = await unstampedKnocks(config, backend);
    const groups = [
      ...await groupsOf(config, backend, await listeningPorts(context.run), context.run),
      knockGroup(config, unstamped),
    ];
    if (args.values["json"]) {
      context.stdout(renderJson({
        firewall: backend.name,
        interface: config.interface ?? null,
        rules: text,
        unstamped_knocks: unstamped.are,
        ...Object.fromEntries(groups.map(({ name, ports }) => [name, ports.map(formatPortRange)])),
      }));
      return 0;
    }
    context.stdout(`# what ${backend.name} would be given
${text || "# nothing\n"}
# the ports of this host
${renderGroups(groups, paintFor(context))}`);
    return 0;
  },
};

/** Ports that openme treats alike. */
interface PortGroup {
  /** For programs. */
  readonly name: string;
  /** For people. */
  readonly text: string;
  /** Green: closed. Red: open in spite of openme. Yellow: open and not guarded. */
  readonly colour?: Colour;
  readonly ports: readonly PortRange[];
}

async function groupsOf(
  config: ServerConfig,
  backend: Backend,
  listening: readonly PortRange[],
  run: Parameters<typeof listeningPorts>[0],
): Promise<PortGroup[]> {
  const knock: PortRange = { protocol: "udp", first: config.udpPort, last: config.udpPort };
  const guarded = subtractPortRanges(config.guardedPorts, [knock]);
  const host = await hostFirewall(run);
  const others = subtractPortRanges([...listening, ...host.published], [...guarded, knock]);
  const told = await backend.openToEveryone();
  const openByHost = mergePortRanges([
    ...host.openOf(guarded),
    ...intersectPortRanges(guarded, told?.ports ?? []),
  ]);
  const closedByHost = subtractPortRanges(guarded, openByHost);
  const { name } = backend;
  const canClose = isBackendName(name) && closesPorts(name) && BACKENDS[name].leaves !== "nothing";
  const closes = config.dropPorts && canClose;
  const closedByGuard = closes ? await closedNow(guarded, backend) : [];
  const only = canClose ? config.interface : undefined;
  const on = only === undefined ? "" : ` on ${only}`;
  return [
    {
      name: "ports_become_closed",
      colour: "green",
      text: `become closed${on}, until a knock opens them`,
      ports: closes ? subtractPortRanges(openByHost, closedByGuard) : [],
    },
    {
      name: "ports_closed",
      colour: "green",
      text: closedByGuard.length > 0
        ? `are closed already${on}, and open for a knock`
        : `are closed already, and open for a knock${on}`,
      ports: mergePortRanges([...closedByGuard, ...closedByHost]),
    },
    {
      name: "ports_open_in_spite",
      colour: "red",
      text: `stay open to everyone in spite of openme (${
        closes
          ? `on other interfaces than ${only}: close them there with your own firewall`
          : canClose
          ? "set drop_ports: true"
          : "close them with your own firewall"
      })`,
      ports: closes && only === undefined ? [] : openByHost,
    },
    {
      name: "ports_open_unguarded",
      colour: "yellow",
      text:
        "are not guarded, and stay open to everyone (a program listens there, or they are forwarded)",
      ports: host.openOf(others),
    },
  ];
}

function knockGroup({ udpPort }: ServerConfig, { text }: Unstamped): PortGroup {
  const ports: PortRange[] = [{ protocol: "udp", first: udpPort, last: udpPort }];
  return { name: "ports_knock", text: `takes knocks, and never answers; ${text}`, ports };
}

/** Which of these a guard that stands closes already; it may be one for other ports or another interface. */
async function closedNow(
  guarded: readonly PortRange[],
  backend: Backend,
): Promise<readonly PortRange[]> {
  if (!await isGuarding(backend)) return [];
  return subtractPortRanges(guarded, (await backend.examine())?.unguarded ?? []);
}

function renderGroups(groups: readonly PortGroup[], paint: Paint): string {
  return groups.filter(({ ports }) => ports.length > 0).map(({ text, colour, ports }) => {
    const shown = ports.map(formatPortRange).join(" ");
    return `${colour ? paint(colour, shown) : shown}\n  ${text}\n`;
  }).join("");
}
