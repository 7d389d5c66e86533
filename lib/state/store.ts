/**
 * What outlives the process: nonces, grants, history, in one SQLite database. docs/protocol.md, "After a restart". WAL
 * with `synchronous=NORMAL` keeps every commit through any death of the process; a power cut may take the last ones.
 */

import { join } from "node:path";
import { hexToBytes } from "../crypto/keys.ts";
import { messageOf, OpenmeError } from "../values/errors.ts";
import type { KeyRecord } from "../values/key_record.ts";
import { formatNetwork } from "../values/network.ts";
import type { Grant } from "../grants.ts";
import { quote } from "../values/text.ts";
import type { ReplayMemory } from "../replay.ts";
import { GUARD, type StoredState } from "./database.ts";
import { diskFault } from "./directory.ts";
import { type HistoryEvent, HistoryWriter, type KnockRecord } from "./history_writer.ts";
import { DATABASE_NAME } from "./names.ts";
import { grantToRow } from "./schema.ts";
import {
  type Found,
  isSameBoot,
  startFromDisk,
  startFromMemory,
  type StateParts,
} from "./start.ts";
import type { Statements } from "./statements.ts";
import { clearUnwritten } from "./unwritten.ts";
import { StateWriter } from "./writer.ts";

/** What a store is opened with. */
export interface StoreParts extends StateParts {
  /** Is filled. */
  readonly replay: ReplayMemory;
}

/** What was on disk when the process came up. */
export interface StoredGrants {
  readonly grants: readonly Grant[];
  /** Whether their steady times count from this boot. */
  readonly sameBoot: boolean;
  /** The plan of the guard that was in force, as text; `""` where there was none. */
  readonly guard: string;
}

/** The state of one running `serve`. Writes never throw: while the disk refuses, memory goes on, and the log says so. */
export class StateStore {
  readonly #parts: StateParts;
  readonly #replay: ReplayMemory;
  readonly #writer: StateWriter;
  readonly #history: HistoryWriter;
  /** Uses and codes, by key. */
  readonly #keys = new Map<string, KeyRecord>();
  /** Whether the firewall had kept the grants that were stored at the start. */
  #grantsStand = false;
  /** The plan of the guard in force, as text; `undefined` until it is known. */
  #guard: string | undefined;

  private constructor(parts: StoreParts) {
    this.#parts = parts;
    this.#replay = parts.replay;
    this.#writer = new StateWriter(join(parts.dir, DATABASE_NAME), parts);
    this.#history = new HistoryWriter((change) => this.#writer.write(change));
  }

  /**
   * Opens or makes the database in `dir`, and fills `replay` from it. A damaged database is moved aside, never deleted.
   * A floor in `replay` stands in for what may be missing. Where the disk itself refuses, the server starts from memory.
   * Throws `OpenmeError`, code `STATE`, where the operator has to act.
   */
  static open(parts: StoreParts): { store: StateStore; stored: StoredGrants } {
    const store = new StateStore(parts);
    const writer = store.#writer;
    try {
      const stored = store.#takeOver(startFromDisk(writer, parts));
      // The floor is on disk before the first knock is judged.
      writer.commit((run) => store.#writeMeta(run));
      clearUnwritten(parts.dir);
      return { store, stored };
    } catch (cause) {
      const error = cause instanceof OpenmeError ? cause : stateError(writer.path, cause);
      if (diskFault(parts.dir) === undefined) throw error;
      return { store, stored: store.#takeOver(startFromMemory(writer, cause, parts)) };
    }
  }

  /**
   * Writes down an authenticated knock, nonce and grant or neither, before anything opens. History and last seen follow a
   * moment later, for all knocks of that moment in one transaction.
   */
  recordKnock(record: KnockRecord): void {
    const { key, keyRecord } = record;
    if (keyRecord) this.#keys.set(key, keyRecord);
    this.#writer.write((run) => {
      run.insertNonce.run(key, record.randomNonce, record.timestampNs);
      this.#writeWatermarks(run);
      if (record.opened) run.upsertGrant.run(...grantToRow(record.opened.grant));
      if (keyRecord) writeKey(run, key, keyRecord);
    });
    this.#history.knock(record, this.#parts.clock.now().steadyMs);
  }

  /** Uses and codes of a key. */
  recordOf(key: string): KeyRecord {
    return this.#keys.get(key) ?? { used: 0, step: 0, wrong: 0, lockedUntilMs: 0 };
  }

  /** Writes down the watermarks that have risen without a nonce to remember. */
  recordWatermarks(): void {
    this.#writer.write((run) => this.#writeWatermarks(run));
  }

  /** Adds an event to the history, a moment later. */
  recordEvent(event: HistoryEvent): void {
    this.#history.add(event);
  }

  /** Writes down that the firewall has every stored grant, also those that it refused an earlier process. */
  settleFailures(): void {
    this.#writer.write((run) => run.settleFailures.run());
  }

  /** Puts the history on disk that is not there yet. */
  flushHistory(): void {
    this.#history.flush();
  }

  /** Writes down a grant that has changed without a knock. */
  recordGrant(grant: Grant): void {
    this.#writer.write((run) => run.upsertGrant.run(...grantToRow(grant)));
  }

  /** Writes down that these are all the grants there are. */
  replaceGrants(grants: readonly Grant[]): void {
    this.#writer.write((run) => writeGrants(run, grants));
  }

  /** Writes down the plan that is guarded from now on, as text; `""`: nothing is guarded. */
  recordGuard(plan: string): void {
    if (plan === this.#guard) return;
    this.#guard = plan;
    this.#writer.write((run) => run.upsertMeta.run(GUARD, plan));
  }

  /** Removes ended or withdrawn grants. */
  forgetGrants(grants: readonly Grant[]): void {
    if (grants.length === 0) return;
    this.#writer.write((run) => {
      for (const { client, address } of grants) run.deleteGrant.run(client, formatNetwork(address));
    });
  }

  /** Once a minute or so: forgets old nonces and history; where the disk refused, tries to write everything anew. */
  tend({ grants, replayWindowNs }: { grants: Iterable<Grant>; replayWindowNs: bigint }): void {
    this.#replay.prune({ nowNs: this.#parts.clock.now().wallNs, replayWindowNs });
    if (!this.isSound()) {
      const all = [...grants];
      return this.#writer.rewrite(
        (stored) => this.#restore(stored),
        (run) => this.#writeEverything(run, all),
      );
    }
    this.#writer.write((run) => {
      this.#writeWatermarks(run);
      run.pruneHistory.run();
    });
    this.#writer.checkpoint();
  }

  /** Whether everything is on disk. */
  isSound(): boolean {
    return this.#writer.isSound();
  }

  /**
   * Writes down a clean stop; grants stay, for a restart. `grantsStand` says whether the firewall keeps them until they
   * end; without it, what an earlier process left there still holds.
   */
  close({ grantsStand = this.#grantsStand }: { grantsStand?: boolean } = {}): void {
    this.flushHistory();
    this.#writer.write((run) => {
      run.upsertMeta.run("clean_stop", "1");
      run.upsertMeta.run("grants_stand", grantsStand ? "1" : "0");
    });
    this.#writer.close();
  }

  #restore({ watermarks, nonces, keys, floorNs, beganNs, guard }: StoredState): void {
    for (const { key, ...stored } of keys) {
      const known = { ...stored, ...this.#keys.get(key) }; // the floor covers codes that memory misses
      this.#keys.set(key, { ...known, used: Math.max(known.used, stored.used) });
    }
    for (const { key, timestampNs } of watermarks) this.#replay.restoreWatermark(key, timestampNs);
    for (const { key, nonce, timestampNs } of nonces) this.#replay.restore(key, nonce, timestampNs);
    if (floorNs !== undefined) this.#replay.raiseFloor(floorNs);
    if (beganNs !== undefined) this.#replay.begin(beganNs);
    this.#guard ??= guard;
  }

  /** Fills memory; returns what this process continues of the one before. */
  #takeOver({ stored, floorNs, beganNs }: Found): StoredGrants {
    if (floorNs !== undefined) this.#replay.raiseFloor(floorNs);
    if (beganNs !== undefined) this.#replay.begin(beganNs);
    if (!stored) return { grants: [], sameBoot: false, guard: "" };
    this.#restore(stored);
    const { grants, bootId, cleanStop, grantsStand, guard } = stored;
    const sameBoot = isSameBoot(bootId, this.#parts.clock.bootId);
    this.#grantsStand = sameBoot && (grantsStand || !cleanStop);
    return { grants, sameBoot, guard };
  }

  #writeMeta(run: Statements): void {
    run.upsertMeta.run("boot_id", this.#parts.clock.bootId ?? "");
    run.upsertMeta.run("clean_stop", "0");
    run.upsertMeta.run("grants_stand", this.#grantsStand ? "1" : "0");
    run.upsertMeta.run(GUARD, this.#guard ?? "");
    const { floorNs, beganNs } = this.#replay;
    if (floorNs !== undefined) run.upsertMeta.run("floor_ns", String(floorNs));
    if (beganNs !== undefined) run.upsertMeta.run("began_ns", String(beganNs));
  }

  #writeWatermarks(run: Statements): void {
    for (const key of this.#replay.takeRisen()) {
      writeWatermark(run, key, this.#replay.watermarkOf(key)!);
    }
  }

  #writeEverything(run: Statements, grants: readonly Grant[]): void {
    run.deleteAllNonces.run();
    for (const [key, nonce, timestampNs] of this.#replay.entries()) {
      run.insertNonce.run(key, hexToBytes(nonce), timestampNs);
    }
    for (const [key, watermarkNs] of this.#replay.watermarks()) {
      writeWatermark(run, key, watermarkNs);
    }
    for (const [key, record] of this.#keys) writeKey(run, key, record);
    writeGrants(run, grants);
    this.#writeMeta(run);
  }
}

/** Raises a client's watermark, and forgets the nonces at or before it. */
function writeWatermark(run: Statements, key: string, watermarkNs: bigint): void {
  run.upsertWatermark.run(key, watermarkNs);
  run.deleteNonces.run(key, watermarkNs);
}

function writeKey(run: Statements, key: string, record: KeyRecord): void {
  run.upsertKey.run(key, record.used, record.step, record.wrong, record.lockedUntilMs);
}

function writeGrants(run: Statements, grants: readonly Grant[]): void {
  run.deleteAllGrants.run();
  for (const grant of grants) run.upsertGrant.run(...grantToRow(grant));
}

function stateError(path: string, cause: unknown): OpenmeError {
  return new OpenmeError(
    "STATE",
    `cannot open the state database ${quote(path, 1000)}: ${messageOf(cause)}`,
    {
      hint:
        "openme must be able to write there: run it as root, or choose another folder with --state-dir",
      cause,
    },
  );
}
