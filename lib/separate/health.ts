/**
 * The keeper's side of the health process. It learns only of addresses that hold a grant for the port now; what it sends
 * is typed.
 */

import type { HealthSource } from "../health/listener.ts";
import type { Listen } from "../health/port.ts";
import { type Address, parseAddress } from "../values/address.ts";
import type { Clock } from "../values/moment.ts";
import { listenBy, type Started } from "./listener.ts";

/** What is read of the process: two messages for each request. */
const MESSAGES = { perSecond: 200, capacity: 400 };

/** What the process is told first. */
export interface HealthRole {
  readonly role: "health";
  readonly port: number;
  /** Addresses to listen on: `::`, and `0.0.0.0` too where `::` takes no IPv4. */
  readonly wildcards: readonly string[];
}

/**
 * What the process asks: whether an address holds a grant, or the answer to a request of it. The reply is a boolean, or a
 * `HealthAnswer` or null.
 */
export interface HealthQuestion {
  readonly of: "grant" | "report";
  readonly address: string;
}

/** Listens in a process of its own. */
export function listenInProcess(
  { start, wildcards, clock }: {
    readonly start: () => Promise<Started>;
    readonly wildcards: readonly string[];
    readonly clock: Clock;
  },
): Listen {
  return async (port, source) => {
    const role: HealthRole = { role: "health", port, wildcards };
    const answer = (message: unknown) => {
      const question = readQuestion(message);
      return question && answerTo(question, source);
    };
    return await listenBy({
      ...{ name: "health", role, messages: MESSAGES, answer, clock },
      process: await start(),
    });
  };
}

type ReadQuestion = Pick<HealthQuestion, "of"> & { readonly address: Address };

function answerTo({ of, address }: ReadQuestion, source: HealthSource): Promise<unknown> {
  return of === "grant" ? source.knows(address) : source.answerFor(address);
}

function readQuestion(message: unknown): ReadQuestion | undefined {
  const { of, address: text } = Object(message);
  const address = typeof text === "string" ? parseAddress(text) : undefined;
  return (of === "grant" || of === "report") && address ? { of, address } : undefined;
}
