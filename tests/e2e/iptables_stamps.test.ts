/** With iptables, too, the kernel tells knocks of openme's own client from all other datagrams, where it has `-m bpf`. */

import assert from "node:assert/strict";
import { bytesToHex, decodeBase64, hexToBytes, stampWindowOf } from "../../lib/crypto/keys.ts";
import { knockStamps } from "../../lib/crypto/sync.ts";
import { parseKnockCounters } from "../../lib/firewall/iptables/knocks.ts";
import { lacks } from "../support/programs.ts";
import { waitFor } from "../support/wait.ts";
import { e2e, KNOCK_PORT } from "./e2e.ts";
import { IPV4, IPV6, type Lab } from "./lab.ts";
import { openme } from "./openme.ts";
import { OPENME } from "../support/openme_command.ts";
import { startParties } from "./parties.ts";
import { Site } from "./site.ts";
import { opens } from "./timing.ts";
import { LINE_MS } from "../support/spawned.ts";

const KINDS = ["iptables-nft", "iptables-legacy"] as const;

/** What the server lists of a family's mangle table. */
function list(lab: Lab, program: string, ...flags: string[]): Promise<string> {
  return lab.run("server", [program, "-t", "mangle", ...flags, "-S"]);
}

/** What it has dropped of both families, by reason. */
async function drops(lab: Lab, kind: string): Promise<Record<string, number>> {
  const programs = [kind, kind.replace("iptables", "ip6tables")];
  const texts = await Promise.all(programs.map((each) => list(lab, each, "-v")));
  return parseKnockCounters(texts.join("\n"));
}

/** How `openme plan` says that datagrams without a stamp are treated. */
async function planned(lab: Lab, { config }: Site, path = Deno.env.get("PATH")): Promise<unknown> {
  const command = [...OPENME, "plan", "--json", "--config", config];
  const { stdout } = await lab.output("server", ["env", `PATH=${path}`, ...command]);
  const { unstamped_knocks, rules } = JSON.parse(stdout) as Record<string, string>;
  assert.equal(rules!.includes("OPENME_STAMPS"), unstamped_knocks !== "taken");
  return unstamped_knocks;
}

/** The stamps that the kernel compares, in hex. */
async function stampsIn(lab: Lab, program: string): Promise<string[]> {
  const rules = (await list(lab, program)).match(/^-A OPENME_STAMPS -m bpf .*$/gm) ?? [];
  return rules.flatMap((rule) => [...rule.matchAll(/,21 \d+ 0 (\d+)/g)])
    .map(([, word]) => Number(word).toString(16).padStart(8, "0"));
}

/** The stamp of now under a server's key, in hex. */
function stampOfNow(publicKey: Uint8Array): string {
  return bytesToHex(knockStamps(publicKey)(stampWindowOf(Date.now() / 1000)));
}

/** A datagram that is no knock but bears a stamp. */
function junk(stamp: string): Uint8Array {
  const bytes = crypto.getRandomValues(new Uint8Array(165));
  bytes[0] = 1;
  bytes.set(hexToBytes(stamp), 33);
  return bytes;
}

for (const kind of KINDS) {
  const other = kind.replace("iptables", "ip6tables");
  e2e(`stamps with ${kind}`, async (lab, t) => {
    const { client, isOpen, isClosed, knock } = await startParties(lab);
    await using site = await Site.create(lab, {
      clients: { alice: ["22/tcp"] },
      firewall: kind,
      knockTimeout: "4s", // iptables ends a grant up to a second early
      server: ["only_stamped_knocks: true"],
    });
    await using served = await site.serve(["--log-level", "debug"]);
    const { serverPublicKey } = site.keysOf("alice");

    assert.equal(await planned(lab, site), "dropped");

    await t.step("openme's client gets in, over both families", async () => {
      for (const host of [IPV4.server, IPV6.server]) {
        await site.clientConfig("alice", host);
        await site.knock("alice");
        await opens(client, host, 22);
        await waitFor("the port to close", async () => !await client.reaches(host, 22));
      }
      assert.equal((await drops(lab, kind))["unstamped"], 0);
    });

    await t.step("with only_stamped_knocks all else is dropped and counted", async () => {
      for (const host of [IPV4.server, IPV6.server]) {
        await client.send(await site.seal("alice"), host, KNOCK_PORT);
        await client.send(junk("00000000"), host, KNOCK_PORT);
      }
      await waitFor("the kernel to count", async () => (await drops(lab, kind))["unstamped"] === 4);
      assert.ok(await isClosed());
      await served.waitForLine(/event=drops .*\bkernel_unstamped=4\b/, 40_000);
      assert.ok(!served.lines.some((line) => / event=dropped /.test(line)), "it came through");
    });

    await t.step("a datagram with the stamp of now goes on, in both families", async () => {
      for (const host of [IPV4.server, IPV6.server]) {
        const from = served.lines.length;
        await client.send(junk(stampOfNow(serverPublicKey)), host, KNOCK_PORT);
        await served.waitForLine(/ event=dropped .*reason=/, LINE_MS, from);
      }
      assert.equal((await drops(lab, kind))["unstamped"], 4);
    });

    await t.step("a new key's stamps are there at once, and the old key's stay", async () => {
      const before = await stampsIn(lab, kind);
      assert.ok(before.includes(stampOfNow(serverPublicKey)), before.join());
      assert.deepEqual(await stampsIn(lab, other), before);
      const { code, stderr } = await openme(lab, "server", [
        "rotate",
        "--server",
        "--config",
        site.config,
      ]);
      assert.equal(code, 0, stderr);
      const yaml = await Deno.readTextFile(site.config);
      const newKey = decodeBase64(/^ +public_key: "?([^"\s]+)/m.exec(yaml)![1]!)!;
      assert.notDeepEqual(newKey, serverPublicKey);
      for (const program of [kind, other]) {
        await waitFor(
          "the new stamps",
          async () => (await stampsIn(lab, program)).includes(stampOfNow(newKey)),
        );
        const after = await stampsIn(lab, program);
        assert.ok(after.includes(stampOfNow(serverPublicKey)));
      }
      await site.knock("alice");
      await opens(client, IPV6.server, 22);
    });

    await t.step("new stamps are no damage, and a flushed chain is", async () => {
      await new Promise((resolve) => setTimeout(resolve, 9000)); // two checks
      assert.ok(!served.lines.some((line) => /rules_missing|check_failed/.test(line)));
      await lab.run("server", [kind, "-t", "mangle", "-F", "OPENME_STAMPS"]);
      await served.waitForLine(/event=rules_restored /, 12_000);
      assert.ok((await stampsIn(lab, kind)).includes(stampOfNow(serverPublicKey)));
    });

    await t.step("without only_stamped_knocks other programs get in", async () => {
      const from = served.lines.length;
      const yaml = await Deno.readTextFile(site.config);
      await Deno.writeTextFile(site.config, yaml.replace(/^ +only_stamped_knocks.*\n/m, ""));
      await served.waitForLine(/event=reloaded /, LINE_MS, from);
      await waitFor("a deployed client to get in", async () => {
        await knock(site);
        return await isOpen();
      });
      await waitFor("the port to close", isClosed);
    });

    await served.stop();
    assert.doesNotMatch(await list(lab, kind), /OPENME/);
  }, { needs: lacks(kind) });

  e2e(`no match for stamps: ${kind}`, async (lab) => {
    const { client, isOpen, knock } = await startParties(lab);
    await using site = await Site.create(lab, { clients: { alice: ["22/tcp"] }, firewall: kind });
    // As iptables before 1.8.8 says it; later ones warn, and fail when the rule is to be put in.
    const script = `#!/bin/sh
case "$*" in *"-m bpf"*) echo "${kind}: Couldn't load match \\\`bpf'" >&2; exit 2;; esac
PATH=\${PATH#*:} exec ${kind} "$@"
`;
    await Deno.mkdir(`${site.dir}/bin`);
    await Deno.writeTextFile(`${site.dir}/bin/${kind}`, script, { mode: 0o755 });
    const path = `${site.dir}/bin:${Deno.env.get("PATH")}`;
    await site.configure({ env: { PATH: path } });
    assert.equal(await planned(lab, site, path), "taken");
    assert.equal(await planned(lab, site), "limited");
    await using served = await site.serve();
    const line = await served.waitForLine(/event=stamps_not_filtered /);
    assert.match(line, /has no match .*bpf.*Couldn't load match/);
    for (const program of [kind, other]) {
      assert.doesNotMatch(await list(lab, program), /STAMP|bpf/);
    }
    await knock(site);
    await waitFor("the port to open", isOpen);
    await waitFor("the port to close", async () => !await isOpen());
    await site.knock("alice");
    await opens(client, IPV4.server, 22);
    assert.deepEqual(await drops(lab, kind), { size: 0, rate: 0, unstamped: 0 });
    await served.stop();
  }, { needs: lacks(kind) });
}
