/**
 * From datagram to rule: how long after a knock left the sender the server says that the kernel has its rule. The sender
 * is on the server's own host, so that no network is in the figure.
 */

import { labMissing } from "../tests/e2e/e2e.ts";
import { Lab } from "../tests/e2e/lab.ts";
import { Site } from "../tests/e2e/site.ts";
import { print } from "./run.ts";

const KNOCKS = 40;

/** Measures and prints, or says why it cannot. */
export async function datagramToRule(): Promise<void> {
  const missing = await labMissing();
  if (missing !== undefined) return print(`datagram to rule: not measured, ${missing}`);
  await using lab = await Lab.create();
  const names = Array.from({ length: KNOCKS }, (_, i) => `client${i}`);
  await using site = await Site.create(lab, {
    clients: Object.fromEntries(names.map((name) => [name, ["22/tcp"]])),
    knockTimeout: "30s",
  });
  await using served = await site.serve();
  const agent = await lab.agent("server");
  const times: number[] = [];
  for (const [i, name] of names.entries()) {
    const datagram = await site.seal(name, { target: `198.51.100.${i + 1}` });
    const granted = served.waitForLine(new RegExp(`event=granted client=${name} `));
    const start = performance.now();
    await agent.send(datagram, "127.0.0.1", 54154);
    await granted;
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  const at = (share: number) => (times[Math.floor(share * (times.length - 1))] ?? NaN).toFixed(1);
  print(
    `datagram to rule, ${KNOCKS} knocks: p50 ${at(0.5)} ms, p95 ${at(0.95)} ms`,
  );
}
