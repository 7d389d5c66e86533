/** Usage errors of close, connect, status, doctor, sessions --watch and the flags of knock. */

import assert from "node:assert/strict";
import { profilesYaml, serverYaml } from "../support/server_yaml.ts";
import { Folder } from "../support/folder.ts";
import { bareEnvironment, failure, mapSome, openme, type Result } from "./program.ts";

interface Row {
  readonly args: string[];
  readonly result: Result;
}

const usage = (args: string[], error: string, hint?: string): Row => ({
  args,
  result: failure(2, error, hint),
});

const CLOSE_HINT = "openme close laptop, openme close 192.0.2.7 or openme close --all";
const DURATION = 'expected a duration from 100ms to 1h0m0s, such as "30s", got';
const EVERY = 'expected a duration from 1s to 24h0m0s, such as "30s", got';
const KNOCK_HELP = "see openme knock --help";

const ROWS: Row[] = [
  usage(["close"], "openme close needs a CLIENT, an ADDRESS or --all", CLOSE_HINT),
  usage(["close", "a", "--all"], '--all and "a" exclude each other', CLOSE_HINT),
  usage(["close", "a", "b"], 'openme close: unexpected argument "b"', "see openme close --help"),
  ...["1.2.3", "192.0.2.7/24", "a b", "fe80::1%eth0", "-"].map((whom) =>
    usage(
      ["close", "--", whom],
      `expected a client's name or an address, got ${JSON.stringify(whom)}`,
      CLOSE_HINT,
    )
  ),
  usage(["connect"], "openme connect needs HOST and PORT", "see openme connect --help"),
  usage(
    ["connect", "host"],
    "openme connect needs HOST and PORT",
    "see openme connect --help",
  ),
  usage(
    ["connect", "a", "b", "22", "x"],
    'openme connect: unexpected argument "x"',
    "see openme connect --help",
  ),
  ...["0", "65536", "ssh", "22/tcp", " 22", "022"].map((port) =>
    usage(["connect", "host", port], `expected a port from 1 to 65535, got "${port}"`)
  ),
  usage(["connect", "a b", "22"], 'expected a host name or an address, got "a b"'),
  usage(["connect", "h", "22", "--timeout", "1"], `--timeout: ${DURATION} "1"`),
  usage(
    ["connect", "h", "22", "-4", "-6"],
    "-4 and -6 exclude each other",
    "leave out both to knock over both",
  ),
  usage(["status", "a", "b"], 'openme status: unexpected argument "b"', "see openme status --help"),
  usage(["status", "--timeout", "2h"], `--timeout: ${DURATION} "2h"`),
  usage(
    ["status", "--health-port", "x"],
    '--health-port: expected a port from 1 to 65535, got "x"',
  ),
  ...["0/tcp", "22-23/tcp", "ssh", ""].map((port) =>
    usage(
      ["knock", `--wait=${port}`],
      `--wait: expected a TCP port such as "22/tcp", got "${port}"`,
    )
  ),
  usage(
    ["knock", "--wait", "53/udp"],
    '--wait: expected a TCP port such as "22/tcp", got "53/udp"',
    "a client cannot see whether a UDP port is open",
  ),
  usage(
    ["knock", "--timeout", "5s"],
    "--timeout does nothing without --wait or --check",
    KNOCK_HELP,
  ),
  usage(["knock", "--interval", "5s"], "--interval does nothing without --continuous", KNOCK_HELP),
  usage(["knock", "--health-port", "1"], "--health-port does nothing without --check", KNOCK_HELP),
  usage(["knock", "--continuous", "--interval", "0"], `--interval: ${EVERY} "0"`),
  usage(["knock", "--check", "--timeout", "soon"], `--timeout: ${DURATION} "soon"`),
  usage(
    ["doctor", "--server", "--client"],
    "--server and --client exclude each other",
    "leave out both to look at both",
  ),
  usage(["doctor", "home", "--server"], "a server has no profile", "see openme doctor --help"),
  usage(
    ["sessions", "--watch", "--config", "server.yaml"],
    "--watch draws on a terminal, and standard output is none",
    "openme sessions --watch --json prints a line a second",
  ),
  {
    args: ["close", "alice", "--config", "server.yaml", "--state-dir", "nowhere"],
    result: failure(
      1,
      "cannot reach openme serve: it is not running",
      "start it: openme serve; or name its folder: --state-dir DIR",
    ),
  },
  {
    args: ["doctor", "--config", "missing.yaml", "--client-config", "missing.yaml"],
    result: failure(
      1,
      "there is neither a server's configuration nor a profile here",
      "on a server: openme init --server HOST; on a client: a profile from openme add NAME",
    ),
  },
  {
    args: ["connect", "127.0.0.1", "9", "--timeout", "300ms", "--client-config", "client.yaml"],
    result: {
      code: 3,
      stdout: "",
      stderr:
        "openme: error: port 9/tcp of 127.0.0.1 did not open within 300ms (1 knock; 127.0.0.1: refused)\n" +
        "openme: hint: refused means that the way is open and no program listens there: is the service running?\n",
    },
  },
];

Deno.test("a wrong use of what connects or acts is an error with a hint", async () => {
  await using folder = await Folder.create();
  await folder.write("server.yaml", serverYaml());
  await folder.write("client.yaml", profilesYaml({ home: {} }));
  const env = await bareEnvironment({ HOME: folder.path });
  const results = await mapSome(ROWS, async ({ args }) => ({
    args,
    result: await openme(args, { cwd: folder.path, env }),
  }));
  assert.deepEqual(results, ROWS);
});

Deno.test("openme knock --json tells where the knock went", async () => {
  await using folder = await Folder.create();
  const file = await folder.write("client.yaml", profilesYaml({ home: {} }));
  const { code, stdout, stderr } = await openme(["knock", "--json", "--client-config", file]);
  assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
  assert.deepEqual(JSON.parse(stdout), {
    profile: "home",
    host: "127.0.0.1",
    sent: [{ address: "127.0.0.1", failure: null }],
  });
});
