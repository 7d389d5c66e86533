/** openme itself among the others: a door is an address that is let in to port 22. */

import { countLetIn, targetOf } from "../../tests/attack/siege.ts";
import { KNOCK_PORT } from "../../tests/e2e/e2e.ts";
import type { Lab } from "../../tests/e2e/lab.ts";
import { OPENME } from "../../tests/support/openme_command.ts";
import type { Served } from "../../tests/e2e/openme.ts";
import { Site } from "../../tests/e2e/site.ts";
import { type Contender, DOORS, type Rival, type StartOptions } from "./rival.ts";

/** Three clients in turn: one may hold 256 grants. */
export const NAMES = ["alice", "bob", "carol"] as const;

export const openme: Contender = { name: "openme", programs: [], start: startOpenme };

/** openme, with what the bench asks of it alone. */
export async function startOpenme(
  lab: Lab,
  { clients = NAMES.length, server = [] }: StartOptions & { readonly server?: readonly string[] } =
    {},
): Promise<Rival & { readonly site: Site; readonly served: Served }> {
  const site = await Site.create(lab, {
    clients: Object.fromEntries(
      [...others(clients - NAMES.length), ...NAMES].map((each) => [each, ["22/tcp"]]),
    ),
    knockTimeout: "5m",
    server,
  });
  const startMs = performance.now();
  const served = await site.serve();
  const tookMs = performance.now() - startMs;
  const knock = (name: string, more: readonly string[]) => [
    ...OPENME,
    "knock",
    "--client-config",
    `${site.dir}/${name}.yaml`,
    ...more,
  ];
  return {
    name: `openme, ${OPENME.length === 1 ? "compiled" : "from source"}`,
    port: KNOCK_PORT,
    startMs: tookMs,
    site,
    served,
    knock: (i) => knock(NAMES[i % NAMES.length]!, ["--ip", targetOf(i)]),
    opened: () => countLetIn(lab, DOORS),
    knockHere: knock("alice", []),
    shutHere: async () =>
      void await lab.run("server", [...OPENME, "close", "--config", site.config, "--all"]),
    [Symbol.asyncDispose]: async () => {
      await served[Symbol.asyncDispose]();
      await site[Symbol.asyncDispose]();
    },
  };
}

const others = (count: number) =>
  Array.from({ length: Math.max(0, count) }, (_, i) => `client${i}`);
