/** `openme close`: ends grants now. Asks the running server. */

import { NAME_PATTERN } from "../../values/name.ts";
import { askServer } from "../../control/socket.ts";
import type { CloseReport, CloseRequest } from "../../control/requests.ts";
import { OpenmeError } from "../../values/errors.ts";
import { parseNetwork } from "../../values/network.ts";
import { quote } from "../../values/text.ts";
import { type Arguments, type Command, type Context, renderJson, STATE_DIR } from "../context.ts";
import type { ServerConfig } from "../../config/server.ts";
import { askFleet, textOf } from "../fleet_question.ts";
import { requireKnownClient } from "../known_client.ts";
import { findState } from "../load.ts";

export const close: Command = {
  about: "Ends grants now: ports that a knock has opened are closed to new connections.",
  arguments: "[CLIENT|ADDRESS]",
  usage: [
    "CLIENT|ADDRESS|--all [--kill] [--fleet] [--json] [--state-dir DIR]",
  ],
  parameters: {
    "CLIENT": "everything that this client has opened",
    "ADDRESS": "everything that is open for this address, or network such as 198.51.100.0/24",
    "--all": "everything",
    "--kill": "cut established connections too: all from addresses that were let in",
    "--fleet": "at every host of the fleet (server.fleet)",
    "--json": `{"closed": [{"client", "address", "ports"}], "failures": [TEXT], "cut": null or
      {"connections", "left": [{"address", "source_port", "ports"}], "missing": [PROGRAM]}};
      with --fleet also "others": [{"host", "error", "closed", "cut", "failures"}]: docs/json.md`,
    ...STATE_DIR,
  },
  notes:
    `The client may knock again at once: "openme revoke" ends its key. --kill cuts by address, so
everyone behind that address is cut, and with --all your own session may be among them. One
failure stops nothing of the rest; what could not be closed or cut is listed, and the exit code is
then 1. It is 1 too where there is no grant for the ADDRESS.`,
  example: "sudo openme close laptop --kill",
  run: async (args, context) => {
    const request = readRequest(args);
    const { config, stateDir } = await findState(args, context);
    const others = args.values["fleet"]
      ? await closeAtOthers(stateDir, { ...request, keys: keysOf(request, config) }, context)
      : undefined;
    const report = await askServer(stateDir, request) as CloseReport;
    const { closed, cut, failures } = report;
    const didNothing = closed.length === 0 && !cut?.connections && !cut?.left.length &&
      !others?.some((host) => host.closed.length > 0 || host.cut?.connections);
    if (didNothing && "client" in request) {
      requireKnownClient(request.client, { config, stateDir });
    }
    if (args.values["json"]) context.stdout(renderJson({ closed, cut, failures, others }));
    else tellClosed(report, context, others);
    requireAllClosed(report, context, { others, again: "run it again once they answer" });
    if (didNothing && "address" in request) {
      throw new OpenmeError("STATE", `there is no grant for ${request.address}`, {
        hint: "openme sessions shows who is let in",
      });
    }
    if (didNothing) context.stderr("openme: there was no such grant");
    return 0;
  },
};

/** Prints what was closed and cut, for people. */
export function tellClosed(
  { closed, cut }: CloseReport,
  context: Context,
  others: readonly HostClosed[] = [],
): void {
  for (const { client, address, ports } of closed) {
    context.stdout(`closed ${ports.join(" ") || "the health port"} for ${client} at ${address}\n`);
  }
  if (cut) context.stdout(`cut ${counted(cut.connections)}\n`);
  for (const { host, error, closed, cut } of others) {
    if (error !== null) continue;
    const cuts = cut ? `, cut ${counted(cut.connections)}` : "";
    context.stdout(`${textOf(host)}: closed ${closed.length}${cuts}\n`);
  }
}

/** What another host has closed, as far as it answered. */
export interface HostClosed extends CloseReport {
  readonly host: string;
  readonly error: string | null;
}

/** Has every other host of the fleet close this too, and hears what each has done. */
export async function closeAtOthers(
  stateDir: string,
  request: object,
  context: Context,
): Promise<HostClosed[]> {
  const { answers } = await askFleet(stateDir, request, context);
  return answers.map(({ host, error, value }) => {
    const { closed = [], cut = null, failures = [] } = Object(value) as Partial<CloseReport>;
    return { host, error, closed, cut, failures };
  });
}

/** The keys of the client that the request names: another host may know it by another name. */
function keysOf(request: CloseRequest, config: ServerConfig | undefined): string[] {
  const client = "client" in request &&
    config?.clients.find(({ name }) => name === request.client);
  return client ? [client.key, ...client.previous ? [client.previous.key] : []] : [];
}

/** Prints what could not be done, a line each, and then throws, code `COMMAND`. `again`: what to do at other hosts. */
export function requireAllClosed(
  { cut, failures }: CloseReport,
  context: Context,
  { others = [], again }: { readonly others: readonly HostClosed[] | undefined; again: string },
): void {
  const { left = [], missing = [] } = cut ?? {};
  const remote = others.filter(({ error, cut, failures }) =>
    error !== null || failures.length > 0 || (cut?.left.length ?? 0) > 0
  );
  if (left.length === 0 && failures.length === 0 && remote.length === 0) return;
  for (const { host, cut, failures } of remote) {
    const rest = cut?.left.length ?? 0;
    const left = rest > 0 ? [`${counted(rest)} could not be cut`] : [];
    for (const failure of [...failures, ...left]) {
      context.stderr(`openme: not done: ${textOf(host)}: ${textOf(failure)}`);
    }
  }
  for (const failure of failures) context.stderr(`openme: not done: ${failure}`);
  for (const { address, ports, ...from } of left) {
    context.stderr(
      `openme: still there: from ${address} port ${from["source_port"]} to ${ports.join(" ")}`,
    );
  }
  const packages = missing.map((program) => program === "ss" ? "iproute2" : program);
  throw new OpenmeError(
    "COMMAND",
    left.length > 0 ? `${counted(left.length)} could not be cut` : "not everything could be done",
    packages.length > 0
      ? { hint: `install what is missing on the server: apt-get install ${packages.join(" ")}` }
      : left.length > 0
      ? {
        hint:
          "restart the service, or the container, behind the port (a kernel without CONFIG_INET_DIAG_DESTROY ends no sockets)",
      }
      : remote.length > 0
      ? { hint: again }
      : {},
  );
}

function counted(connections: number): string {
  return `${connections} connection${connections === 1 ? "" : "s"}`;
}

function readRequest({ positionals, values }: Arguments): CloseRequest {
  const [whom] = positionals;
  const head = { command: "close", kill: values["kill"] === true } as const;
  const hint = "openme close laptop, openme close 192.0.2.7 or openme close --all";
  if (values["all"]) {
    if (whom === undefined) return { ...head, all: true };
    throw new OpenmeError("USAGE", `--all and ${quote(whom)} exclude each other`, { hint });
  }
  if (whom === undefined) {
    throw new OpenmeError("USAGE", "openme close needs a CLIENT, an ADDRESS or --all", { hint });
  }
  if (NAME_PATTERN.test(whom)) return { ...head, client: whom };
  if (parseNetwork(whom)) return { ...head, address: whom };
  throw new OpenmeError("USAGE", `expected a client's name or an address, got ${quote(whom)}`, {
    hint,
  });
}
