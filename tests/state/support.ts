/** What the tests of the state share: a store in a folder, and knocks to write down. */

import assert from "node:assert/strict";
import { KEEP_AFTER_WINDOW_NS, ReplayMemory } from "../../lib/replay.ts";
import { StateStore, type StoredGrants } from "../../lib/state/store.ts";
import type { KnockRecord } from "../../lib/state/history_writer.ts";
import { NOW_NS, WINDOW_NS } from "../support/knocks.ts";
import { type LogEvent, memoryLog } from "../support/memory_log.ts";
import { StillClock } from "../support/still_clock.ts";

/** A store that has been opened, with all that opening it did. */
export interface Opened extends Disposable {
  readonly store: StateStore;
  readonly stored: StoredGrants;
  readonly replay: ReplayMemory;
  readonly clock: StillClock;
  readonly events: LogEvent[];
  /** The names of the events so far. */
  readonly told: () => string[];
}

/** Opens the state in `dir`; closes it with the scope, unless a test has done so. */
export function open(
  dir: string,
  { clock = new StillClock(), replay = new ReplayMemory() }: {
    clock?: StillClock;
    replay?: ReplayMemory;
  } = {},
): Opened {
  const { log, events } = memoryLog();
  const { store, stored } = StateStore.open({
    dir,
    replay,
    replayWindowNs: WINDOW_NS,
    clock,
    log,
  });
  return {
    store,
    stored,
    replay,
    clock,
    events,
    told: () => events.map(({ level, event }) => `${level} ${event}`),
    [Symbol.dispose]: () => store.close(),
  };
}

/** What would be on disk if the process died now, in a folder of its own: SQLite reads it as after a crash. */
export async function copyOfState(dir: string, to: string): Promise<string> {
  await Deno.mkdir(to);
  for await (const { name, isFile } of Deno.readDir(dir)) {
    if (isFile) await Deno.copyFile(`${dir}/${name}`, `${to}/${name}`);
  }
  return to;
}

/** 16 bytes that name the knock. */
export function nonce(n: number): Uint8Array {
  const bytes = new Uint8Array(16);
  new DataView(bytes.buffer).setUint32(12, n);
  return bytes;
}

/** Its date: after {@linkcode NOW_NS}, when a first start makes a database, and refuses what is dated earlier. */
export function knockTimeNs(n: number): bigint {
  return NOW_NS + 1n + BigInt(n);
}

/** An authentic knock that opened nothing, unless `opened` says so. */
export function knockRecord(n: number, record: Partial<KnockRecord> = {}): KnockRecord {
  return {
    key: "a1".repeat(32),
    randomNonce: nonce(n),
    timestampNs: knockTimeNs(n),
    client: "alice",
    atMs: Number(NOW_NS / 1_000_000n),
    source: "198.51.100.20",
    opened: undefined,
    ...record,
  };
}

/** Remembers a knock as the gate does, and writes it down. */
export function take({ store, replay, clock }: Opened, record: KnockRecord): string {
  const { key, randomNonce, timestampNs } = record;
  const remembered = replay.checkAndRemember(key, randomNonce, timestampNs, {
    nowNs: clock.wallNs,
    replayWindowNs: WINDOW_NS,
  });
  if (remembered === "fresh") store.recordKnock(record);
  if (remembered === "limit") store.recordWatermarks();
  return remembered;
}

/** Has the memory forget a knock of that time, and writes the watermark down. */
export function raiseWatermark({ store, replay }: Opened, key: string, timestampNs: bigint): void {
  replay.restore(key, nonce(0), timestampNs);
  replay.prune({ nowNs: timestampNs + KEEP_AFTER_WINDOW_NS + 1n, replayWindowNs: 0n });
  store.recordWatermarks();
}

/** All that a memory holds, in an order that does not matter; a watermark stands for everything at or before it. */
export function contentOf(replay: ReplayMemory) {
  const isForgotten = ([key, , timestampNs]: [string, string, bigint]) =>
    timestampNs <= (replay.watermarkOf(key) ?? timestampNs - 1n);
  const text = (value: unknown) =>
    JSON.stringify(value, (_, v) => typeof v === "bigint" ? `${v}` : v);
  return {
    entries: [...replay.entries()].filter((entry) => !isForgotten(entry)).map(text).sort(),
    watermarks: [...replay.watermarks()].map(text).sort(),
    floorNs: replay.floorNs,
    beganNs: replay.beganNs,
  };
}

/** The only event of that name. */
export function eventOf({ events }: Opened, name: string): LogEvent {
  const found = events.filter(({ event }) => event === name);
  assert.equal(found.length, 1, `${name}: ${JSON.stringify(events)}`);
  return found[0]!;
}
