/** Runs in a namespace: one NftSession, so many batches; prints each `nft` that it used and how long a batch took. */

import { NftSession } from "../../lib/firewall/nft_session.ts";

const session = new NftSession();
const batches = Number(Deno.args[0]);
await session.transact(
  "add table inet t; add set inet t s { type ipv4_addr . inet_proto . inet_service; flags interval, timeout; }",
);
const times: number[] = [];
for (let i = 0; i < batches; i++) {
  const element = `10.0.${i >> 8}.${i & 255} . tcp . 22`;
  const start = performance.now();
  await session.transact(`add element inet t s { ${element} timeout 60s }`);
  times.push(performance.now() - start);
  await session.transact(`delete element inet t s { ${element} }`);
}
let refusal = "";
await session.transact("delete element inet t s { 192.0.2.1 . tcp . 1 }").catch((error) => {
  refusal = String(error);
});
// After a refusal it goes on, and all or nothing holds for one line.
await session.transact(
  "add element inet t s { 192.0.2.2 . tcp . 1 }\nadd element inet t nothing { 1 }",
).catch(() => {});
await session.transact("add element inet t s { 192.0.2.3 . tcp . 1 }");
const tooLong = await session.transact(
  "add element inet t s { 192.0.2.4 . tcp . 1 }; ".repeat(300),
);
session.close();
times.sort((a, b) => a - b);
// deno-lint-ignore no-console
console.log(JSON.stringify({ refusal, tooLong, p50Ms: times[times.length >> 1] }));
Deno.exit();
