/**
 * `deno task bench`: what a knock costs. Every figure stands beside the primitives that it cannot do without, measured
 * in turn with it in the same run. Machines are shared and noisy: so it is processor time that is counted, and the ratios
 * say more than the times.
 */

import process from "node:process";
import { setImmediate } from "node:timers";
import { type Address, parseAddress } from "../lib/values/address.ts";
import { sealFresh } from "../lib/client/knock.ts";
import { aeadOpen, bytesToHex, keyPairOf } from "../lib/crypto/keys.ts";
import { seedSigner } from "../lib/crypto/signer.ts";
import { keyAgreement, sharedSecret, signatureVerifier } from "../lib/crypto/sync.ts";
import { type GateRules } from "../lib/gate.ts";
import type { ServerConfig } from "../lib/config/server.ts";
import { Admission } from "../lib/receive/admission.ts";
import { EphemeralKeys } from "../lib/receive/ephemeral_keys.ts";
import {
  OFFSET_AEAD_NONCE,
  OFFSET_EPHEMERAL_KEY,
  OFFSET_SEALED,
  OFFSET_SIGNATURE,
} from "../lib/packet.ts";
import { ReplayMemory } from "../lib/replay.ts";
import { RankedCandidates } from "../lib/receive/candidates.ts";
import { processClock } from "../lib/system/clock.ts";
import { besideForeignRules } from "./bench_foreign_rules.ts";
import { idleServers } from "./bench_idle.ts";
import { startToSent } from "./bench_knock.ts";
import { manyClients } from "./bench_config.ts";
import { datagramToRule } from "./bench_latency.ts";
import { bareDisk, clientName, realPipeline } from "./bench_pipeline.ts";
import { besideAMillion } from "./bench_replay.ts";
import { indexOf } from "../tests/support/knocks.ts";
import { print } from "./run.ts";
import { judge } from "../tests/support/judge.ts";

const ROUNDS = 15;
/** A server runs for months: V8 has compiled by then what these compile. */
const WARM_UP = 15;
const PER_ROUND = 160;
/** Of one no more than 4096 knocks are remembered. */
const CLIENTS = 4;
/** As many knocks as come before the event loop goes on: 4 ms of them. */
const PER_TURN = 20;
/** What the requirement allows, for both ratios. */
const MOST = 1.5;
const MOST_IN_A_CROWD = 1.3;

const X25519 = "X25519";
const ED25519 = "Ed25519 verify";
const PRIMITIVES = "X25519, HKDF, AEAD, Ed25519 in a row";
const JUDGED = "valid knock: admitted and judged";
const PIPELINE = "valid knock: the whole pipeline";
const PRIMITIVES_AND_DISK = "these and a transaction of the rows in a row";
const JUNK = "junk: right size, not sealed to us";
const AMONG_FEW = "valid knock with tag and hint, few clients";
const AMONG_MANY = "valid knock with tag and hint, 100,000 clients";

interface Subject {
  readonly name: string;
  /** One operation; `i` counts up over the whole run. */
  readonly run: (i: number) => void;
  /** For what does not end in one synchronous step: a turn of the event loop, and the time until all is done. */
  readonly turn?: () => Promise<void>;
  readonly settle?: () => Promise<void>;
}

const random = (size: number) => crypto.getRandomValues(new Uint8Array(size));
const server = await keyPairOf("X25519", random(32));
const clients = await Promise.all(
  Array.from({ length: CLIENTS }, () => keyPairOf("Ed25519", random(32))),
);
/** The addresses that knocks come from, one after the other. */
const sources = Array.from({ length: PER_ROUND }, (_, i) => parseAddress(`192.0.2.${i + 1}`)!);

print(
  `Deno ${Deno.version.deno}, ${navigator.hardwareConcurrency} cores; medians of ${ROUNDS} rounds of ${PER_ROUND}\n`,
);
const quick = await startToSent(); // first: what follows leaves this process, and the machine, with work to do
print("");
const { ofFew, ofMany } = await subjects();
const times = await measure(ofFew);
for (const [name, us] of await measure(ofMany())) times.set(name, us); // on a heap of their own size
for (const [name, us] of times) print(`${name.padEnd(44)} ${median(us).toFixed(1).padStart(7)} µs`);
print("");
const judged = ratio(JUDGED, PRIMITIVES);
const whole = ratio(PIPELINE, PRIMITIVES_AND_DISK);
const line = (text: string, figure: number, most?: number) =>
  print(`${text.padEnd(75)} ${figure.toFixed(2)}${most ? ` (at most ${most})` : ""}`);
line("from the socket to the verdict / X25519, HKDF, AEAD and Ed25519", judged, MOST);
line("the whole pipeline, disk and log included / the same and a transaction", whole, MOST);
line("right-sized junk / a valid knock, both to the verdict", ratio(JUNK, JUDGED));
const crowd = ratio(AMONG_MANY, AMONG_FEW);
line("a knock among 100,000 clients / among few", crowd, MOST_IN_A_CROWD);
const flat = await besideAMillion();
print("");
const manageable = await manyClients();
print("");
const prompt = await datagramToRule();
print("");
const undisturbed = await besideForeignRules();
print("");
const light = await idleServers();
if (!quick) print("bench: a knock takes more than 2.5 times an empty program");
if (judged > MOST) print(`bench: a verdict costs more than ${MOST} times its primitives`);
if (whole > MOST) print(`bench: the pipeline costs more than ${MOST} times what it must do`);
if (!manageable) {
  print("bench: many clients take longer, or hold the thread for longer, than allowed");
}
if (!prompt) print("bench: a rule takes longer than 1 ms");
if (!undisturbed) print("bench: rules of others cost a knock or an idle server more than allowed");
if (!light) print("bench: an idle server takes more memory or programs than allowed");
if (crowd > MOST_IN_A_CROWD) print("bench: 100,000 clients cost a knock too much");
const kept = judged <= MOST && whole <= MOST && crowd <= MOST_IN_A_CROWD;
Deno.exit(
  kept && quick && manageable && prompt && undisturbed && light && flat ? 0 : 1,
);

/** The median over the rounds of what the one costs against the other, both in the same round. */
function ratio(above: string, below: string): number {
  const all = times.get(below) ?? [];
  return median((times.get(above) ?? []).map((us, round) => us / (all[round] ?? NaN)));
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
}

/**
 * µs of processor time of each subject, round by round: neither waiting nor what else the machine does is in them. They
 * take turns, so that a slow moment meets them all.
 */
async function measure(each: readonly Subject[]): Promise<Map<string, number[]>> {
  const rounds = new Map(each.map(({ name }) => [name, [] as number[]]));
  for (let round = -WARM_UP; round < ROUNDS; round++) {
    for (const { name, run, turn, settle } of each) {
      await new Promise<void>((resolve) => setTimeout(resolve, 1)); // what V8 has put off is nobody's
      const start = process.cpuUsage();
      for (let i = 0; i < PER_ROUND; i++) {
        run((round + WARM_UP) * PER_ROUND + i);
        if (turn && i % PER_TURN === PER_TURN - 1) await turn();
      }
      await settle?.();
      const { user, system } = process.cpuUsage(start);
      if (round >= 0) rounds.get(name)?.push((user + system) / PER_ROUND);
    }
  }
  return rounds;
}

async function subjects(): Promise<{ ofFew: Subject[]; ofMany: () => Subject[] }> {
  const clock = processClock();
  // Before the knocks are sealed: a new database refuses what is dated before its start.
  const pipeline = await realPipeline(server, clients);
  const count = (ROUNDS + WARM_UP) * PER_ROUND;
  const knocks: Uint8Array[] = []; // one after the other, as in life: their times are in order
  for (let i = 0; i < count; i++) {
    const signer = seedSigner(pick(clients, i));
    const fresh = await sealFresh({ serverPublicKey: server.publicKey, signer }, undefined);
    knocks.push(fresh.datagram);
  }
  const junk = Array.from({ length: PER_ROUND }, () => Uint8Array.from([1, ...random(164)]));
  const agree = keyAgreement(server.privateKey);
  const verifiers = clients.map(({ publicKey }) => signatureVerifier(publicKey));
  const exchange = sharedSecret(server.privateKey);
  const aeadKey = agree(pick(knocks, 0).subarray(OFFSET_EPHEMERAL_KEY, OFFSET_AEAD_NONCE))!;
  const judging = admissionAndGate(rulesFor(agree));
  const disk = bareDisk(clients);
  let taken = 0;
  const ofFew: Subject[] = [
    // A fresh peer key each time, as in life: decoding it is part of the price.
    { name: X25519, run: (i) => mustBe(exchange(ephemeralKeyOf(pick(knocks, i))) !== undefined) },
    {
      name: "X25519 and HKDF-SHA256",
      run: (i) => mustBe(agree(ephemeralKeyOf(pick(knocks, i))) !== undefined),
    },
    { name: "ChaCha20-Poly1305", run: () => mustBe(open(aeadKey, pick(knocks, 0))) },
    { name: ED25519, run: (i) => mustBe(isSigned(pick(knocks, i), i)) },
    {
      // What no implementation can do without; in a row, as a knock needs them: they share the processor's caches.
      name: PRIMITIVES,
      run: (i) => mustBe(primitives(i)),
    },
    {
      name: PRIMITIVES_AND_DISK,
      run: (i) => {
        mustBe(primitives(i));
        disk.knock(i, pick(sources, i));
        if (i % PER_ROUND === PER_ROUND - 1) disk.stories(PER_ROUND, pick(sources, i));
      },
    },
    { name: JUDGED, run: (i) => mustBe(judging(pick(knocks, i), pick(sources, i)) === "grant") },
    {
      name: PIPELINE,
      run: (i) => {
        pipeline.take(pick(knocks, i), pick(sources, i));
        taken++;
      },
      turn: async () => {
        await new Promise<void>((resolve) => setImmediate(resolve));
        mustBe(pipeline.opened() === taken);
      },
      settle: () => new Promise((resolve) => setTimeout(resolve, 100)),
    },
    { name: JUNK, run: (i) => mustBe(judging(pick(junk, i), pick(sources, i)) === "decrypt") },
    {
      name: "junk: wrong size",
      run: (i) => mustBe(judging(pick(junk, i).subarray(1), pick(sources, i)) === "size"),
    },
  ];
  const ofMany = () =>
    ([[AMONG_FEW, 0], [AMONG_MANY, 100_000]] as const).map(([name, others]) => {
      const crowded = rulesFor(agree, new ReplayMemory(), others);
      return {
        name,
        run: (i: number) => {
          const verdict = judge(pick(knocks, i), pick(sources, i), clock.now().wallNs, crowded);
          mustBe(verdict.kind === "grant");
        },
      };
    });
  return { ofFew, ofMany };

  function primitives(i: number): boolean {
    const packet = pick(knocks, i);
    return open(agree(ephemeralKeyOf(packet))!, packet) && isSigned(packet, i);
  }

  function isSigned(packet: Uint8Array, i: number): boolean {
    const signature = packet.subarray(OFFSET_SIGNATURE);
    return pick(verifiers, i)(packet.subarray(0, OFFSET_SIGNATURE), signature);
  }

  /** From the socket's hand-over to the verdict: a drop's reason, or "grant". */
  function admissionAndGate(rules: GateRules): (datagram: Uint8Array, source: Address) => string {
    const admission = new Admission(
      { publicKey: server.publicKey, onlyStampedKnocks: false } as ServerConfig,
      { stamps: { has: () => false }, keys: new EphemeralKeys() },
    );
    let nowMs = 0;
    return (datagram, source) => {
      // A second later each time, so that no budget is used up.
      const admitted = admission.admit(datagram, nowMs += 1000);
      if (typeof admitted === "string") return admitted;
      const verdict = judge(datagram, source, clock.now().wallNs, rules);
      return verdict.kind === "grant" ? "grant" : verdict.reason;
    };
  }
}

function ephemeralKeyOf(packet: Uint8Array): Uint8Array {
  return packet.subarray(OFFSET_EPHEMERAL_KEY, OFFSET_AEAD_NONCE);
}

function open(key: Uint8Array, packet: Uint8Array): boolean {
  const nonce = packet.subarray(OFFSET_AEAD_NONCE, OFFSET_SEALED);
  return aeadOpen(key, nonce, packet.subarray(OFFSET_SEALED, OFFSET_SIGNATURE)) !== undefined;
}

/** Rules for the clients and others, who are registered before it and whose keys are never right. */
function rulesFor(
  agree: GateRules["agree"],
  replay = new ReplayMemory(),
  others = 0,
): GateRules {
  const keys = indexOf([
    ...Array.from({ length: others }, (_, i) => ({
      name: `other${i}`,
      key: i.toString(16).padStart(64, "0"),
      verify: () => false,
      expiresNs: undefined,
    })),
    ...clients.map(({ publicKey }, i) => ({
      name: clientName(i),
      key: bytesToHex(publicKey),
      verify: signatureVerifier(publicKey),
      expiresNs: undefined,
    })),
  ]);
  return {
    agree,
    candidates: new RankedCandidates(keys),
    clients: keys.byKey,
    replayWindowNs: 3_600_000_000_000n,
    replay,
    hasRoom: () => true,
  };
}

/** The one whose turn it is. */
function pick<T>(all: readonly T[], i: number): T {
  return all[i % all.length]!;
}

function mustBe(condition: boolean): void {
  if (!condition) throw new Error("the bench measured something else");
}
