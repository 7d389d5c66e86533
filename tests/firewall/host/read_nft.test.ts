/** What openme reads of a host's own nftables rules: where it needs a hole, where it has one, and what is open. */

import assert from "node:assert/strict";
import { DEFAULT_MARK } from "../../../lib/config/firewall.ts";
import { OpenmeError } from "../../../lib/values/errors.ts";
import { type HostChain, mayDrop } from "../../../lib/firewall/host/chain.ts";
import { holeChanges, NO_HOLES, renderNftHoles } from "../../../lib/firewall/host/hole.ts";
import { portsOpenToEveryone } from "../../../lib/firewall/host/reachability.ts";
import { parseHostChains as parseAllChains } from "../../../lib/firewall/host/read_nft.ts";
import { requireEntries } from "../../../lib/firewall/host/nft_listing.ts";
import { HOLE_COMMENT } from "../../../lib/firewall/plan.ts";
import { formatPortRange } from "../../../lib/values/ports.ts";
import { type Host, HOSTS } from "./hosts.ts";
import { type Namespace, namespaceTest } from "../namespace.ts";
import { ranges } from "../support.ts";

const GUARDED = ranges("22/tcp", "443/tcp", "8080-8090/tcp", "53/udp");
const RULE = "meta mark & 0x40000000 == 0x40000000 accept";

/** What traffic for the host itself passes; forwarded traffic has its own tests. */
function parseHostChains(json: string): HostChain[] {
  return parseAllChains(requireEntries(json)).filter(({ hook }) => hook === "input");
}

function renderHoles(chains: readonly HostChain[], mark: number): string {
  return renderNftHoles(holeChanges(chains, { mark, isWanted: () => true }));
}

function renderHoleRemoval(chains: readonly HostChain[]): string {
  return renderNftHoles(holeChanges(chains, NO_HOLES));
}

const nameOf = ({ family, table, name }: HostChain) => `${family} ${table} ${name}`;

function goldenOf({ name }: Host): URL {
  return new URL(`../golden/${name}.json`, import.meta.url);
}

/** What openme makes of a listing. */
function readListing(json: string) {
  const chains = parseHostChains(json);
  return {
    chains: Object.fromEntries(chains.map((chain) => [nameOf(chain), mayDrop(chain)])),
    open: portsOpenToEveryone(GUARDED, chains)?.ports.map(formatPortRange) ?? [],
    holes: renderHoles(chains, DEFAULT_MARK),
    removal: renderHoleRemoval(chains),
  };
}

function expectedOf({ chains, open }: Host) {
  const holes = Object.entries(chains).filter(([, drops]) => drops).map(([name]) =>
    `insert rule ${name} ${RULE} comment "${HOLE_COMMENT}"\n`
  ).join("");
  return { chains, open, holes, removal: "" };
}

for (const host of HOSTS) {
  Deno.test(`the rules of a host ${host.why} are understood`, async () => {
    const json = await Deno.readTextFile(goldenOf(host));
    assert.deepEqual(readListing(json), expectedOf(host));
  });
}

async function list(namespace: Namespace): Promise<string> {
  return await namespace.nft(["--json", "--terse", "list", "ruleset"]);
}

/** Gives the namespace that host's rules. False where it has no iptables-nft. */
async function setUp(namespace: Namespace, { nft, iptables }: Host): Promise<boolean> {
  await namespace.nft(["flush", "ruleset"]);
  if (nft !== undefined) await namespace.nft(["-f", "-"], nft);
  for (const program of iptables ? ["iptables-nft", "ip6tables-nft"] : []) {
    for (const line of iptables ?? []) {
      const isIpv4Only = line.includes("192.0.2.");
      if (isIpv4Only && program === "ip6tables-nft") continue;
      try {
        await namespace.run({ program, args: line.split(" "), timeoutMs: 10_000 });
      } catch (error) {
        if (/there is no such program|No such file or directory/.test(String(error))) return false;
        throw error;
      }
    }
  }
  return true;
}

namespaceTest(
  "the real nft lists these hosts as they are read, takes the holes, and gives them up",
  async (namespace) => {
    for (const host of HOSTS) {
      if (!await setUp(namespace, host)) continue;
      const listing = await list(namespace);
      if (Deno.env.get("OPENME_GOLDEN") === "write") {
        const text = JSON.stringify(JSON.parse(listing), undefined, 2) + "\n";
        await Deno.writeTextFile(goldenOf(host), text);
        continue;
      }
      assert.deepEqual(readListing(listing), expectedOf(host), host.name);

      const before = await namespace.nft(["--stateless", "list", "ruleset"]);
      const holes = renderHoles(parseHostChains(listing), DEFAULT_MARK);
      if (holes) await namespace.nft(["-f", "-"], holes);
      const withHoles = parseHostChains(await list(namespace));
      for (const chain of withHoles) {
        assert.deepEqual(
          chain.rules.map(({ isHole }, i) => isHole && i).filter((at) => at !== false),
          mayDrop(chain) ? [0] : [],
          `${host.name}: the hole of ${nameOf(chain)} is its first rule`,
        );
      }
      // Once there, no second one; and it changes nothing of what is said about the host.
      assert.equal(renderHoles(withHoles, DEFAULT_MARK), "", host.name);
      assert.deepEqual(
        withHoles.map((chain) => [nameOf(chain), mayDrop(chain)]),
        Object.entries(host.chains),
      );
      const open = portsOpenToEveryone(GUARDED, withHoles)?.ports.map(formatPortRange) ?? [];
      assert.deepEqual(open, host.open, host.name);

      const removal = renderHoleRemoval(withHoles);
      if (removal) await namespace.nft(["-f", "-"], removal);
      assert.equal(await namespace.nft(["--stateless", "list", "ruleset"]), before, host.name);
    }
  },
);

Deno.test("portsOpenToEveryone() says why", async () => {
  const chainsOf = async (name: string) =>
    parseHostChains(await Deno.readTextFile(new URL(`../golden/${name}.json`, import.meta.url)));
  assert.deepEqual(portsOpenToEveryone(GUARDED, []), {
    ports: GUARDED,
    why: "no firewall chain of this host drops what it does not know",
  });
  assert.equal(portsOpenToEveryone(GUARDED, await chainsOf("host_policy_drop")), undefined);
  assert.equal(
    portsOpenToEveryone(GUARDED, await chainsOf("host_accepts"))?.why,
    "a rule of this host accepts 22/tcp 443/tcp 8085-8090/tcp from everyone",
  );
});

Deno.test("parseHostChains() leaves out chains of other families", () => {
  const chain = {
    table: "filter",
    name: "input",
    handle: 1,
    type: "filter",
    hook: "input",
    prio: 0,
  };
  const families = ["bridge", "arp", "netdev", "ip", "ip6", "inet"];
  const nftables = families.map((family) => ({ chain: { family, ...chain, policy: "drop" } }));
  const chains = parseHostChains(JSON.stringify({ nftables }));
  assert.deepEqual(chains.map(({ family }) => family), ["ip", "ip6", "inet"]);
});

Deno.test("a text that is no listing is an error with a hint", () => {
  for (const text of ["", "nonsense", "[]", "{}", "null", '{"nftables": 5}', '{"nftables": ']) {
    assert.throws(() => parseHostChains(text), (error) => {
      assert.ok(error instanceof OpenmeError, text);
      assert.equal(error.code, "FIREWALL");
      assert.equal(error.message, "cannot read what nft lists of this host's rules");
      assert.match(String(error.hint), /openme needs nftables 1\.0 or newer/);
      return true;
    });
  }
  assert.deepEqual(parseHostChains('{"nftables": []}'), []);
});

Deno.test("a name that could be more than a name is never written into a rule", () => {
  for (
    const [table, name] of [["filter", "in; flush ruleset"], ['f"', "input"], ["f", "a\nb"], [
      "",
      "x",
    ]]
  ) {
    const chain: HostChain = {
      program: "nft",
      family: "inet",
      table: table!,
      name: name!,
      hook: "input",
      priority: 0,
      owned: false,
      dropsByPolicy: true,
      rules: [{ handle: 1, isHole: true, expressions: [] }],
    };
    for (
      const render of [
        () => renderHoles([{ ...chain, rules: [] }], DEFAULT_MARK),
        () => renderHoleRemoval([chain]),
      ]
    ) {
      assert.throws(render, (error) => {
        assert.ok(error instanceof OpenmeError);
        assert.equal(error.code, "FIREWALL");
        assert.match(error.message, /^cannot put a rule into the host's chain ".*" of table ".*"$/);
        assert.match(error.message, /^[\x20-\x7e]*$/);
        return true;
      });
    }
  }
});
