import assert from "node:assert/strict";
import { HeardHosts } from "../../lib/fleet/hosts.ts";

const ALIVE = { version: "1.0.0", clients: 2, hints: [1, 2], lagMs: null };

function said(host: string, atMs: number) {
  return { host, claimant: `${host}1`, atMs, alive: ALIVE };
}

Deno.test("hosts are known from when they were heard last: present for 25 s, listed for 100 s", () => {
  const hosts = new HeardHosts();
  hosts.heard(said("b", 1_003_000), 1_000_000);
  hosts.heard(said("a", 1_000_000), 1_000_000);
  assert.deepEqual(hosts.list(1_000_000).map(({ host, aheadMs }) => [host, aheadMs]), [
    ["a", 0],
    ["b", 3000],
  ]);
  assert.deepEqual(hosts.present(1_025_000).map(({ host }) => host), ["a", "b"]);
  assert.deepEqual(hosts.present(1_025_001), []);
  assert.equal(hosts.list(1_100_000).length, 2);
  assert.equal(hosts.list(1_100_001).length, 0);
});

Deno.test("two hosts of one name are two; one that was restarted is one", () => {
  const hosts = new HeardHosts();
  const other = (atMs: number) => ({ ...said("a", atMs), claimant: "a2" });
  hosts.heard(said("a", 0), 0);
  hosts.heard(other(1000), 1000);
  assert.equal(hosts.list(1000).length, 2);
  hosts.heard(other(10_000), 10_000);
  const restarted = { ...said("a", 17_000), claimant: "a3" };
  hosts.heard(restarted, 17_000);
  assert.deepEqual(hosts.list(17_000).map(({ claimant }) => claimant), ["a2", "a3"]);
});

Deno.test("the longest unheard of too many hosts are forgotten", () => {
  const hosts = new HeardHosts();
  for (let i = 0; i < 3000; i++) hosts.heard(said(`host${i}`, i), i);
  hosts.heard(said("host2500", 3000), 3000);
  const names = hosts.list(3000).map(({ host }) => host);
  assert.equal(names.length, 1024);
  assert.ok(
    !names.includes("host1975") && names.includes("host1976") && names.includes("host2500"),
  );
});
