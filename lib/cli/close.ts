/** `openme close`: ends grants now. Asks the running server. */

import { NAME_PATTERN } from "../config/reader.ts";
import { askServer } from "../control.ts";
import type { CloseReport, CloseRequest } from "../control_requests.ts";
import { OpenmeError } from "../errors.ts";
import type { Cut } from "../firewall/cut.ts";
import { parseNetwork } from "../network.ts";
import { quote } from "../quote.ts";
import { type Arguments, type Command, type Context, renderJson } from "./context.ts";
import { requireKnownClient } from "./known_client.ts";
import { loadWhereabouts } from "./load_state.ts";

export const close: Command = {
  summary: "end grants now",
  help: `Ends grants now: ports that a knock has opened are closed to new connections.

Usage: openme close CLIENT|ADDRESS|--all [--kill] [--json] [--state-dir DIR]

  CLIENT           everything that this client has opened
  ADDRESS          everything that is open for this address, or network such as 198.51.100.0/24
  --all            everything
  --kill           cut established connections too: all from addresses that were let in
  --json           {"closed": [{"client", "address", "ports"}], "cut": {"connections", "left", "missing"} or null}:
                   docs/json.md
  --state-dir DIR  where serve keeps its state (default: server.state_dir)

The client may knock again at once: "openme revoke" ends its key. --kill cuts by address, so everyone behind that
address is cut, and with --all your own session may be among them.

Example:
  sudo openme close laptop --kill
`,
  options: {
    all: { type: "boolean" },
    kill: { type: "boolean" },
    json: { type: "boolean" },
    "state-dir": { type: "string" },
  },
  positionals: 1,
  run: async (args, context) => {
    const request = readRequest(args);
    const { config, stateDir } = await loadWhereabouts(args, context);
    const { closed, cut } = await askServer(stateDir, request) as CloseReport;
    if (closed.length === 0 && !cut?.connections && "client" in request) {
      requireKnownClient(request.client, { config, stateDir });
    }
    if (args.values["json"]) context.stdout(renderJson({ closed, cut }));
    else {
      for (const { client, address, ports } of closed) {
        context.stdout(
          `closed ${ports.join(" ") || "the health port"} for ${client} at ${address}\n`,
        );
      }
      if (closed.length === 0 && !cut?.connections) {
        context.stderr("openme: there was no such grant");
      }
    }
    if (cut) tellCut(cut, { json: args.values["json"] === true }, context);
    return 0;
  },
};

/** How many connections were cut; throws, code `COMMAND`, where some are still there. */
export function tellCut(
  { connections, left, missing }: Cut,
  { json }: { json: boolean },
  context: Context,
): void {
  if (!json) context.stdout(`cut ${connections} connection${connections === 1 ? "" : "s"}\n`);
  if (missing.includes("conntrack")) {
    context.stderr(
      "openme: connections that are forwarded, to containers for example, were not cut",
    );
    context.stderr("openme: hint: install conntrack on the server: apt-get install conntrack");
  }
  if (left === 0) return;
  throw new OpenmeError("COMMAND", `${left} established connections could not be cut`, {
    hint: missing.includes("ss")
      ? "install ss on the server: apt-get install iproute2"
      : "this kernel cannot end sockets (CONFIG_INET_DIAG_DESTROY): restart the service behind the port",
  });
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
