/** Lines to standard error: in order, one batch at a time, and never in anybody's way. */

import assert from "node:assert/strict";
import { LineWriter } from "../../lib/system/line_writer.ts";

/** A sink that takes what it is given when `take` says so. */
class SlowSink {
  text = "";
  writes = 0;
  failure: Error | undefined;
  #gate = Promise.withResolvers<void>();

  async write(bytes: Uint8Array): Promise<number> {
    await this.#gate.promise;
    this.writes++;
    if (this.failure) {
      const failure = this.failure;
      this.failure = undefined;
      throw failure;
    }
    const taken = bytes.subarray(0, 700); // as a pipe takes it
    this.text += new TextDecoder().decode(taken);
    return taken.length;
  }

  take(): void {
    this.#gate.resolve();
  }
}

const lost = (lines: number) => `lost ${lines}`;

Deno.test("lines wait for a reader that hangs, up to a bound, and write() never waits", async () => {
  const sink = new SlowSink();
  const writer = new LineWriter(sink, { lost });
  for (let i = 0; i < 1500; i++) writer.write(`line ${i}`);
  await writer.flush(20); // resolves although nothing was taken
  assert.equal(sink.text, "");
  sink.take();
  await writer.flush(5000);
  const lines = sink.text.split("\n");
  assert.deepEqual(lines.slice(0, 3), ["line 0", "line 1", "line 2"]);
  assert.deepEqual(lines.slice(-3), ["line 999", "lost 500", ""]);
});

Deno.test("a closed sink takes nothing, and nothing throws; a busy one is tried again", async () => {
  const sink = new SlowSink();
  sink.take();
  const writer = new LineWriter(sink, { lost });
  sink.failure = new Deno.errors.BrokenPipe();
  writer.write("not read");
  await writer.flush(5000);
  sink.failure = new Deno.errors.WouldBlock();
  writer.write("read");
  await writer.flush(5000);
  assert.equal(sink.text, "read\n");
});

Deno.test("the status stays below the lines, and is replaced in place", async () => {
  const sink = new SlowSink();
  sink.take();
  const writer = new LineWriter(sink, { lost });
  const erase = "\r\x1b[K";
  writer.showStatus("3 s");
  await writer.flush(5000);
  writer.showStatus("2 s");
  await writer.flush(5000);
  writer.write("a line");
  await writer.flush(5000);
  writer.write("the last");
  writer.showStatus("");
  await writer.flush(5000);
  assert.equal(sink.text, `3 s${erase}2 s${erase}a line\n2 s${erase}the last\n`);
});
