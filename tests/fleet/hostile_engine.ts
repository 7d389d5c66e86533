/** An engine in an attacker's hands: it replies to a command what the test wants, and else as an honest one would. */

/** What is replied to a command of this name; `undefined` for the honest reply. May be endless. */
export type Reply = string | Uint8Array | Iterable<Uint8Array>;

export class HostileEngine implements AsyncDisposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #connections = new Set<Deno.Conn>();
  readonly #replyTo: (command: string, args: readonly string[]) => Reply | undefined;
  readonly #running: Promise<void>;
  /** Connections so far. */
  accepted = 0;

  constructor(replyTo: (command: string, args: readonly string[]) => Reply | undefined) {
    this.#replyTo = replyTo;
    this.#running = this.#accept();
  }

  get port(): number {
    return this.#listener.addr.port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const connection of this.#connections) connection.close();
    await this.#running;
  }

  async #accept(): Promise<void> {
    const serving: Promise<void>[] = [];
    try {
      for await (const connection of this.#listener) {
        this.accepted++;
        serving.push(this.#serve(connection).catch(() => {}));
      }
    } catch {
      // Closed.
    }
    await Promise.all(serving);
  }

  async #serve(connection: Deno.Conn): Promise<void> {
    this.#connections.add(connection);
    const claims = new Map<string, string>();
    let rest = "";
    try {
      for await (const chunk of connection.readable.pipeThrough(new TextDecoderStream())) {
        rest += chunk;
        const { commands, left } = commandsIn(rest);
        rest = left;
        for (const [name = "", ...args] of commands) {
          const reply = this.#replyTo(name.toUpperCase(), args) ??
            honestly(name.toUpperCase(), args, claims);
          for (const bytes of piecesOf(await reply as Reply)) await writeAll(connection, bytes);
        }
      }
    } finally {
      this.#connections.delete(connection);
      try {
        connection.close();
      } catch {
        // Closed already.
      }
    }
  }
}

function honestly(
  name: string,
  [key = "", value = ""]: readonly string[],
  claims: Map<string, string>,
): string | Promise<string> {
  if (name === "SET") {
    if (claims.has(key)) return "$-1\r\n";
    claims.set(key, value);
    return "+OK\r\n";
  }
  if (name === "GET") return bulk(claims.get(key) ?? "");
  if (name === "TIME") return `*2\r\n${bulk("1800000000")}${bulk("0")}`;
  if (name === "XADD") return bulk("1-1");
  if (name === "XREVRANGE") return "*0\r\n";
  return new Promise((resolve) => setTimeout(() => resolve("*-1\r\n"), 100));
}

export const bulk = (text: string) => `$${text.length}\r\n${text}\r\n`;

/** What XREAD replies. */
export function entries(count: number, entry = "junk", from = 1): string {
  const each = (i: number) => `*2\r\n${bulk(`${from + i}-0`)}*2\r\n${bulk("e")}${bulk(entry)}`;
  const all = Array.from({ length: count }, (_, i) => each(i)).join("");
  return `*1\r\n*2\r\n${bulk("openme:test:stream")}*${count}\r\n${all}`;
}

function piecesOf(reply: Reply): Iterable<Uint8Array> {
  if (typeof reply === "string") return [new TextEncoder().encode(reply)];
  return reply instanceof Uint8Array ? [reply] : reply;
}

async function writeAll(connection: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

function commandsIn(text: string): { commands: string[][]; left: string } {
  const commands: string[][] = [];
  for (;;) {
    const head = /^\*(\d+)\r\n/.exec(text);
    if (!head) return { commands, left: text };
    let at = head[0].length;
    const words: string[] = [];
    for (let i = 0; i < Number(head[1]); i++) {
      const length = /^\$(\d+)\r\n/.exec(text.slice(at, at + 16));
      if (!length || text.length < at + length[0].length + Number(length[1]) + 2) {
        return { commands, left: text };
      }
      at += length[0].length;
      words.push(text.slice(at, at + Number(length[1])));
      at += Number(length[1]) + 2;
    }
    commands.push(words);
    text = text.slice(at);
  }
}
