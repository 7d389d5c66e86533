/** Who takes part in most end-to-end tests: a server with a service, its client, and a stranger. */

import type { Agent } from "./agent_client.ts";
import { KNOCK_PORT } from "./e2e.ts";
import { IPV4, type Lab } from "./lab.ts";
import type { Site } from "./site.ts";

/** Agents on all sides of a lab; the server's echoes on the given TCP ports, which must include 22. */
export async function startParties(lab: Lab, { tcp = [22] }: { tcp?: number[] } = {}) {
  const { server, client, other } = await lab.agents("server", "client", "other");
  await server.listen({ tcp });
  return {
    server,
    client,
    other,
    /** Whether the client reaches port 22. */
    isOpen: () => client.reaches(IPV4.server, 22),
    isClosed: async () => !await client.reaches(IPV4.server, 22),
    isOpenToOther: () => other.reaches(IPV4.server, 22),
    /** Sends a fresh knock by alice. */
    knock: async (site: Site, from: Agent = client) =>
      await from.send(await site.seal("alice"), IPV4.server, KNOCK_PORT),
  };
}
