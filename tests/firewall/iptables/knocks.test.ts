/** The rules for the knock port: which datagrams count as stamped, what the programs take, and what is counted. */

import assert from "node:assert/strict";
import { bytesToHex, concatBytes, hexToBytes } from "../../../lib/crypto/keys.ts";
import type { KnockStamp } from "../../../lib/firewall/backend.ts";
import { examineMangle } from "../../../lib/firewall/iptables/examine.ts";
import {
  dropsUnstamped,
  parseKnockCounters,
  renderKnockRules,
  renderStamps,
} from "../../../lib/firewall/iptables/knocks.ts";
import { parseOwnChains } from "../../../lib/firewall/iptables/own_chains.ts";
import { renderChains } from "../../../lib/firewall/iptables/rules.ts";
import { IptablesProgram } from "../../../lib/firewall/host/iptables.ts";
import type { Family } from "../../../lib/firewall/host/families.ts";
import { OpenmeError } from "../../../lib/values/errors.ts";
import vectors from "../../vectors/stamps.json" with { type: "json" };
import { lacks } from "../../support/programs.ts";
import { namespaceTest } from "../namespace.ts";
import { planOf } from "../support.ts";

const KINDS = ["iptables-nft", "iptables-legacy"] as const;

function stamp(word: number): KnockStamp {
  return { word, timeoutMs: 1000 };
}

/** So many stamps, with all digits that one can have. */
function stamps(count: number): KnockStamp[] {
  return Array.from({ length: count }, (_, i) => stamp(0xffff_ffff - i));
}

/** The rules of a family. */
function rules(family: Family, some: readonly KnockStamp[] | undefined, plan = planOf()): string[] {
  return renderKnockRules(family, plan, { stamps: some, allow: "OPENME_ALLOW" });
}

/** Everything that a guard without grants is, as one restore. */
function chains(family: Family, some: readonly KnockStamp[] | undefined, plan = planOf()): string {
  return renderChains(family, plan, {
    openings: [],
    kept: [],
    stamps: some,
    hole: false,
    owner: undefined,
    present: parseOwnChains(""),
    madeTable: false,
  });
}

/** An IP packet with a datagram of 165 bytes that bears these four at offset 33. */
function packet(family: Family, word: string, options = 0): Uint8Array {
  const header = new Uint8Array(family === 4 ? 20 + options : 40);
  header[0] = family === 4 ? 0x40 | header.length / 4 : 0x60;
  const before = new Uint8Array(8 + 33).fill(0xa5);
  return concatBytes(header, before, hexToBytes(word), new Uint8Array(165 - 33 - 4));
}

/** Whether any rule takes the packet, by the classic BPF of linux/filter.h. */
function isStamped(text: readonly string[], packet: Uint8Array): boolean {
  const view = new DataView(packet.buffer);
  return text.some((line) => {
    const bytecode = /^-A OPENME_STAMPS -m bpf --bytecode "(.*)" -j RETURN$/.exec(line)?.[1];
    if (bytecode === undefined) return false;
    const [count, ...lines] = bytecode.split(",");
    assert.equal(lines.length, Number(count));
    const program = lines.map((each) => each.split(" ").map(Number));
    let [a, x] = [0, 0];
    for (let at = 0; at < program.length; at++) {
      const [code, ifTrue, ifFalse, k] = program[at]!;
      if (code === 0x06) return k !== 0; // ret #k
      else if (code === 0xb1) x = 4 * (packet[k!]! & 0xf); // ldxb 4*([k]&0xf)
      else if (code === 0x40) a = view.getUint32(x + k!); // ld [x + k]
      else if (code === 0x20) a = view.getUint32(k!); // ld [k]
      else if (code === 0x15) at += a === k ? ifTrue! : ifFalse!; // jeq #k
      else assert.fail(`instruction ${code}`);
    }
    throw new Error("the program does not end");
  });
}

Deno.test("a packet is stamped if it bears a stamp of the vectors, in both families", () => {
  const words = vectors.cases.map(({ stamp }) => parseInt(stamp, 16));
  // Beside so many others that one rule does not hold all.
  const all = [...stamps(100), ...words.map(stamp)];
  for (const family of [4, 6] as const) {
    const text = rules(family, all);
    for (const { stamp } of vectors.cases) {
      assert.ok(isStamped(text, packet(family, stamp)), stamp);
      const last = hexToBytes(stamp);
      last[3]! ^= 1;
      assert.ok(!isStamped(text, packet(family, bytesToHex(last))));
    }
  }
  assert.ok(isStamped(rules(4, all), packet(4, vectors.cases[0]!.stamp, 40)), "IPv4 options");
  assert.ok(!isStamped(rules(4, []), packet(4, "ffffffff")));
});

Deno.test("no argument is longer than iptables-restore takes", () => {
  for (const family of [4, 6] as const) {
    const arguments_ = rules(family, stamps(470)).flatMap((line) => line.match(/"[^"]*"/g) ?? []);
    assert.equal(arguments_.length, 12);
    for (const each of arguments_) assert.ok(each.length < 1023 && each.split(",").length <= 65);
  }
});

Deno.test("datagrams without a stamp share one rate, or are dropped ahead of the meter of the sources", () => {
  const order = (onlyStampedKnocks: boolean, some?: readonly KnockStamp[]) =>
    rules(4, some, planOf({ onlyStampedKnocks })).map((line) =>
      line.replace(/--(length|hashlimit-\w+|bytecode) .*(?= -[jg])/, "…").replaceAll("OPENME_", "")
    );
  const size = "-A KNOCK -m length ! … -j DROP";
  const meter = "-A KNOCK -m hashlimit … -j DROP";
  const compare = "-A KNOCK -j STAMPS";
  const allow = "-A KNOCK -g ALLOW";
  const ends = ["-A STAMPS -m bpf … -j RETURN", "-A STAMPS -g UNSTAMPED"];
  assert.deepEqual(order(false, stamps(1)), [
    ...[size, meter, compare, allow, ...ends],
    "-A UNSTAMPED -m hashlimit … -j DROP",
  ]);
  assert.deepEqual(order(true, stamps(1)), [
    ...[size, compare, meter, allow, ...ends],
    "-A UNSTAMPED -j DROP",
  ]);
  // Where rules cannot compare stamps, only sizes and sources count.
  for (const only of [false, true]) assert.deepEqual(order(only), [size, meter, allow]);
});

Deno.test("new stamps are no change of the guard, and all else of their chain is", () => {
  const listing = (restore: string) => restore.replaceAll(/^:(\w+) .*$/gm, "-N $1");
  const fixed = (text: string) => parseOwnChains(listing(text)).fixed;
  const text = chains(4, stamps(2));
  assert.equal(fixed(text), fixed(chains(4, stamps(90))));
  const end = "-A OPENME_STAMPS -g OPENME_UNSTAMPED\n";
  assert.ok(text.includes(end));
  assert.notEqual(fixed(text), fixed(text.replace(end, "")));
  assert.notEqual(fixed(text), fixed(chains(4, undefined)));
});

Deno.test("a guard that treats unstamped knocks otherwise than the plan is told of, and guards", () => {
  const planned = (onlyStampedKnocks: boolean) => planOf({ onlyStampedKnocks });
  const listing = (only: boolean, some?: readonly KnockStamp[]) =>
    chains(6, some, planned(only)).replaceAll(/^:(\w+) .*$/gm, "-N $1")
      .replace("-I PREROUTING 1 ", "-A PREROUTING ");
  for (const only of [false, true]) {
    const right = { wrong: [], unguarded: [] };
    assert.deepEqual(examineMangle(planned(only), listing(only, stamps(3))), right);
    // There the server tells them apart.
    assert.deepEqual(examineMangle(planned(only), listing(only)), right);
    const { wrong, unguarded } = examineMangle(planned(only), listing(!only, stamps(3)));
    assert.deepEqual(unguarded, []);
    assert.equal(wrong.length, 1);
    assert.match(wrong[0]!, /^the chain OPENME_UNSTAMPED .* though only_stamped_knocks is /);
  }
});

Deno.test("what was dropped is counted by reason", () => {
  const listing = `-P PREROUTING ACCEPT -c 9 9
-N OPENME
-A OPENME_LOCAL -p udp -m udp --dport 54154 -c 900 9 -g OPENME_KNOCK
-A OPENME_KNOCK -m length ! --length 193:233 -c 3 579 -j DROP
-A OPENME_KNOCK -m hashlimit --hashlimit-above 2000/sec --hashlimit-name openme4 -c 40 772 -j DROP
-A OPENME_KNOCK -c 500 9 -j OPENME_STAMPS
-A OPENME_UNSTAMPED -m hashlimit --hashlimit-name openme4_rest -c 500 9 -j DROP
-A OPENME_UNSTAMPED -c 6000 9 -j DROP
-A OPENME_GRANTS -c 77 9 -j DROP
`;
  assert.deepEqual(parseKnockCounters(listing), { size: 3, rate: 40, unstamped: 6500 });
  assert.equal(dropsUnstamped(() => []), undefined);
});

Deno.test("a match that program or kernel lacks is told, with the reason", async () => {
  const asked: string[] = [];
  const found = (outcome: () => string) =>
    IptablesProgram.find("iptables", {
      run: ({ program, args, fatal }) => {
        if (args[0] === "--version") return Promise.resolve("iptables v1.8.9 (nf_tables)");
        asked.push([program, ...args].join(" "));
        // iptables 1.8.8 and later succeed, and warn.
        assert.match(
          "Warning: Extension bpf revision 0 not supported, missing kernel module?",
          fatal!,
        );
        return Promise.resolve().then(outcome);
      },
    });
  assert.equal(await (await found(() => "help")).matchFlaw("bpf"), undefined);
  const broken = await found(() => {
    throw new OpenmeError("COMMAND", "iptables failed: Couldn't load match `bpf'");
  });
  assert.equal(
    await broken.matchFlaw("bpf"),
    "iptables or the kernel has no match \"bpf\": iptables failed: Couldn't load match `bpf'",
  );
  assert.deepEqual(asked, Array(2).fill("iptables -m bpf --help"));
});

for (const kind of KINDS) {
  namespaceTest(`${kind} takes the rules, lists them, and takes new stamps`, async (namespace) => {
    const program = await IptablesProgram.find(kind, { run: namespace.run });
    assert.equal(await program.matchFlaw("bpf"), undefined);
    assert.match(await program.matchFlaw("nosuch") ?? "", /Couldn't load match/);
    for (const only of [false, true]) {
      const plan = planOf({ onlyStampedKnocks: only });
      for (const family of [4, 6] as const) {
        const list = () => program.list(family, "mangle");
        await program.restore(family, chains(family, stamps(470), plan));
        const before = await list();
        assert.equal(before.match(/-A OPENME_STAMPS -m bpf /g)?.length, 12);
        assert.deepEqual(examineMangle(plan, before), { wrong: [], unguarded: [] });
        await program.restore(family, renderStamps(family, stamps(14)));
        const after = await list();
        assert.equal(after.match(/-A OPENME_STAMPS -m bpf /g)?.length, 1);
        assert.equal(parseOwnChains(after).fixed, parseOwnChains(before).fixed);
        const counted = await program.list(family, "mangle", { counters: true });
        assert.deepEqual(parseKnockCounters(counted), { size: 0, rate: 0, unstamped: 0 });
      }
    }
  }, { needs: lacks(kind) });
}
