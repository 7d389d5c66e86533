/** What a knock costs beside a million nonces that are remembered, over what it costs beside none; and their memory. */

import { parseAddress } from "../lib/values/address.ts";
import { sealFresh } from "../lib/client/knock.ts";
import { bytesToHex, keyPairOf } from "../lib/crypto/keys.ts";
import { seedSigner } from "../lib/crypto/signer.ts";
import { keyAgreement, signatureVerifier } from "../lib/crypto/sync.ts";
import { ReplayMemory } from "../lib/replay.ts";
import { RankedCandidates } from "../lib/receive/candidates.ts";
import { indexOf } from "../tests/support/knocks.ts";
import { print } from "./run.ts";
import { judge } from "../tests/support/judge.ts";

const CLIENTS = 500;
const NONCES_EACH = 2000;
const ROUNDS = 15;
const PER_ROUND = 100;
const WINDOW_NS = 3_600_000_000_000n;
const MOST = 1.5;

/** Measures and prints; gives whether the ratio is within its bound. */
export async function besideAMillion(): Promise<boolean> {
  const random = (size: number) => crypto.getRandomValues(new Uint8Array(size));
  const server = await keyPairOf("X25519", random(32));
  const client = await keyPairOf("Ed25519", random(32));
  const profile = {
    serverPublicKey: server.publicKey,
    signer: seedSigner(client),
  };
  const source = parseAddress("192.0.2.7")!;
  const knocks: Uint8Array[] = [];
  while (knocks.length < (ROUNDS + 1) * PER_ROUND) {
    knocks.push((await sealFresh(profile, undefined)).datagram);
  }
  const key = bytesToHex(client.publicKey);
  const keys = indexOf([
    { name: "alice", key, verify: signatureVerifier(client.publicKey), expiresNs: undefined },
  ]);
  const candidates = new RankedCandidates(keys);
  const rulesWith = (replay: ReplayMemory) => ({
    agree: keyAgreement(server.privateKey),
    candidates,
    clients: keys.byKey,
    replayWindowNs: WINDOW_NS,
    replay,
    hasRoom: () => true,
  });
  const full = new ReplayMemory();
  const nowNs = BigInt(Date.now()) * 1_000_000n;
  const before = Deno.memoryUsage().rss;
  for (let i = 0; i < CLIENTS; i++) {
    const owner = i === 0 ? key : i.toString(16).padStart(64, "0");
    for (let n = 0; n < NONCES_EACH; n++) full.restore(owner, random(16), nowNs + BigInt(n));
  }
  const memoryMb = (Deno.memoryUsage().rss - before) / 2 ** 20;
  const subjects = [rulesWith(new ReplayMemory()), rulesWith(full)];
  const rounds: number[][] = [[], []];
  for (let round = 0; round <= ROUNDS; round++) { // the first one warms up
    for (const [i, rules] of subjects.entries()) {
      const start = performance.now();
      for (const knock of knocks.slice(round * PER_ROUND, (round + 1) * PER_ROUND)) {
        const { kind } = judge(knock, source, BigInt(Date.now()) * 1_000_000n, rules);
        if (kind !== "grant") throw new Error("the bench measured something else");
      }
      if (round > 0) rounds[i]?.push((performance.now() - start) * 1000 / PER_ROUND);
    }
  }
  const pruneStart = performance.now();
  full.prune({ nowNs, replayWindowNs: WINDOW_NS });
  const pruneMs = performance.now() - pruneStart;
  const [bare, beside] = rounds.map((us) => us.toSorted((a, b) => a - b)[ROUNDS >> 1]!);
  const ratio = beside! / bare!;
  print(
    `a knock beside a million nonces / beside none:             ${
      ratio.toFixed(2)
    } (at most ${MOST}; they take ${memoryMb.toFixed(0)} MB, and looking for old ones ${
      pruneMs.toFixed(1)
    } ms)`,
  );
  if (ratio > MOST) print(`bench: a million nonces make a knock dearer than ${MOST} times`);
  return ratio <= MOST;
}

if (import.meta.main && !await besideAMillion()) Deno.exit(1);
