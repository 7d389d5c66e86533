/** The field beside openme, for the bench: fwknop in both its modes, as Debian packages it. */

import { encodeBase64 } from "../lib/crypto.ts";
import { IPV4, type Lab } from "../tests/e2e/lab.ts";
import type { Program } from "../tests/e2e/program.ts";
import { waitFor } from "../tests/e2e/wait.ts";

/** A knock daemon in a lab's server, with its client's command line. */
export interface Rival extends AsyncDisposable {
  readonly name: string;
  readonly port: number;
  readonly program: Program;
  /** The client's command that lets an address in. */
  readonly knock: (target: string) => string[];
  /** Addresses that are let in now. */
  readonly letIn: () => Promise<Set<string>>;
}

export const FWKNOP_MODES = ["pcap", "udp server"] as const;

/** Starts fwknopd; `undefined` where it is not installed. */
export async function startFwknop(
  lab: Lab,
  mode: typeof FWKNOP_MODES[number],
): Promise<Rival | undefined> {
  if (!await isInstalled("fwknopd") || !await isInstalled("fwknop")) return undefined;
  const dir = await Deno.makeTempDir({ prefix: "openme-bench-fwknop-" });
  const random = (size: number) => encodeBase64(crypto.getRandomValues(new Uint8Array(size)));
  const [key, hmac] = [random(32), random(64)];
  await write(`${dir}/access.conf`, [
    "SOURCE ANY",
    `KEY_BASE64 ${key}`,
    `HMAC_KEY_BASE64 ${hmac}`,
    "FW_ACCESS_TIMEOUT 300",
  ]);
  await write(`${dir}/fwknopd.conf`, [
    "PCAP_INTF eth0;",
    "FLUSH_IPT_AT_INIT Y;",
    `ENABLE_UDP_SERVER ${mode === "pcap" ? "N" : "Y"};`,
    "UDPSERV_PORT 62201;",
    `FWKNOP_RUN_DIR ${dir};`,
  ]);
  await lab.run("server", [
    "iptables",
    "-A",
    "INPUT",
    "-i",
    "eth0",
    "-p",
    "tcp",
    "--dport",
    "22",
    "-j",
    "DROP",
  ]);
  const program = lab.start("server", [
    ...["fwknopd", "-f", "-c", `${dir}/fwknopd.conf`, "-a", `${dir}/access.conf`],
    ...["-p", `${dir}/fwknopd.pid`, "-d", `${dir}/digest.cache`],
  ]);
  const rules = () => lab.run("server", ["iptables", "-S"]);
  await waitFor("fwknopd's chain", async () => (await rules()).includes("FWKNOP_INPUT"));
  return {
    name: `fwknop, ${mode}`,
    port: 62201,
    program,
    knock: (target) => [
      ...[
        "fwknop",
        "-A",
        "tcp/22",
        "-a",
        target,
        "-D",
        IPV4.server,
        "--use-hmac",
        "--no-rc-file",
        "--no-save-args",
      ],
      ...["--key-base64-rijndael", key, "--key-base64-hmac", hmac],
    ],
    letIn: async () => new Set((await rules()).match(/(?<=-s )\d+\.\d+\.\d+\.\d+/g) ?? []),
    [Symbol.asyncDispose]: async () => {
      await program[Symbol.asyncDispose]();
      await lab.nft("flush ruleset");
      await Deno.remove(dir, { recursive: true });
    },
  };
}

async function isInstalled(file: string): Promise<boolean> {
  const found = await new Deno.Command("sh", { args: ["-c", `command -v ${file}`], stdout: "null" })
    .output().catch(() => undefined);
  return found?.success ?? false;
}

async function write(path: string, lines: readonly string[]): Promise<void> {
  await Deno.writeTextFile(path, lines.join("\n") + "\n", { mode: 0o600 });
}
