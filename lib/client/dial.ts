/**
 * A TCP connection to the first address of a host that accepts (RFC 8305). The other attempts are cancelled before they
 * are established, so that the service sees one connection.
 */

import type { Connect, Connection } from "./bound_connection.ts";
import { type Address, formatAddress } from "../values/address.ts";
import { messageOf } from "../values/errors.ts";
import { pause } from "../system/clock.ts";

/** How the latest attempt at an address ended. */
export interface Attempt {
  readonly address: Address;
  /** `no answer`, `refused`, or what the system said. */
  readonly outcome: string;
}

/** A connection, or what was tried. */
export type Dialled =
  | { readonly kind: "open"; readonly connection: Connection; readonly address: Address }
  | { readonly kind: "closed"; readonly tried: readonly Attempt[] };

/** How long after one address the next is tried (RFC 8305 section 5). */
const HEAD_START_MS = 250;
/**
 * How soon an address that refused is tried again, since its port may be about to open: a quarter later each time. A
 * server may need 200 ms from the knock until it listens on its health port.
 */
const RETRY_MS = { first: 50, most: 250 };

/**
 * Tries all addresses until one accepts or `signal` aborts, and tries again where one refuses. Where an address does not
 * answer, the system repeats the attempt, each second at first. `from`: the addresses of this machine to use.
 */
export async function dialFirst(
  addresses: readonly Address[],
  port: number,
  signal: AbortSignal,
  from?: readonly Address[],
): Promise<Dialled> {
  const connect = from ? (await import("./bound_connection.ts")).connectFrom(from) : connectFromAny;
  const outcomes = new Map(addresses.map((address) => [address, "no answer"]));
  const decided = new AbortController();
  const over = AbortSignal.any([signal, decided.signal]);
  let winner: { connection: Connection; address: Address } | undefined;
  const attempt = async (address: Address, headStartMs: number) => {
    await pause(headStartMs, over);
    for (
      let retryMs = RETRY_MS.first;
      !over.aborted;
      retryMs = Math.min(1.25 * retryMs, RETRY_MS.most)
    ) {
      try {
        const connection = await connect(address, port, over);
        if (winner) connection.close();
        else winner = { connection, address };
        return decided.abort();
      } catch (cause) {
        if (over.aborted) return;
        outcomes.set(address, outcomeOf(cause));
        await pause(retryMs, over);
      }
    }
  };
  await Promise.all(
    alternateFamilies(addresses).map((address, i) => attempt(address, i * HEAD_START_MS)),
  );
  if (winner) return { kind: "open", ...winner };
  return {
    kind: "closed",
    tried: [...outcomes].map(([address, outcome]) => ({ address, outcome })),
  };
}

const connectFromAny: Connect = (address, port, signal) =>
  Deno.connect({ hostname: formatAddress(address), port, signal });

/** The families in turn, beginning with that of the first address (RFC 8305 section 4). */
function alternateFamilies(addresses: readonly Address[]): Address[] {
  const first = addresses.filter(({ family }) => family === addresses[0]?.family);
  const second = addresses.filter(({ family }) => family !== addresses[0]?.family);
  const longer = Math.max(first.length, second.length);
  return Array.from({ length: longer }, (_, i) => [first[i], second[i]]).flat()
    .filter((address) => address !== undefined);
}

function outcomeOf(cause: unknown): string {
  if (cause instanceof Deno.errors.ConnectionRefused) return "refused";
  if (cause instanceof Deno.errors.TimedOut) return "no answer";
  return messageOf(cause).replace(/ \(os error \d+\)$/, "").toLowerCase();
}

/** Closes a connection that may be closed already. */
export function closeQuietly(connection: Connection): void {
  try {
    connection.close();
  } catch {
    // The other side, or a deadline, has closed it.
  }
}
