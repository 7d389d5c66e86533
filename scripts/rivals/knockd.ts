/** knockd 0.8 as Debian packages it: a sequence of three UDP ports opens a door, a TCP port for who has knocked. */

import { IPV4, type Lab } from "../../tests/e2e/lab.ts";
import { waitFor } from "../../tests/support/wait.ts";
import { type Contender, DOORS, type Rival, write } from "./rival.ts";

export const knockd: Contender = { name: "knockd", programs: ["knockd", "knock"], start };

/** The last door is port 22. */
const PORTS = [...Array.from({ length: DOORS }, (_, i) => 2000 + i), 22];

async function start(lab: Lab): Promise<Rival> {
  const dir = await Deno.makeTempDir({ prefix: "openme-bench-knockd-" });
  const sequence = (door: number) => [7000, 8000, 9000].map((first) => first + door);
  const config = await write(`${dir}/knockd.conf`, [
    "[options]",
    "  Interface = eth0",
    ...PORTS.flatMap((port, door) => [
      `[door${door}]`,
      `  sequence = ${sequence(door).map((each) => `${each}:udp`).join(",")}`,
      "  seq_timeout = 5",
      `  command = iptables -w -A KNOCKD -s %IP% -p tcp --dport ${port} -j ACCEPT`,
    ]),
  ]);
  for (
    const rule of [
      "-N KNOCKD",
      "-A INPUT -j KNOCKD",
      "-A INPUT -i eth0 -p tcp -m conntrack --ctstate NEW -j DROP",
    ]
  ) await lab.run("server", ["iptables", ...rule.split(" ")]);
  const startMs = performance.now();
  const program = lab.start("server", [
    "knockd",
    "-i",
    "eth0",
    "-c",
    config,
    "-p",
    `${dir}/pid`,
    "-v",
  ]);
  await program.stdout.waitFor(/listening on eth0/, 20_000);
  const tookMs = performance.now() - startMs;
  const knock = (door: number) => ["knock", "-u", IPV4.server, ...sequence(door).map(String)];
  const rules = () => lab.run("server", ["iptables", "-S", "KNOCKD"]);
  return {
    name: "knockd",
    port: 7000,
    startMs: tookMs,
    knock,
    opened: async () => new Set((await rules()).match(/(?<=--dport )2\d\d\d\b/g) ?? []).size,
    knockHere: knock(DOORS),
    shutHere: async () => {
      await lab.run("server", ["iptables", "-F", "KNOCKD"]);
      // Its command has ended by then; a sequence begins anew.
      await waitFor("an empty chain", async () => !(await rules()).includes("-A"));
    },
    [Symbol.asyncDispose]: async () => {
      await program[Symbol.asyncDispose]();
      await lab.nft("flush ruleset");
      await Deno.remove(dir, { recursive: true });
    },
  };
}
