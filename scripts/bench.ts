/**
 * `deno task bench`: what a knock costs. Every figure stands beside the primitives that it cannot do without, measured
 * in turn with it in the same run: machines are shared and noisy, so the ratios say more than the times.
 */

import { formatAddress, parseAddress } from "../lib/address.ts";
import { freshKnock } from "../lib/client.ts";
import { wallMsOf } from "../lib/clock.ts";
import { aeadOpen, bytesToHex, keyPairOf } from "../lib/crypto.ts";
import { keyAgreement, signatureVerifier } from "../lib/crypto_sync.ts";
import { type GateRules, judge } from "../lib/gate.ts";
import { Grants } from "../lib/grants.ts";
import { createLog } from "../lib/log.ts";
import {
  OFFSET_AEAD_NONCE,
  OFFSET_EPHEMERAL_KEY,
  OFFSET_SEALED,
  OFFSET_SIGNATURE,
} from "../lib/packet.ts";
import { ReplayMemory } from "../lib/replay.ts";
import { Signers } from "../lib/signers.ts";
import { connectDatabase } from "../lib/state/database.ts";
import { prepareStatements } from "../lib/state/statements.ts";
import { StateStore } from "../lib/state/store.ts";
import { processClock } from "../lib/system_clock.ts";
import { startToSent } from "./bench_knock.ts";
import { datagramToRule } from "./bench_latency.ts";
import { besideAMillion } from "./bench_replay.ts";
import { print } from "./run.ts";

const ROUNDS = 15;
const PER_ROUND = 200;

interface Subject {
  readonly name: string;
  /** One operation; `i` counts up over the whole run. */
  readonly run: (i: number) => void;
}

const random = (size: number) => crypto.getRandomValues(new Uint8Array(size));
const [server, client] = await Promise.all([
  keyPairOf("X25519", random(32)),
  keyPairOf("Ed25519", random(32)),
]);
const source = parseAddress("192.0.2.7");
if (!source) throw new Error("not an address");

print(
  `Deno ${Deno.version.deno}, ${navigator.hardwareConcurrency} cores; medians of ${ROUNDS} rounds of ${PER_ROUND}\n`,
);
const quick = await startToSent(); // first: what follows leaves this process, and the machine, with work to do
print("");
const times = measure(await subjects());
for (const [name, us] of times) print(`${name.padEnd(44)} ${us.toFixed(1).padStart(7)} µs`);
print("");
const inRow = time("the four primitives in a row");
const mustDo = inRow + time("a bare transaction: one nonce, one grant");
const ratio = time("valid knock: judged, granted, on disk") / mustDo;
print(
  `valid knock, judged / its primitives:                      ${
    (time("valid knock: judged") / inRow).toFixed(2)
  }`,
);
print(
  `the same, granted and on disk / these and a transaction:   ${ratio.toFixed(2)} (at most 1.5)`,
);
print(
  `right-sized junk / a valid knock, judged:                  ${
    (time("junk: right size, not sealed to us") / time("valid knock: judged")).toFixed(2)
  }`,
);
print(
  `a knock among 100,000 clients / among 1:                   ${
    (time("valid knock with tag and hint, of 100,000") /
      time("valid knock with tag and hint, of 1")).toFixed(2)
  } (at most 1.3)`,
);
const flat = await besideAMillion();
print("");
const prompt = await datagramToRule();
if (!quick) print("bench: a knock takes more than 2.5 times an empty program");
if (ratio > 1.5) {
  print("bench: the pipeline costs more than 1.5 times its primitives");
}
if (!prompt) print("bench: a rule takes longer than 3 ms");
if (ratio > 1.5 || !quick || !prompt || !flat) Deno.exit(1);

function time(name: string): number {
  const us = times.get(name);
  if (us === undefined) throw new Error(`no subject "${name}"`);
  return us;
}

/** Median µs of each subject; the subjects take turns, so that a slow moment of the machine meets them all. */
function measure(each: readonly Subject[]): Map<string, number> {
  const rounds = new Map(each.map(({ name }) => [name, [] as number[]]));
  for (let round = -1; round < ROUNDS; round++) { // the first one warms up
    for (const { name, run } of each) {
      const start = performance.now();
      for (let i = 0; i < PER_ROUND; i++) run((round + 1) * PER_ROUND + i);
      if (round >= 0) rounds.get(name)?.push((performance.now() - start) * 1000 / PER_ROUND);
    }
  }
  return new Map(
    [...rounds].map(([name, us]) => [name, us.sort((a, b) => a - b)[ROUNDS >> 1] ?? NaN]),
  );
}

async function subjects(): Promise<Subject[]> {
  const clock = processClock();
  const count = (ROUNDS + 1) * PER_ROUND;
  const knocks = await Promise.all(
    Array.from(
      { length: count },
      () =>
        freshKnock({
          serverPublicKey: server.publicKey,
          clientSeed: client.privateKey,
          clientPublicKey: client.publicKey,
        }, undefined),
    ),
  );
  const junk = Uint8Array.from([1, ...random(164)]);
  const agree = keyAgreement(server.privateKey);
  const verifySignature = signatureVerifier(client.publicKey);
  const [first] = knocks;
  if (!first) throw new Error("no knocks");
  const key = agree(first.subarray(OFFSET_EPHEMERAL_KEY, OFFSET_AEAD_NONCE));
  if (!key) throw new Error("no key");
  const judging = rulesFor(agree);
  const storing = pipelineOn(await Deno.makeTempDir({ prefix: "openme-bench-" }));
  return [
    // A fresh peer key each time, as in life: decoding it is part of the price.
    {
      name: "X25519 and HKDF-SHA256",
      run: (i) => void agree(pick(knocks, i).subarray(OFFSET_EPHEMERAL_KEY, OFFSET_AEAD_NONCE)),
    },
    {
      name: "ChaCha20-Poly1305",
      run: () =>
        void aeadOpen(
          key,
          first.subarray(OFFSET_AEAD_NONCE, OFFSET_SEALED),
          first.subarray(OFFSET_SEALED, OFFSET_SIGNATURE),
        ),
    },
    {
      name: "Ed25519 verify",
      run: (i) => {
        const packet = pick(knocks, i);
        mustBe(
          verifySignature(packet.subarray(0, OFFSET_SIGNATURE), packet.subarray(OFFSET_SIGNATURE)),
        );
      },
    },
    {
      // What no implementation can do without; in a row, as a knock needs them: they share the processor's caches.
      name: "the four primitives in a row",
      run: (i) => {
        const packet = pick(knocks, i);
        const agreed = agree(packet.subarray(OFFSET_EPHEMERAL_KEY, OFFSET_AEAD_NONCE)) ?? key;
        const nonce = packet.subarray(OFFSET_AEAD_NONCE, OFFSET_SEALED);
        const opened = aeadOpen(
          agreed,
          nonce,
          packet.subarray(OFFSET_SEALED, OFFSET_SIGNATURE),
        );
        const good = verifySignature(
          packet.subarray(0, OFFSET_SIGNATURE),
          packet.subarray(OFFSET_SIGNATURE),
        );
        mustBe(good && opened !== undefined);
      },
    },
    { name: "a bare transaction: one nonce, one grant", run: bareTransaction() },
    {
      name: "valid knock: judged",
      run: (i) =>
        mustBe(judge(pick(knocks, i), source!, clock.now().wallNs, judging).kind === "grant"),
    },
    ...[1, 1000, 100_000].map((clients) => {
      const crowded = rulesFor(agree, new ReplayMemory(), clients - 1);
      return {
        name: `valid knock with tag and hint, of ${clients.toLocaleString("en")}`,
        run: (i: number) =>
          mustBe(judge(pick(knocks, i), source!, clock.now().wallNs, crowded).kind === "grant"),
      };
    }),
    { name: "valid knock: judged, granted, on disk", run: (i) => storing(pick(knocks, i)) },
    {
      name: "junk: right size, not sealed to us",
      run: () => mustBe(judge(junk, source!, clock.now().wallNs, judging).kind === "drop"),
    },
    {
      name: "junk: wrong size",
      run: () =>
        mustBe(judge(junk.subarray(1), source!, clock.now().wallNs, judging).kind === "drop"),
    },
  ];
}

/** Rules for this client and others, who are registered before it and whose keys are never right. */
function rulesFor(
  agree: GateRules["agree"],
  replay = new ReplayMemory(),
  others = 0,
): GateRules {
  const verify = signatureVerifier(client.publicKey);
  return {
    agree,
    signers: new Signers([
      ...Array.from({ length: others }, (_, i) => ({
        name: `client${i}`,
        key: i.toString(16).padStart(64, "0"),
        verify: () => false,
        expiresNs: undefined,
      })),
      { name: "alice", key: bytesToHex(client.publicKey), verify, expiresNs: undefined },
    ]),
    replayWindowNs: 3_600_000_000_000n,
    replay,
    hasRoom: () => true,
  };
}

/** Everything that `serve` does with a valid knock before it asks the firewall. */
function pipelineOn(dir: string): (datagram: Uint8Array) => void {
  const clock = processClock();
  const log = createLog({ level: "error", format: "logfmt", now: () => new Date(), write: print });
  const replay = new ReplayMemory();
  const { store } = StateStore.open({
    dir,
    replay,
    replayWindowNs: 3_600_000_000_000n,
    clock,
    log,
  });
  const grants = new Grants();
  const rules = rulesFor(keyAgreement(server.privateKey), replay);
  const permission = {
    client: "alice",
    key: bytesToHex(client.publicKey),
    ports: [{ protocol: "tcp", first: 22, last: 22 }] as const,
    lifetimeMs: 30_000,
    expiresAtMs: undefined,
  };
  addEventListener("unload", () => {
    store.close();
    Deno.removeSync(dir, { recursive: true });
  });
  return (datagram) => {
    const now = clock.now();
    const verdict = judge(datagram, source!, now.wallNs, rules);
    if (verdict.kind !== "grant") throw new Error(verdict.reason);
    const opened = grants.open(verdict.address, permission, now);
    store.recordKnock({
      key: verdict.client.key,
      randomNonce: verdict.randomNonce,
      timestampNs: verdict.timestampNs,
      client: verdict.client.name,
      atMs: wallMsOf(now),
      source: formatAddress(source!),
      opened,
    });
  };
}

function pick(knocks: readonly Uint8Array[], i: number): Uint8Array {
  const found = knocks[i];
  if (!found) throw new Error("out of knocks");
  return found;
}

function mustBe(condition: boolean): void {
  if (!condition) throw new Error("the bench measured something else");
}

/** What no implementation can do without that remembers before it opens: SQLite's price for two rows, as `serve` has it. */
function bareTransaction(): (i: number) => void {
  const dir = Deno.makeTempDirSync({ prefix: "openme-bench-" });
  const database = connectDatabase(`${dir}/state.db`);
  const { begin, insertNonce, upsertGrant, commit } = prepareStatements(database);
  addEventListener("unload", () => {
    database.close();
    Deno.removeSync(dir, { recursive: true });
  });
  const key = bytesToHex(client.publicKey);
  return (i) => {
    begin.run();
    insertNonce.run(key, random(16), BigInt(Date.now()) * 1_000_000n + BigInt(i));
    upsertGrant.run(
      "alice",
      "192.0.2.7",
      key,
      "22/tcp",
      Date.now(),
      Date.now() + 30_000,
      performance.now(),
    );
    commit.run();
  };
}
