/** Hosts with rules of iptables, of either kind: how they are set up, compared and cleared, and a program that fails. */

import type { Lab } from "./lab.ts";
import { OPENME } from "../support/openme_command.ts";
import { Served } from "./openme.ts";
import type { Site } from "./site.ts";

/** A host that drops what it does not know, in its own iptables rules. */
export async function iptablesHost(lab: Lab, kind: "nft" | "legacy"): Promise<void> {
  for (const [program, icmp] of [["iptables", "icmp"], ["ip6tables", "ipv6-icmp"]]) {
    await lab.run(
      "server",
      [`${program}-${kind}-restore`],
      `*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -p ${icmp} -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
`,
    );
  }
}

/** `nft flush ruleset` does not reach what iptables-legacy loaded. */
export async function flushLegacy(lab: Lab): Promise<void> {
  for (const family of ["ip", "ip6"]) {
    const tables = await lab.run("server", ["cat", `/proc/net/${family}_tables_names`]);
    for (const table of tables.split("\n").filter(Boolean)) {
      const accept = table === "filter" ? ":INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n" : "";
      const text = `*${table}\n${accept}COMMIT\n`;
      await lab.run("server", [`${family}tables-legacy-restore`], text);
    }
  }
}

/** Everything of others, without counters: nft shows iptables-nft's chains as well. */
export async function rulesOf(lab: Lab): Promise<string> {
  const lists = [
    ["nft", "-s", "list", "ruleset"],
    ["iptables-nft-save"],
    ["ip6tables-nft-save"],
    ["iptables-legacy-save"],
    ["ip6tables-legacy-save"],
  ];
  const texts = await Promise.all(lists.map((command) => lab.run("server", command)));
  // The old kind cannot take its own empty tables out again, and prints the time.
  return texts.join("\n").replaceAll(/^#.*\n/gm, "").replaceAll(/\[\d+:\d+\]/g, "")
    .replaceAll(/\*(raw|mangle|filter|security)\n(:\w+ ACCEPT \n)+COMMIT\n/g, "");
}

/** Makes a site's server run another firewall. */
export async function setFirewall({ config }: Site, firewall: string): Promise<void> {
  const text = await Deno.readTextFile(config);
  await Deno.writeTextFile(config, text.replace(/^ {2}firewall: .*$/m, `  firewall: ${firewall}`));
}

/** `openme serve` on a machine where these programs are shell scripts. */
export async function serveWith(
  lab: Lab,
  { dir, config }: Site,
  scripts: Readonly<Record<string, string>>,
): Promise<Served> {
  await Deno.mkdir(`${dir}/bin`, { recursive: true });
  for (const [name, body] of Object.entries(scripts)) {
    await Deno.writeTextFile(`${dir}/bin/${name}`, `#!/bin/sh\n${body}\n`, { mode: 0o755 });
  }
  const path = `PATH=${dir}/bin:${Deno.env.get("PATH")}`;
  return new Served(lab.start("server", ["env", path, ...OPENME, "serve", "--config", config]));
}
