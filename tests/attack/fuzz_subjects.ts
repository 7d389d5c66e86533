/** What is fuzzed, and what must hold of every input: an `OpenmeError` or a right answer, and nothing else ever. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { COMMANDS } from "../../lib/cli/catalog.ts";
import { parseArguments } from "../../lib/cli/arguments.ts";
import { bytesToHex, encodeBase64, hexToBytes } from "../../lib/crypto/keys.ts";
import { parseClientConfig } from "../../lib/config/profiles.ts";
import { parseServerConfig } from "../../lib/config/server.ts";
import { OpenmeError } from "../../lib/values/errors.ts";
import { ReplayMemory } from "../../lib/replay.ts";
import { StateStore } from "../../lib/state/store.ts";
import {
  ALICE,
  BOB,
  filled,
  freshRules,
  knockBy,
  MALLORY,
  memoryOf,
  must,
  outcome,
  SERVER_PRIVATE_KEY,
  SERVER_PUBLIC_KEY,
  WINDOW_NS,
} from "../support/knocks.ts";
import { good } from "./hostile.ts";
import type { Random } from "./random.ts";

/** One thing to throw bytes at. `run` throws only where something is wrong with openme. */
export interface FuzzSubject {
  readonly name: string;
  readonly seeds: readonly Uint8Array[];
  /** What to put in beside bytes. */
  readonly words: readonly string[];
  readonly run: (input: Uint8Array) => void | Promise<void>;
}

/** YAML's own traps, as they might stand in a configuration. */
export const YAML_TRAPS: readonly string[] = [
  "a: &a [1]\nb: *a\n",
  "x: &x {<<: *x}\n",
  "base: &b {udp_port: 1}\nserver: {<<: *b}\n",
  "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d]\n",
  "server: {}\nserver: {}\n",
  "server:\n\tudp_port: 1\n",
  "\ufeffserver: {}\n",
  "server:\r\n  udp_port: 1\r\n",
  "server: {udp_port: 99999999999999999999999999999999}\n",
  "server: {udp_port: 1e400}\n",
  "server: {udp_port: 0x16}\n",
  "server: {udp_port: .inf, drop_ports: yes}\n",
  "? [a, b]\n: c\n",
  "--- a\n--- b\n",
  "%YAML 1.1\n---\nserver: !!js/function x\n",
  "server: !!binary AAAA\n",
  "__proto__: {a: b}\nconstructor: {}\n",
  "server: 'a\0b'\n",
  "[".repeat(200),
  "{a: ".repeat(200),
  "- ".repeat(200),
  "a: |\n" + " ".repeat(2000),
];

/** The subjects; the state file's folder lives as long as the process. */
export async function fuzzSubjects(random: Random): Promise<FuzzSubject[]> {
  const text = (each: string) => new TextEncoder().encode(each);
  const server = serverYaml();
  const client = clientYaml();
  return [
    await gateSubject(random),
    {
      name: "configuration",
      seeds: [server, client, ...YAML_TRAPS, ...YAML_TRAPS.map((trap) => trap + server)].map(text),
      words: [
        "&a ",
        "*a",
        "<<: ",
        "!!str ",
        "\t",
        "\r\n",
        "- ",
        ": ",
        "? ",
        "|\n",
        ">-\n",
        "---\n",
        "'",
        '"',
        "{",
        "[",
        "#",
        "null",
        "~",
        "yes",
        "1e9",
        "0x10",
        "22/tcp",
        "1-65535/udp",
        "server:\n",
        "clients:\n",
        "ports:\n",
        "__proto__",
      ],
      run: async (input) => {
        const file = new TextDecoder().decode(input);
        await onlyOpenmeErrors(() => void parseServerConfig(file, "fuzzed"));
        await onlyOpenmeErrors(async () => void await parseClientConfig(file, "fuzzed"));
      },
    },
    await stateSubject(),
    {
      name: "command line",
      seeds: [
        "knock\0home\0--ip\x00192.0.2.1",
        "serve\0--config\0/x\0--log-level=debug",
        "add\0bob\0--ports\x0022/tcp",
      ].map(text),
      words: [
        "--",
        "-",
        "--ip",
        "--ports=",
        "--expires",
        "\0",
        "=",
        "-4",
        "-6",
        "--config",
        "2027-12-31",
        "::1",
        "--help",
        "__proto__",
        "constructor",
      ],
      run: async (input) => {
        const [name = "", ...rest] = new TextDecoder().decode(input).split("\0");
        const entry = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : COMMANDS["knock"];
        const command = await must(entry).load();
        await onlyOpenmeErrors(() => Promise.resolve(void parseArguments(command, name, rest)));
      },
    },
  ];
}

async function gateSubject(random: Random): Promise<FuzzSubject> {
  const genuine = await Promise.all([good(random), good(random, BOB), knockBy(ALICE)]);
  const rules = freshRules();
  const known = new Set(genuine.map(bytesToHex));
  return {
    name: "gate",
    seeds: [...genuine, await good(random, MALLORY), new Uint8Array(165)],
    words: [],
    run: (input) => {
      if (known.has(bytesToHex(input))) return;
      assert.notEqual(outcome(input, rules), "grant");
      assert.deepEqual(memoryOf(rules).entries, []);
    },
  };
}

async function stateSubject(): Promise<FuzzSubject> {
  const dir = await Deno.makeTempDir({ prefix: "openme-fuzz-state-" });
  addEventListener("unload", () => Deno.removeSync(dir, { recursive: true }));
  const path = join(dir, "state.db");
  const logged = () => {};
  const log = { error: logged, warn: logged, info: logged, debug: logged, enabled: () => false };
  const clock = {
    now: () => ({ wallNs: 1_790_000_000_000_000_000n, steadyMs: 1000 }),
    bootId: "boot",
  };
  const open = () =>
    StateStore.open({
      ...{ dir, clock, log, replay: new ReplayMemory(), replayWindowNs: WINDOW_NS },
    }).store;
  const store = open();
  for (let i = 0; i < 20; i++) {
    store.recordKnock({
      key: ALICE.key,
      randomNonce: filled(i, 16),
      timestampNs: 1_790_000_000_000_000_000n + BigInt(i),
      client: "alice",
      atMs: 1_790_000_000_000,
      source: "192.0.2.1",
      opened: undefined,
    });
  }
  store.close();
  const whole = await Deno.readFile(path);
  // Inputs are changes to the file: three bytes of place, one of value. Whole files would be mostly padding.
  return {
    name: "state file",
    seeds: [
      Uint8Array.of(0, 0, 18, 2, 0, 16, 0, 13),
      Uint8Array.of(0, 0, 100, 5),
      new Uint8Array(0),
    ],
    words: [],
    run: async (changes) => {
      const file = whole.slice();
      for (let i = 0; i + 3 < changes.length; i += 4) {
        const place = (changes[i]! << 16 | changes[i + 1]! << 8 | changes[i + 2]!) % file.length;
        file[place] = changes[i + 3]!;
      }
      for (const entry of Deno.readDirSync(dir)) Deno.removeSync(join(dir, entry.name));
      Deno.writeFileSync(path, file);
      await onlyOpenmeErrors(() => open().close());
    },
  };
}

/** Whatever the input, an operator gets an `OpenmeError` or what he asked for. */
async function onlyOpenmeErrors(run: () => void | Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (!(error instanceof OpenmeError)) throw error;
  }
}

function serverYaml(): string {
  return `server:
  private_key: ${encodeBase64(SERVER_PRIVATE_KEY)}
  public_key: ${encodeBase64(SERVER_PUBLIC_KEY)}
  udp_port: 54154
  knock_timeout: 30s
  drop_ports: true
ports:
  ssh: ["22/tcp"]
  web: [80, "8080-8090/tcp"]
clients:
  alice:
    ed25519_pubkey: ${encodeBase64(hexToBytes(ALICE.key))}
    allowed_ports: [ssh, "53/udp"]
    expires: 2027-12-31
`;
}

function clientYaml(): string {
  return `profiles:
  home:
    server_host: vps.example.org
    server_pubkey: ${encodeBase64(SERVER_PUBLIC_KEY)}
    private_key: ${encodeBase64(ALICE.seed)}
    post_knock: ssh home
`;
}
