/** fwknop 2.6.10 as Debian packages it, in both its modes: sniffing (its default) and a UDP server. */

import { bytesToHex, encodeBase64 } from "../../lib/crypto/keys.ts";
import { IPV4, type Lab } from "../../tests/e2e/lab.ts";
import { waitFor } from "../../tests/support/wait.ts";
import { targetOf } from "../../tests/attack/siege.ts";
import { type Contender, DOORS, type Rival, type StartOptions, write } from "./rival.ts";

/** fwknop in one of its modes. A door is an address that is let in to port 22. */
export function fwknop(mode: "pcap" | "udp server"): Contender {
  const name = `fwknop, ${mode}`;
  return {
    name,
    programs: ["fwknopd", "fwknop"],
    start: (lab, options) => start(lab, name, mode, options),
  };
}

async function start(
  lab: Lab,
  name: string,
  mode: "pcap" | "udp server",
  { clients = 1 }: StartOptions = {},
): Promise<Rival> {
  const dir = await Deno.makeTempDir({ prefix: "openme-bench-fwknop-" });
  const random = (size: number) => encodeBase64(crypto.getRandomValues(new Uint8Array(size)));
  const keys = Array.from({ length: clients }, () => [random(32), random(64)] as const);
  const access = await write(
    `${dir}/access.conf`,
    keys.flatMap(([key, hmac]) => [
      "SOURCE ANY",
      `KEY_BASE64 ${key}`,
      `HMAC_KEY_BASE64 ${hmac}`,
      "FW_ACCESS_TIMEOUT 300",
      "",
    ]),
  );
  const config = await write(`${dir}/fwknopd.conf`, [
    "PCAP_INTF eth0;",
    "FLUSH_IPT_AT_INIT Y;",
    `ENABLE_UDP_SERVER ${mode === "pcap" ? "N" : "Y"};`,
    "UDPSERV_PORT 62201;",
    `FWKNOP_RUN_DIR ${dir};`,
  ]);
  await lab.run("server", [..."iptables -A INPUT -i eth0 -p tcp --dport 22 -j DROP".split(" ")]);
  const startMs = performance.now();
  const program = lab.start("server", [
    ...["fwknopd", "-f", "-c", config, "-a", access],
    ...["-p", `${dir}/fwknopd.pid`, "-d", `${dir}/digest.cache`],
  ]);
  const rules = () => lab.run("server", ["iptables", "-S"]);
  await waitFor("fwknopd's chain", async () => (await rules()).includes("FWKNOP_INPUT"), {
    timeoutMs: 60_000,
    everyMs: 2,
  });
  const tookMs = performance.now() - startMs;
  const [key = "", hmac = ""] = keys.at(-1) ?? [];
  const knockFor = (target: string) => [
    ...["fwknop", "-A", "tcp/22", "-a", target, "-D", IPV4.server, "--use-hmac"],
    ...["--no-rc-file", "--no-save-args"],
    ...["--key-base64-rijndael", key, "--key-base64-hmac", hmac],
  ];
  return {
    name,
    port: 62201,
    startMs: tookMs,
    knock: (i) => knockFor(targetOf(i)),
    opened: async () => {
      const open = new Set((await rules()).match(/(?<=-s )\d+\.\d+\.\d+\.\d+/g) ?? []);
      return Array.from({ length: DOORS }, (_, i) => targetOf(i)).filter((each) => open.has(each))
        .length;
    },
    knockHere: knockFor(IPV4.client),
    shutHere: async () => void await lab.run("server", ["iptables", "-F", "FWKNOP_INPUT"]),
    [Symbol.asyncDispose]: async () => {
      await program[Symbol.asyncDispose]();
      await lab.nft("flush ruleset");
      await Deno.remove(dir, { recursive: true });
    },
  };
}

/** The datagram that a client's command would send, in hex. */
export async function savedKnock(lab: Lab, command: readonly string[]): Promise<string> {
  const path = await Deno.makeTempFile({ prefix: "openme-bench-" });
  try {
    await lab.run("client", [...command, "--test", "--save-packet", path]);
    return bytesToHex(new TextEncoder().encode((await Deno.readTextFile(path)).trim()));
  } finally {
    await Deno.remove(path);
  }
}
