/** Runs in a namespace: one NftSession, so many batches; prints what became of the odd ones. */

import { NftSession } from "../../lib/firewall/nft/session.ts";

const session = new NftSession();
const batches = Number(Deno.args[0]);
await session.transact(
  "add table inet t; add set inet t s { type ipv4_addr . inet_proto . inet_service; flags interval, timeout; }",
);
for (let i = 0; i < batches; i++) {
  const element = `10.0.${i >> 8}.${i & 255} . tcp . 22`;
  await session.transact(`add element inet t s { ${element} timeout 60s }`);
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
const together = await Promise.all([
  session.transact(
    "add element inet t s { 192.0.2.5 . tcp . 1 }; delete element inet t s { 192.0.2.5 . tcp . 1 }",
  ),
  session.transact("add element inet t s { 192.0.2.6 . tcp . 1 }"),
]);
session.close();
// deno-lint-ignore no-console
console.log(JSON.stringify({ refusal, tooLong, together }));
Deno.exit();
