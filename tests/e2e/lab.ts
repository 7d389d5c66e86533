/**
 * Throw-away network namespaces: a bridge joins `server`, `client` and `other` on 10.0.0.0/24 and fd00::/64; server and
 * client also have a cable of their own (eth1, 10.0.1.0/24). A lab for a fleet has two more servers and what they share.
 * Nothing is visible from the host's own network namespace, so the addresses can be the same in every lab.
 */

import { Agent } from "./agent_client.ts";
import { Program } from "../support/spawned.ts";
import { within } from "../support/wait.ts";

export const SIDES = ["server", "client", "other"] as const;
/** The sides of a lab for a fleet. */
export const FLEET_SIDES = [...SIDES, "second", "third", "engine"] as const;
export type Side = typeof FLEET_SIDES[number];

/** The addresses on the bridge, interface eth0. */
export const IPV4: Record<Side, string> = {
  server: "10.0.0.1",
  client: "10.0.0.2",
  other: "10.0.0.3",
  second: "10.0.0.4",
  third: "10.0.0.5",
  engine: "10.0.0.6",
};
export const IPV6: Record<Side, string> = {
  server: "fd00::1",
  client: "fd00::2",
  other: "fd00::3",
  second: "fd00::4",
  third: "fd00::5",
  engine: "fd00::6",
};
export const BROADCAST = "10.0.0.255";
/** The server's address on eth1, which only the client can reach. */
export const SECOND_IPV4 = "10.0.1.1";

/**
 * Removes a lab: kills what runs in its namespaces, then deletes them. It waits for the end of its standard input, so
 * that it does its work also where the tests themselves were killed.
 */
const REAPER = `trap '' INT TERM HUP
cat >/dev/null
for ns; do
  for pid in $(ip netns pids "$ns" 2>/dev/null); do kill -9 "$pid"; done
  ip netns delete "$ns"
done 2>/dev/null`;

let instances = 0;

/** One set of namespaces, with the programs that run in them. */
export class Lab implements AsyncDisposable {
  readonly #name: string;
  readonly #sides: readonly Side[];
  readonly #reaper: Program;
  readonly #programs: Program[] = [];
  readonly #agents = new Map<Side, Promise<Agent>>();

  private constructor(name: string, sides: readonly Side[]) {
    this.#name = name;
    this.#sides = sides;
    const namespaces = ["bridge", ...sides].map((part) => `${name}-${part}`);
    this.#reaper = new Program("sh", { args: ["-c", REAPER, "reaper", ...namespaces] });
  }

  /** Creates the namespaces; on failure nothing is left of them. */
  static async create(sides: readonly Side[] = SIDES): Promise<Lab> {
    const unique = crypto.randomUUID().slice(0, 8);
    const lab = new Lab(`openme-${Deno.pid}-${++instances}-${unique}`, sides);
    try {
      await lab.#build();
      return lab;
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The name of a namespace. */
  namespace(part: Side | "bridge"): string {
    return `${this.#name}-${part}`;
  }

  /** Starts a program on one side; it ends with the lab at the latest. */
  start(side: Side, command: readonly string[], options: Deno.CommandOptions = {}): Program {
    const program = new Program("ip", { ...options, args: this.#exec(side, command) });
    this.#programs.push(program);
    return program;
  }

  /** Runs a command on one side to its end, whatever its exit code. */
  async output(side: Side, command: readonly string[], stdin = ""): Promise<Output> {
    return await runToEnd("ip", this.#exec(side, command), stdin);
  }

  /** Runs a command on one side and returns its standard output. Rejects where it fails. */
  async run(side: Side, command: readonly string[], stdin = ""): Promise<string> {
    return await succeed("ip", this.#exec(side, command), stdin);
  }

  /** Gives ruleset text to the server's `nft`. */
  async nft(rules: string): Promise<void> {
    await this.run("server", ["nft", "-f", "-"], rules);
  }

  /** The server's whole ruleset, as `nft` prints it; without the stamps, whose time runs. */
  async ruleset(): Promise<string> {
    const ruleset = await this.run("server", ["nft", "list", "ruleset"]);
    return ruleset.replace(
      /(typeof @th,328,32\n\t\tflags timeout\n)\t\telements = \{[^}]*\}\n/,
      "$1",
    );
  }

  /** How many connections the server's connection tracking knows of. */
  async conntrackCount(): Promise<number> {
    return Number(await this.run("server", ["cat", "/proc/sys/net/netfilter/nf_conntrack_count"]));
  }

  /** The agent on one side, started when first asked for. */
  agent(side: Side): Promise<Agent> {
    const running = this.#agents.get(side);
    if (running) return running;
    const starting = Agent.start(this, side);
    this.#agents.set(side, starting);
    return starting;
  }

  /** The agents on some sides. */
  async agents<S extends Side>(...sides: S[]): Promise<Record<S, Agent>> {
    const pairs = sides.map(async (side) => [side, await this.agent(side)] as const);
    return Object.fromEntries(await Promise.all(pairs)) as Record<S, Agent>;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // First everything in the namespaces is killed: what a program has left behind may hold on to its pipes.
    await this.#reaper.closeStdin();
    await Promise.allSettled(this.#programs.map((program) => program[Symbol.asyncDispose]()));
    if (!await within(this.#reaper.status, 10_000, undefined)) {
      throw new Error(`the namespaces ${this.#name}-* could not be deleted in 10 s`);
    }
  }

  #exec(side: Side, command: readonly string[]): string[] {
    return ["netns", "exec", this.namespace(side), ...command];
  }

  async #build(): Promise<void> {
    const bridge = this.namespace("bridge");
    const [server, client] = [this.namespace("server"), this.namespace("client")];
    await ip([], ["bridge", ...this.#sides].map((part) => `netns add ${this.#name}-${part}`));
    await ip(["-n", bridge], [
      "link set lo up",
      "link add br0 type bridge mcast_snooping 0", // multicast is to reach everyone
      "link set br0 up",
      ...this.#sides.flatMap((side) => [
        `link add ${side} type veth peer name eth0 netns ${this.namespace(side)}`,
        `link set ${side} master br0 up`,
      ]),
    ]);
    await ip(["-n", server], [`link add eth1 type veth peer name eth1 netns ${client}`]);
    await Promise.all(this.#sides.map((side) =>
      ip(["-n", this.namespace(side)], [
        "link set lo up",
        `address add ${IPV4[side]}/24 broadcast + dev eth0`,
        `address add ${IPV6[side]}/64 dev eth0 nodad`, // usable at once
        "link set eth0 up",
        "route add default dev eth0", // also the way of multicast and of 255.255.255.255
      ])
    ));
    await ip(["-n", server], [`address add ${SECOND_IPV4}/24 dev eth1`, "link set eth1 up"]);
    await ip(["-n", client], ["address add 10.0.1.2/24 dev eth1", "link set eth1 up"]);
  }
}

/** What a finished command left. */
export interface Output {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function ip(options: readonly string[], lines: readonly string[]): Promise<void> {
  await succeed("ip", [...options, "-batch", "-"], lines.join("\n") + "\n");
}

async function succeed(file: string, args: readonly string[], stdin = ""): Promise<string> {
  const { code, stdout, stderr } = await runToEnd(file, args, stdin);
  if (code !== 0) throw new Error(`${file} ${args.join(" ")}: exit code ${code}: ${stderr.trim()}`);
  return stdout;
}

/** Runs a command to its end. Rejects only where it cannot be started. */
export async function runToEnd(
  file: string,
  args: readonly string[],
  stdin = "",
): Promise<Output> {
  const child = new Deno.Command(file, {
    args: [...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const feed = async () => {
    const writer = child.stdin.getWriter();
    if (stdin) await writer.write(new TextEncoder().encode(stdin));
    await writer.close();
  };
  const fed = feed().catch(() => {}); // a command need not read what it is given
  const { code, stdout, stderr } = await child.output();
  await fed;
  return {
    code,
    stdout: new TextDecoder().decode(stdout),
    stderr: new TextDecoder().decode(stderr),
  };
}
