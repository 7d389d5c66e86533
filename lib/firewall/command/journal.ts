/**
 * What the command backend may have opened, on disk: written before anything opens, so that the next start can close
 * what a dead process left. It is replaced whole, so one that cannot be read was damaged from outside: it is reported
 * and moved aside, and nothing of it is believed.
 */

import { join } from "node:path";
import { messageOf, OpenmeError } from "../../values/errors.ts";
import { errorFields, type Log } from "../../system/log.ts";
import { formatNetwork, parseNetwork } from "../../values/network.ts";
import { formatPortRange, parsePortSpec } from "../../values/ports.ts";
import { quote } from "../../values/text.ts";
import type { Entry } from "./line.ts";

const NAME = "opened.json";

/** The journal in the state directory; without one nothing is written down. */
export class Journal {
  readonly #stateDir: string | undefined;
  readonly #log: Log;
  #fails = false;

  constructor(stateDir: string | undefined, log: Log) {
    this.#stateDir = stateDir;
    this.#log = log;
  }

  /** `doing` is for the log, where the journal is damaged: what happens to the openings that it held. */
  read(doing: string): Entry[] {
    if (this.#stateDir === undefined) return [];
    const file = join(this.#stateDir, NAME);
    try {
      return readJournal(this.#stateDir);
    } catch (error) {
      this.#log.error("journal_damaged", { file, why: messageOf(error), doing });
      moveAside(file);
      return [];
    }
  }

  /** While the disk takes nothing, openme goes on from memory and says so: who mends the disk must be able to get in. */
  write(entries: Iterable<Entry>): void {
    if (this.#stateDir === undefined) return;
    const file = join(this.#stateDir, NAME);
    try {
      replace(
        file,
        JSON.stringify([...entries].map(({ address, ports, client }) => ({
          address: formatNetwork(address),
          ports: formatPortRange(ports),
          client,
        }))),
      );
      this.#fails = false;
    } catch (error) {
      if (!this.#fails) {
        this.#log.error("journal_failed", {
          file,
          doing: "going on from memory; what a crash leaves open is not written down",
          ...errorFields(error),
        });
      }
      this.#fails = true;
    }
  }
}

/** Whole or not at all, also in a power cut. */
function replace(path: string, text: string): void {
  const temporary = `${path}.new`;
  const options = { write: true, create: true, truncate: true, mode: 0o600 };
  {
    using file = Deno.openSync(temporary, options);
    const bytes = new TextEncoder().encode(text + "\n");
    for (let done = 0; done < bytes.length;) done += file.writeSync(bytes.subarray(done));
    file.syncDataSync();
  }
  Deno.renameSync(temporary, path);
}

/** To be looked at by people. */
function moveAside(path: string): void {
  try {
    Deno.renameSync(path, `${path}.damaged`);
  } catch {
    // The next write says what is wrong with the disk.
  }
}

/** What the journal in a state directory holds. Throws `STATE` where it cannot be read, or anything in it is no opening. */
export function readJournal(stateDir: string): Entry[] {
  const path = join(stateDir, NAME);
  try {
    return parseJournal(Deno.readTextFileSync(path));
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound) return [];
    throw new OpenmeError("STATE", `cannot read ${quote(path, 1000)}: ${messageOf(cause)}`, {
      cause,
    });
  }
}

function parseJournal(text: string): Entry[] {
  const items: unknown = JSON.parse(text);
  if (!Array.isArray(items)) throw new TypeError("it is not a list");
  return items.map((item: unknown, index) => {
    const entry = parseEntry(item);
    if (!entry) throw new TypeError(`item ${index + 1} is not an opening`);
    return entry;
  });
}

function parseEntry(item: unknown): Entry | undefined {
  const { address: from, ports: at, client } = (item ?? {}) as Record<string, unknown>;
  if (typeof from !== "string" || typeof at !== "string" || typeof client !== "string") {
    return undefined;
  }
  const address = parseNetwork(from);
  const ports = parsePortSpec(at);
  if (!address || !ports || ports.protocol === "both" || !/^[\w.,-]*$/.test(client)) {
    return undefined;
  }
  return { address, ports: { ...ports, protocol: ports.protocol }, client };
}
