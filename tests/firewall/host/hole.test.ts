/** The bit of openme's holes: which rules of others use it, and that a hole for another bit does not stay. */

import assert from "node:assert/strict";
import { DEFAULT_MARK } from "../../../lib/config/firewall.ts";
import type { HostChain } from "../../../lib/firewall/host/chain.ts";
import {
  holeChanges,
  iptablesHoleRule,
  nftHoleRule,
  NO_HOLES,
  renderIptablesHoles,
  renderNftHoles,
} from "../../../lib/firewall/host/hole.ts";
import { HOLE_COMMENT } from "../../../lib/firewall/plan.ts";
import {
  findInIptables,
  findInNft,
  requireFreeMark,
} from "../../../lib/firewall/host/mark_users.ts";
import { parseHostChains } from "../../../lib/firewall/host/read_nft.ts";
import { requireEntries } from "../../../lib/firewall/host/nft_listing.ts";
import { namespaceTest } from "../namespace.ts";
import { parseFilterChains } from "../support.ts";

const MARK = DEFAULT_MARK;
const OTHER = 0x2000_0000;

function changes(chains: readonly HostChain[]) {
  return holeChanges(chains, { mark: MARK, isWanted: () => true });
}

Deno.test("a rule of iptables uses the bits of its mask, or of a whole mark", () => {
  const rows = [
    ["-m mark --mark 0x40000000/0x40000000 -j ACCEPT", true],
    ["-m mark ! --mark 0x0/0xf0000000 -j DROP", true],
    ["-j MARK --set-xmark 0x40000000/0x40000000", true],
    ["-j MARK --set-xmark 0x0/0x40000000", true],
    ["-j MARK --set-xmark 0x10000000/0xf0000000", true],
    ["-j MARK --set-xmark 0x50000000/0xffffffff", true],
    ["-m mark --mark 0xc0000000 -j ACCEPT", true],
    ["-j MARK --set-xmark 0x1/0xffffffff", false],
    ["-m mark --mark 0xca6c -j ACCEPT", false],
    ["-j MARK --set-xmark 0x4000/0x4000", false],
    ["-j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff", false],
    ["-p tcp -m tcp --dport 22 -j ACCEPT", false],
  ] as const;
  for (const [rule, uses] of rows) {
    const listing = `*mangle\n:PREROUTING ACCEPT [0:0]\n[3:4] -A cali-PREROUTING ${rule}\nCOMMIT\n`;
    const expected = uses ? "mangle cali-PREROUTING" : undefined;
    assert.equal(findInIptables(listing, MARK), expected, rule);
    assert.equal(findInIptables(listing.replace("[3:4] ", ""), MARK), expected, rule);
  }
  const own = [
    `-A OPENME_ALLOW -j MARK --set-xmark 0x40000000/0x40000000`,
    `-A INPUT ${iptablesHoleRule(MARK)}`,
  ];
  assert.equal(findInIptables(`*filter\n${own.join("\n")}\n`, MARK), undefined);
});

Deno.test("a hole for another bit goes, where one is wanted and where none is", () => {
  const filter = (policy: string, ...rules: string[]) =>
    parseFilterChains(
      "ip",
      [`-P INPUT ${policy}`, ...rules.map((r) => `-A INPUT ${r}`)].join("\n"),
    );
  const [right, left] = [iptablesHoleRule(MARK), iptablesHoleRule(OTHER)];
  const rows = [
    { rules: [right, "-j x"], policy: "DROP", lines: [] },
    { rules: [left], policy: "DROP", lines: [`-D INPUT ${left}`, `-I INPUT 1 ${right}`] },
    {
      rules: [right, left],
      policy: "DROP",
      lines: [`-D INPUT ${right}`, `-D INPUT ${left}`, `-I INPUT 1 ${right}`],
    },
    { rules: [left], policy: "ACCEPT", lines: [`-D INPUT ${left}`] },
    { rules: ["-j ACCEPT"], policy: "ACCEPT", lines: [] },
  ];
  for (const { rules, policy, lines } of rows) {
    const text = renderIptablesHoles(changes(filter(policy, ...rules)));
    assert.deepEqual(text.split("\n").slice(1, -2), lines, rules.join("; "));
  }
  assert.equal(
    renderIptablesHoles(holeChanges(filter("DROP", left), NO_HOLES)),
    `*filter\n-D INPUT ${left}\nCOMMIT\n`,
  );
});

namespaceTest(
  "the real nft lists whose rules use the bit, and takes holes for another bit out",
  async (namespace) => {
    const rules = async (...lines: string[]) => {
      await namespace.nft(["flush", "ruleset"]);
      const chain = `type filter hook input priority 0; policy drop\n${lines.join("\n")}\n`;
      await namespace.nft(["-f", "-"], `table inet host {\nchain c {\n${chain}}\n}\n`);
      return await namespace.nft(["--json", "--terse", "list", "ruleset"]);
    };
    const rows = [
      ["meta mark & 0x40000000 == 0x40000000 accept", true],
      ["meta mark and 0xf0000000 != 0 accept", true],
      ["meta mark 0x40000001 accept", true],
      ["meta mark { 0x1, 0x40000000 } accept", true],
      ["meta mark { 0x1-0x2, 0x30000000-0x50000000 } accept", true],
      ["meta mark 0x30000000-0x80000000 accept", true],
      ["meta mark and 0x80000000 != 0 accept", false],
      ["meta mark 0x1-0x2 accept", false],
      ["meta mark set 0x40000000", true],
      ["meta mark set meta mark or 0x40000000", true],
      ["meta mark set meta mark and 0xbfffffff", true],
      ["meta mark set mark and 0xffff0000 or 0x40000001", true],
      ["meta mark set meta mark xor 0x40000000", true],
      ["meta mark 0x1 accept", false],
      ["meta mark & 0x0000ff00 == 0x0000ca00 accept", false],
      ["meta mark set 0x1", false],
      ["meta mark set meta mark or 0x4000", false],
      ["meta mark set meta mark and 0xffffbfff", false],
      ["meta mark set ct mark", false],
      ["tcp dport 22 accept", false],
    ] as const;
    for (const [rule, uses] of rows) {
      const found = findInNft(requireEntries(await rules(rule)), MARK, { isShown: false });
      assert.equal(found, uses ? "inet host c" : undefined, rule);
    }
    const [right, left] = [MARK, OTHER].map((each) =>
      `${nftHoleRule(each)} comment "${HOLE_COMMENT}"`
    );
    const own = requireEntries(await rules(right!));
    assert.equal(findInNft(own, MARK, { isShown: false }), undefined, "its own");
    assert.equal(renderNftHoles(changes(parseHostChains(requireEntries(await rules(right!))))), "");
    for (const lines of [[left!], [right!, left!], [left!, right!]]) {
      const text = renderNftHoles(changes(parseHostChains(requireEntries(await rules(...lines)))));
      await namespace.nft(["-f", "-"], text);
      const listing = await namespace.nft(["list", "ruleset"]);
      assert.equal(listing.split(HOLE_COMMENT).length, 2, "one hole");
      assert.ok(listing.includes(`policy drop;\n\t\t${nftHoleRule(MARK)} `), listing);
    }
  },
);

namespaceTest(
  "requireFreeMark() names the chain, whichever program loaded it",
  async (namespace) => {
    const refuses = async (mark: number, chain: string) =>
      await assert.rejects(
        requireFreeMark(mark, namespace.run),
        (error: Error & { hint?: string }) => {
          assert.equal(
            error.message,
            `the host's chain ${chain} uses the bit 0x${mark.toString(16)} of the packet mark, ` +
              "by which openme's own rule lets in what was knocked for",
          );
          assert.match(
            error.hint!,
            /^give openme a bit that nothing else here uses: server\.mark: /,
          );
          return true;
        },
      );
    await requireFreeMark(MARK, namespace.run);
    const rule = "meta mark set meta mark or 0x40000000";
    await namespace.nft(["-f", "-"], `table ip calico {\nchain cali-mark {\n${rule}\n}\n}\n`);
    await refuses(MARK, "ip calico cali-mark");
    await requireFreeMark(OTHER, namespace.run);
    await namespace.nft(["flush", "ruleset"]);
    for (const [program, family] of [["iptables-nft", "ip"], ["ip6tables-nft", "ip6"]] as const) {
      const args = ["-t", "mangle", "-A", "PREROUTING", "-j", "MARK", "--set-xmark"];
      const run = (bits: string) =>
        namespace.run({ program, args: [...args, bits], timeoutMs: 10_000 });
      const isThere = await run("0x4000/0x4000").then(() => true, () => false);
      if (!isThere) continue; // the texts are tested above
      await requireFreeMark(MARK, namespace.run);
      await run("0x40000000/0x40000000");
      await refuses(MARK, `${family} mangle PREROUTING`);
      await requireFreeMark(OTHER, namespace.run);
      await namespace.nft(["flush", "ruleset"]);
    }
  },
);
