/** One backend on trial: a host, a plan to guard it by, and what the sides of the lab reach. */

import { DEFAULT_MARK } from "../../../lib/config/firewall.ts";
import type { Backend, ClientOpenings } from "../../../lib/firewall/backend.ts";
import { chooseBackend } from "../../../lib/firewall/choose.ts";
import type { GuardPlan } from "../../../lib/firewall/plan.ts";
import { createLog } from "../../../lib/system/log.ts";
import { parseNetwork } from "../../../lib/values/network.ts";
import { mergePortRanges, parsePortSpec, type PortRange } from "../../../lib/values/ports.ts";
import { IPV4, IPV6, type Lab } from "../lab.ts";
import { kernelSetsIn } from "../kernel_sets.ts";
import type { Candidate } from "./candidates.ts";
import { allRules, Runner } from "./runner.ts";

const GUARDED = ["22/tcp", "80/tcp", "8080-8090/tcp", "5353/udp"];

export function ranges(...specs: string[]): PortRange[] {
  return mergePortRanges(specs.map((spec) => parsePortSpec(spec) as PortRange));
}

/** These ports for an address or network, for so long. */
export function opening(address: string, timeoutMs: number, ...specs: string[]): ClientOpenings {
  return {
    address: parseNetwork(address)!,
    openings: ranges(...specs).map((range) => ({ ...range, timeoutMs })),
    clients: ["alice"],
  };
}

export type Trial = Awaited<ReturnType<typeof startTrial>>;

/** Prepares the host. Disposing of the trial ends what runs on the host. */
export async function startTrial(lab: Lab, candidate: Candidate) {
  const { name, host } = candidate;
  const agents = await lab.agents("server", "client", "other");
  await agents.server.listen({ tcp: [22, 80, 8080, 8085, 8090, 9000], udp: [5353] });
  const hosted = await host?.(lab);
  const dir = await Deno.makeTempDir({ prefix: "openme-conformance-" });
  const runner = new Runner(lab);
  const lines: string[] = [];
  const log = createLog({
    level: "debug",
    format: "logfmt",
    now: () => new Date(),
    write: (line) => lines.push(line),
  });
  const plan: GuardPlan = {
    knockPort: 54154,
    guardedPorts: ranges(...GUARDED),
    forwardedPorts: [],
    dropPorts: !host,
    closedAs: "drop",
    openKnockPort: true,
    onlyStampedKnocks: false,
    interface: undefined,
    mark: DEFAULT_MARK,
    prefixes: [{ family: 4, length: 24 }, { family: 6, length: 64 }],
    lifetimeMs: 60_000,
  };
  const partsWith = (run = runner.run) => ({
    plan,
    run,
    log,
    stateDir: dir,
    command: candidate.command?.(dir),
  });
  const make = (run = runner.run): Promise<Backend> =>
    chooseBackend(name, {
      ...partsWith(run),
      quickSets: candidate.byNetlink ? kernelSetsIn(lab.namespace("server")) : undefined,
    });
  const standIn = candidate.standIn?.(dir);
  runner.programs = new Map([
    ...(standIn ? [[standIn.program, standIn.path] as const] : []),
    ...(hosted ? [["firewall-cmd", hosted.program] as const] : []),
  ]);
  const reaches = async (side: keyof typeof agents, port: number, family: 4 | 6 = 4) => {
    const [to, from] = ["server" as const, side].map((each) => (family === 4 ? IPV4 : IPV6)[each]);
    if (standIn) return standIn.passes({ protocol: "tcp", from: from!, port });
    return await agents[side].reaches(to!, port, 300);
  };
  const isOpen = (port: number, family: 4 | 6 = 4) => reaches("client", port, family);
  return {
    lab,
    candidate,
    host,
    /** What runs on the host beside openme. */
    hosted,
    standIn,
    client: agents.client,
    runner,
    plan,
    log,
    /** What was logged. */
    lines,
    /** The rules of the host without openme. */
    before: await allRules(lab),
    dir,
    partsWith,
    make,
    /** The one that acts; a step may put another in its place. */
    backend: await make(),
    reaches,
    reachesUdp: async (port: number) =>
      standIn
        ? standIn.passes({ protocol: "udp", from: IPV4.client, port })
        : await agents.client.echoesUdp(IPV4.server, port),
    isOpen,
    isClosed: async (port: number, family: 4 | 6 = 4) => !await isOpen(port, family),
    [Symbol.asyncDispose]: async () => {
      await Deno.remove(dir, { recursive: true });
      await hosted?.[Symbol.asyncDispose]();
    },
  };
}
