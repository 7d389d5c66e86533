/**
 * The portable archive in a root of busybox, without any glibc but its own: as a client that knocks by address and by
 * name, and as a server with nft. Run by name, with OPENME_PACKAGES, as .ci/run does.
 */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { e2e, KNOCK_PORT } from "../e2e/e2e.ts";
import { IPV4 } from "../e2e/lab.ts";
import { Site } from "../e2e/site.ts";
import { waitFor } from "../support/wait.ts";
import { pack } from "../../scripts/package/portable.ts";
import { sha256 } from "../../scripts/package/sums.ts";
import { findProgram } from "../support/programs.ts";
import { BusyboxRoot } from "./busybox_root.ts";
import { NAMES, packagePath, packagesMissing, testPackages } from "./dist.ts";
import { LINE_MS } from "../support/spawned.ts";

const PORT = 4022;
/** As OpenWrt's firewall4 guards a router whose wan is eth0. */
const FW4 = `table inet fw4 {
  chain input {
    type filter hook input priority filter; policy drop;
    iif "lo" accept
    ct state vmap { established : accept, related : accept }
    tcp flags & (fin | syn | rst | ack) == syn jump syn_flood
    iifname "eth0" jump input_wan
    jump handle_reject
  }
  chain syn_flood { limit rate 25/second burst 50 packets return; drop; }
  chain input_wan { icmp type echo-request counter accept; jump reject_from_wan; }
  chain reject_from_wan { iifname "eth0" counter jump handle_reject; }
  chain handle_reject {
    meta l4proto tcp reject with tcp reset
    reject with icmpx type port-unreachable
  }
}
`;
const OPENME = "/usr/bin/openme";
const FOLDER = "/usr/lib/openme";

const needs = await packagesMissing("busybox", "xz");

e2e("the portable archive, in a root without glibc", async (lab, t) => {
  await using root = await BusyboxRoot.create();
  await root.unpack(packagePath(NAMES.portable));
  const { server, other } = await lab.agents("server", "other");
  await server.listen({ tcp: [PORT] });
  const client = await lab.agent("client");

  await t.step("it starts by its own loader and libraries alone", async () => {
    assert.match(await root.run(lab, "client", [OPENME, "--version"]), /^openme \d/);
    const loader = [...Deno.readDirSync(root.path + FOLDER)].find(({ name }) => /^ld-/.test(name))!;
    const list = [`${FOLDER}/${loader.name}`, "--list", OPENME];
    for (const line of (await root.run(lab, "client", list)).trim().split("\n")) {
      assert.match(line, /linux-vdso|=> \/usr\/lib\/openme\/|^\s*\/usr\/lib\/openme\//);
    }
  });

  await t.step("it has the dashboard and the alert rules", async () => {
    const list = (await root.run(lab, "client", ["ls", `${FOLDER}/metrics`])).trim().split("\n");
    assert.deepEqual(list.sort(), ["openme.json", "openme.rules.yml"]);
  });

  await t.step("its start scripts are scripts of busybox's shell", async () => {
    for (const system of ["openwrt", "openrc"]) {
      await root.run(lab, "client", ["ash", "-n", `${FOLDER}/services/${system}/openme`]);
    }
  });

  await t.step("a knock opens a port of a server: by address, /etc/hosts and DNS", async () => {
    await using site = await Site.create(lab, {
      clients: { anna: [`${PORT}/tcp`] },
      knockTimeout: "1s",
    });
    await using served = await site.serve();
    // Without nsswitch.conf, as on musl. The name server knows nothing of the name in /etc/hosts.
    await root.write("/etc/hosts", `${IPV4.server} listed.example\n`);
    await root.write("/etc/resolv.conf", `nameserver ${IPV4.other}\n`);
    const script = fileURLToPath(new URL("./name_server.ts", import.meta.url));
    await using names = lab.start("other", [
      ...[Deno.execPath(), "run", "--quiet", "--no-lock", "--unstable-net", "-A", script],
      ...[IPV4.other, "asked.example", IPV4.server],
    ]);
    await names.stdout.waitFor(/listening/, 15_000);
    for (const host of [IPV4.server, "listed.example", "asked.example"]) {
      await root.write(
        "/root/profile",
        await Deno.readTextFile(await site.clientConfig("anna", host)),
        0o600,
      );
      await waitFor("the port to be closed", async () => !await client.reaches(IPV4.server, PORT));
      const from = served.lines.length;
      await root.run(lab, "client", [OPENME, "knock", "--client-config", "/root/profile"]);
      await served.waitForLine(/event=granted/, LINE_MS, from);
      assert.ok(await client.reaches(IPV4.server, PORT), host);
    }
  });

  await t.step("a server in that root: init, add, serve by its own nft, knock, stop", async () => {
    await root.addNft();
    const openme = (...args: string[]) => root.run(lab, "server", [OPENME, ...args]);
    await openme("init", "--server", IPV4.server);
    const profile = await openme("add", "anna", "--ports", `${PORT}/tcp`);
    await using served = root.start(lab, "server", [OPENME, "serve"]);
    await served.stderr.waitFor(/listening/, 15_000);
    // On OpenWrt openme comes first.
    await lab.nft(FW4);
    await waitFor("the hole", async () => /chain input \{[^}]*openme/.test(await lab.ruleset()), {
      timeoutMs: 10_000,
    });
    assert.ok(!await other.reaches(IPV4.server, PORT));
    await root.write("/root/profile", profile, 0o600);
    await root.run(lab, "other", [OPENME, "knock", "--client-config", "/root/profile"]);
    await served.stderr.waitFor(/event=granted/);
    assert.ok(await other.reaches(IPV4.server, PORT));
    assert.ok(!await client.reaches(IPV4.server, PORT), "open to others too");
    await root.unpack(packagePath(NAMES.portable)); // an upgrade, beside the running server
    // Without /etc/protocols, too.
    const { stdout } = await root.output(lab, "server", [OPENME, "doctor"]);
    assert.match(stdout, /^ok +rules +nft: all in place/m);
    assert.match(await openme("sessions"), new RegExp(`anna.*${IPV4.other}`));
    // The C library that it opened by itself: the buffer of the knock socket is larger than the runtime can make it.
    const sockets = await lab.run("server", ["ss", "-Hlunm", "sport", `${KNOCK_PORT}`]);
    assert.ok(Number(/rb(\d+)/.exec(sockets)?.[1]) >= 16 * 1024 * 1024, sockets);
    const { code } = await served.kill("SIGTERM", 10_000);
    assert.equal(code, 0, `${served.stderr}`);
    assert.doesNotMatch(await lab.ruleset(), /openme/);
  });
}, { needs });

await testPackages(
  ["dpkg-deb", "xz"],
  "the portable archive made twice is the same bytes",
  async () => {
    const sums: string[] = [];
    for (const umask of [0o022, 0o077]) {
      const output = await Deno.makeTempFile({ suffix: ".tar.xz" });
      const before = Deno.umask(umask);
      try {
        // A small program that needs glibc.
        const options = { architecture: Deno.build.arch, epochSeconds: 1_700_000_000 };
        await pack(findProgram("true")!, output, options);
        sums.push(await sha256(output));
      } finally {
        Deno.umask(before);
        await Deno.remove(output);
      }
      await new Promise((resolve) => setTimeout(resolve, 1100)); // times of files are in seconds
    }
    assert.equal(sums[0], sums[1]);
  },
);
