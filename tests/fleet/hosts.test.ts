import assert from "node:assert/strict";
import { HeardHosts } from "../../lib/fleet/hosts.ts";

const ALIVE = { version: "1.0.0", clients: 2, hints: [1, 2], lagMs: null };

function said(host: string, atMs: number) {
  return { host, claimant: `${host}1`, atMs, alive: ALIVE };
}

/** A moment, ms, on both clocks. */
function at(ms: number, steadyMs = ms) {
  return { wallNs: BigInt(ms) * 1_000_000n, steadyMs };
}

Deno.test("hosts are known from when they were heard last, for 100 s", () => {
  const hosts = new HeardHosts();
  hosts.heard(said("b", 1_003_000), at(1_000_000));
  hosts.heard(said("a", 1_000_000), at(1_000_000));
  assert.deepEqual(hosts.list(at(1_000_000)).map(({ host, aheadMs }) => [host, aheadMs]), [
    ["a", 0],
    ["b", 3000],
  ]);
  assert.equal(hosts.list(at(1_100_000)).length, 2);
  assert.equal(hosts.list(at(1_100_001)).length, 0);
});

Deno.test("a clock that was set makes no host come or go", () => {
  const hosts = new HeardHosts();
  hosts.heard(said("a", 1_000_000), at(1_000_000));
  assert.equal(hosts.list(at(9_000_000, 1_100_000)).length, 1);
  assert.equal(hosts.list(at(1, 1_100_001)).length, 0);
});

Deno.test("two hosts of one name are two; one that was restarted is one", () => {
  const hosts = new HeardHosts();
  const other = (atMs: number) => ({ ...said("a", atMs), claimant: "a2" });
  hosts.heard(said("a", 0), at(0));
  hosts.heard(other(1000), at(1000));
  assert.equal(hosts.list(at(15_000)).length, 2);
  assert.deepEqual(hosts.list(at(15_001)).map(({ claimant }) => claimant), ["a2"]);
  hosts.heard(other(10_000), at(10_000));
  const restarted = { ...said("a", 17_000), claimant: "a3" };
  hosts.heard(restarted, at(17_000));
  assert.deepEqual(hosts.list(at(17_000)).map(({ claimant }) => claimant), ["a2", "a3"]);
});

Deno.test("the longest unheard of too many hosts are forgotten", () => {
  const hosts = new HeardHosts();
  for (let i = 0; i < 3000; i++) hosts.heard(said(`host${i}`, i), at(i));
  hosts.heard(said("host2500", 3000), at(3000));
  const names = hosts.list(at(3000)).map(({ host }) => host);
  assert.equal(names.length, 1024);
  assert.ok(
    !names.includes("host1975") && names.includes("host1976") && names.includes("host2500"),
  );
});
