/** Questions on a terminal. A wrong answer is asked again. */

import { messageOf, OpenmeError } from "../../values/errors.ts";
import { escapeUnprintable } from "../../values/text.ts";

/** Where questions go, and answers come from. */
export interface Terminal {
  /** Shows a text that does not end its line. */
  readonly show: (text: string) => void;
  /** One line; `undefined` where no more come. */
  readonly readLine: () => Promise<string | undefined>;
}

/** The error where a person has stopped setup. */
export function stoppedError(): OpenmeError {
  return new OpenmeError("STATE", "setup was stopped");
}

/**
 * Asks until `read` takes the answer: it throws for a wrong one, and what it throws is shown. An empty answer is the
 * default, if there is one.
 */
export async function ask<T>(
  question: string,
  { fallback, read }: { fallback: string | undefined; read: (answer: string) => T },
  { show, readLine }: Terminal,
): Promise<T> {
  const shown = fallback === undefined ? "" : ` [${escapeUnprintable(fallback)}]`;
  for (;;) {
    show(`${question}${shown}: `);
    const line = await readLine();
    if (line === undefined) throw stoppedError();
    const answer = line.trim() || fallback;
    if (answer === undefined) continue;
    try {
      return read(answer);
    } catch (cause) {
      if (!(cause instanceof OpenmeError)) throw cause;
      const hint = cause.hint === undefined ? "" : ` (${cause.hint})`;
      show(`  ${escapeUnprintable(messageOf(cause) + hint)}\n`);
    }
  }
}

/** The terminal of this process. `signal` ends a wait for an answer. */
export function ownTerminal(signal: AbortSignal): Terminal {
  const decoder = new TextDecoder();
  const chunk = new Uint8Array(1024);
  let text = "";
  const stopped = new Promise<null>((resolve) => {
    signal.addEventListener("abort", () => resolve(null), { once: true });
  });
  return {
    show: (text) => void Deno.stderr.writeSync(new TextEncoder().encode(text)),
    readLine: async () => {
      while (!text.includes("\n")) {
        if (signal.aborted) return undefined;
        const length = await Promise.race([Deno.stdin.read(chunk), stopped]);
        if (length === null) return undefined;
        text += decoder.decode(chunk.subarray(0, length), { stream: true });
      }
      const [line = "", ...rest] = text.split("\n");
      text = rest.join("\n");
      return line;
    },
  };
}
