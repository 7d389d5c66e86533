/** The kernel tells stamped knocks from a flood of others, with either iptables. */

import { parseKnockCounters } from "../../lib/firewall/iptables/knocks.ts";
import { e2e, KNOCK_PORT } from "../e2e/e2e.ts";
import { IPV4, type Lab } from "../e2e/lab.ts";
import { startParties } from "../e2e/parties.ts";
import { Site } from "../e2e/site.ts";
import { opens } from "../e2e/timing.ts";
import type { Program } from "../support/spawned.ts";
import { lacks } from "../support/programs.ts";
import { waitFor } from "../support/wait.ts";
import { smallBuffer } from "./siege.ts";

/** What the kernel has dropped of knocks over IPv4, by reason. */
async function drops(lab: Lab, kind: string): Promise<Record<string, number>> {
  return parseKnockCounters(await lab.run("server", [kind, "-t", "mangle", "-v", "-S"]));
}

/** Junk from five addresses, so much that neither one of them nor all together get all of it through. */
async function startFlood(lab: Lab): Promise<Program> {
  const sources = Array.from({ length: 5 }, (_, i) => `10.0.0.${100 + i}`);
  for (const each of sources) {
    await lab.run("other", ["ip", "address", "replace", `${each}/24`, "dev", "eth0"]);
  }
  const script = `const to = { transport: "udp", hostname: "${IPV4.server}", port: ${KNOCK_PORT} };
    const sockets = ${JSON.stringify(sources)}.map((hostname) =>
      Deno.listenDatagram({ transport: "udp", hostname, port: 0 }));
    const junk = crypto.getRandomValues(new Uint8Array(165));
    junk[0] = 1;
    for (const end = Date.now() + 20_000; Date.now() < end;) {
      await Promise.all(sockets.map((socket) => socket.send(junk, to)));
    }
    Deno.exit();`;
  return lab.start("other", [Deno.execPath(), "eval", "--unstable-net", script]);
}

for (const kind of ["iptables-nft", "iptables-legacy"] as const) {
  // More at once than a capture follows.
  e2e(`a stamped knock passes beside a flood of others: ${kind}`, async (lab) => {
    const { client } = await startParties(lab);
    await using site = await Site.create(lab, { clients: { alice: ["22/tcp"] }, firewall: kind });
    await using served = await site.serve();
    await using _flood = await startFlood(lab);
    await waitFor("the flood to be dropped", async () => {
      const { unstamped, rate } = await drops(lab, kind);
      return unstamped! > 1000 && rate! > 1000;
    });
    await site.knock("alice");
    await opens(client, IPV4.server, 22);
    await served.stop();
  }, { silentServer: false, needs: smallBuffer ?? lacks(kind) });
}
