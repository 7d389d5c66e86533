/** A place with releases of openme, as packaging/install.sh fetches them, on the loopback. */

import { createHash } from "node:crypto";

/** What is sent for a path: a file, or a file whose connection breaks off after half of it. */
type Answer = { readonly body: Uint8Array; readonly cut?: boolean };

export class Releases implements AsyncDisposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #answers = new Map<string, Answer>();
  /** Every path that was asked for, in order. */
  readonly asked: string[] = [];

  constructor() {
    this.#serve();
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#listener.addr as Deno.NetAddr).port}`;
  }

  set(path: string, body: Uint8Array | string, cut = false): void {
    this.#answers.set(path, {
      body: typeof body === "string" ? new TextEncoder().encode(body) : body,
      cut,
    });
  }

  remove(path: string): void {
    this.#answers.delete(path);
  }

  /** Puts files up as the latest release, with their sums. */
  publish(version: string, files: Readonly<Record<string, Uint8Array>>): void {
    const sums = Object.entries(files).map(([name, body]) =>
      `${createHash("sha256").update(body).digest("hex")}  ${name}\n`
    ).join("");
    for (const [name, body] of Object.entries(files)) {
      this.set(`/download/v${version}/${name}`, body);
    }
    this.setSums(version, sums);
  }

  setSums(version: string, sums: string): void {
    this.set(`/download/v${version}/SHA256SUMS`, sums);
    this.set("/latest/download/SHA256SUMS", sums);
  }

  async #serve(): Promise<void> {
    for await (const connection of this.#listener) {
      // A client may go away in the middle; what it makes of the rest is its own affair.
      this.#answer(connection).catch(() => {}).then(() => connection.close()).catch(() => {});
    }
  }

  async #answer(connection: Deno.Conn): Promise<void> {
    const buffer = new Uint8Array(8192);
    let request = "";
    while (!request.includes("\r\n\r\n")) {
      const length = await connection.read(buffer);
      if (length === null) return;
      request += new TextDecoder().decode(buffer.subarray(0, length));
    }
    const path = request.split(" ")[1]!;
    this.asked.push(path);
    const answer = this.#answers.get(path);
    const body = answer?.body ?? new Uint8Array();
    const status = answer === undefined ? "404 Not Found" : "200 OK";
    const writer = connection.writable.getWriter();
    await writer.write(new TextEncoder().encode(
      `HTTP/1.1 ${status}\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n`,
    ));
    await writer.write(answer?.cut ? body.subarray(0, body.length / 2) : body);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    return Promise.resolve();
  }
}
