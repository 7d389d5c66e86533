/**
 * What the command backend has opened, on disk: written before anything opens, so that the next start can close what a
 * dead process left. A damaged one gives what can be read of it, and says so.
 */

import { join } from "node:path";
import { messageOf } from "../errors.ts";
import type { Log } from "../log.ts";
import { formatNetwork, parseNetwork } from "../network.ts";
import { formatPortRange, parsePortSpec } from "../ports.ts";
import type { Entry } from "./command_line.ts";

const NAME = "opened.json";

/** The journal in the state directory. */
export class Journal {
  readonly #path: string;
  readonly #log: Log;

  constructor(stateDir: string, log: Log) {
    this.#path = join(stateDir, NAME);
    this.#log = log;
  }

  read(): Entry[] {
    let text: string;
    try {
      text = Deno.readTextFileSync(this.#path);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return [];
      this.#complain(messageOf(error), 0);
      return [];
    }
    const { entries, flaw } = parseJournal(text);
    if (flaw !== undefined) this.#complain(flaw, entries.length);
    return entries;
  }

  /** Whole or not at all, also where the power goes. */
  write(entries: Iterable<Entry>): void {
    const text = JSON.stringify([...entries].map(({ address, ports, client }) => ({
      address: formatNetwork(address),
      ports: formatPortRange(ports),
      client,
    })));
    const temporary = `${this.#path}.new`;
    const file = Deno.openSync(temporary, {
      write: true,
      create: true,
      truncate: true,
      mode: 0o600,
    });
    try {
      const bytes = new TextEncoder().encode(text + "\n");
      for (let done = 0; done < bytes.length;) done += file.writeSync(bytes.subarray(done));
      file.syncDataSync();
    } finally {
      file.close();
    }
    Deno.renameSync(temporary, this.#path);
  }

  #complain(why: string, readable: number): void {
    this.#log.error("journal_damaged", {
      file: this.#path,
      why,
      doing: `closing the ${readable} openings that can be read; others may still be open`,
    });
  }
}

/** Everything that can be read; `flaw` says what cannot. */
export function parseJournal(text: string): { entries: Entry[]; flaw?: string } {
  let items: unknown;
  let flaw: string | undefined;
  try {
    items = JSON.parse(text);
    if (!Array.isArray(items)) flaw = "it is not a list";
  } catch (error) {
    flaw = messageOf(error);
  }
  if (!Array.isArray(items)) items = salvage(text);
  const entries: Entry[] = [];
  for (const item of items as unknown[]) {
    const entry = parseEntry(item);
    if (entry) entries.push(entry);
    else flaw ??= "an entry is not an opening";
  }
  return flaw === undefined ? { entries } : { entries, flaw };
}

/** The objects in a text that was torn off. */
function salvage(text: string): unknown[] {
  return [...text.matchAll(/\{[^{}]*\}/g)].flatMap(([each]) => {
    try {
      return [JSON.parse(each) as unknown];
    } catch {
      return [];
    }
  });
}

function parseEntry(item: unknown): Entry | undefined {
  const { address: from, ports: at, client: who } = (item ?? {}) as Record<string, unknown>;
  const address = parseNetwork(String(from));
  const ports = parsePortSpec(String(at));
  const client = String(who ?? "");
  if (!address || !ports || ports.protocol === "both" || !/^[\w.,-]*$/.test(client)) {
    return undefined;
  }
  return { address, ports: { ...ports, protocol: ports.protocol }, client };
}
