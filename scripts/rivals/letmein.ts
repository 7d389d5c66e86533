/** letmein 12.6.2 (`cargo install letmein letmeind letmeinfwd`), over UDP: a door is a TCP port for who has knocked. */

import { IPV4, type Lab } from "../../tests/e2e/lab.ts";
import { waitFor } from "../../tests/support/wait.ts";
import { type Contender, DOORS, randomHex, type Rival, type StartOptions, write } from "./rival.ts";

export const letmein: Contender = {
  name: "letmein",
  programs: ["letmein", "letmeind", "letmeinfwd"],
  start,
};

const PORT = 5800;
const QUICKLY = { everyMs: 2 };
/** The last door is port 22. */
const PORTS = [...Array.from({ length: DOORS }, (_, i) => 2000 + i), 22];
const TABLE = `table inet filter {
  chain LETMEIN-INPUT { }
  chain input {
    type filter hook input priority 0; policy accept;
    iifname "eth0" ct state established accept
    jump LETMEIN-INPUT
    iifname "eth0" meta l4proto tcp drop
  }
}
`;
/** letmeind insists on a user of its own; these daemons see one that is root, nobody else does. */
const AS_USER =
  `mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/group" /etc/group && exec "$@"`;

async function start(lab: Lab, { clients = 1 }: StartOptions = {}): Promise<Rival> {
  const dir = await Deno.makeTempDir({ prefix: "openme-bench-letmein-" });
  const hex = (n: number) => n.toString(16).toUpperCase().padStart(8, "0");
  const keys = Array.from(
    { length: clients },
    (_, i) => `${hex(i + 1)} = ${randomHex(32).toUpperCase()}`,
  );
  const shared = [
    "[RESOURCES]",
    ...PORTS.map((port, i) => `${hex(i + 1)} = port: ${port} / tcp`),
  ];
  const general = [
    "[GENERAL]",
    `port = ${PORT} / udp`,
    "control-timeout = 5.0",
    "control-error-policy = basic-auth",
    "seccomp = off",
  ];
  const server = await write(`${dir}/server.conf`, [
    ...general,
    "[NFTABLES]",
    ...["exe = nft", "family = inet", "table = filter", "chain-input = LETMEIN-INPUT"],
    ...["timeout = 300", `max-nr-rules = ${2 * PORTS.length}`],
    "[KEYS]",
    ...keys,
    ...shared,
  ]);
  const client = await write(`${dir}/client.conf`, [
    ...general,
    "[CLIENT]",
    `default-user = ${hex(clients)}`,
    "[KEYS]",
    keys.at(-1) ?? "",
    ...shared,
  ]);
  for (
    const [file, line] of [["passwd", "letmeind:x:0:0::/:/bin/false"], ["group", "letmeind:x:0:"]]
  ) {
    await Deno.writeTextFile(
      `${dir}/${file}`,
      `${await Deno.readTextFile(`/etc/${file}`)}${line}\n`,
    );
  }
  await lab.nft(TABLE);
  const daemon = (program: string) =>
    lab.start("server", [
      ...["unshare", "-m", "sh", "-c", AS_USER, dir, program],
      ...["-c", server, "--rundir", dir, "--no-systemd"],
    ]);
  const startMs = performance.now();
  const programs = [daemon("letmeinfwd"), daemon("letmeind")];
  const chain = () =>
    lab.run("server", ["nft", "list", "chain", "inet", "filter", "LETMEIN-INPUT"]);
  await waitFor(
    "letmeinfwd's rule",
    async () => (await chain()).includes(`dport ${PORT} `),
    QUICKLY,
  );
  await waitFor(
    "letmeind's socket",
    async () => (await lab.run("server", ["ss", "-Hlun", "sport", "=", `:${PORT}`])) !== "",
    QUICKLY,
  );
  const tookMs = performance.now() - startMs;
  const knock = (
    port: number,
  ) => ["letmein", "-c", client, "knock", "-4", IPV4.server, String(port)];
  return {
    name: "letmein",
    port: PORT,
    startMs: tookMs,
    knock: (i) => knock(PORTS[i]!),
    opened: async () => new Set((await chain()).match(/(?<=tcp dport )2\d\d\d\b/g) ?? []).size,
    knockHere: knock(22),
    shutHere: async () => {
      const revoke = ["letmein", "-c", client, "revoke", "-4", IPV4.server, "22"];
      await lab.output("client", revoke);
      await waitFor("no rule for port 22", async () => !(await chain()).includes("dport 22 "));
    },
    [Symbol.asyncDispose]: async () => {
      for (const program of programs) await program[Symbol.asyncDispose]();
      await lab.nft("flush ruleset");
      await Deno.remove(dir, { recursive: true });
    },
  };
}
