/** Chromium in a lab, driven over the DevTools protocol through two pipes: its network is the client's. */

import assert from "node:assert/strict";
import { decodeBase64 } from "../../lib/crypto/keys.ts";
import type { Lab, Side } from "./lab.ts";

const FLAGS = [
  ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
  ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
  "--remote-debugging-pipe",
];

/** A page in a browser of its own. */
export class Browser implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #profile: string;
  readonly #waiting = new Map<number, PromiseWithResolvers<Record<string, unknown>>>();
  #lastId = 0;
  #session: string | undefined;
  /** What the page has told its console, refusals of its Content-Security-Policy among them. */
  readonly complaints: string[] = [];

  private constructor(lab: Lab, side: Side, profile: string) {
    this.#profile = profile;
    const script = 'exec chromium "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1';
    const args = ["sh", "-c", script, "sh", ...FLAGS, `--user-data-dir=${profile}`];
    this.#child = new Deno.Command("ip", {
      args: ["netns", "exec", lab.namespace(side), ...args],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    this.#writer = this.#child.stdin.getWriter();
    this.#read();
  }

  static async open(lab: Lab, side: Side, url: string): Promise<Browser> {
    const browser = new Browser(lab, side, await Deno.makeTempDir({ prefix: "openme-chromium-" }));
    const { targetId } = await browser.#send("Target.createTarget", { url: "about:blank" });
    const attached = await browser.#send("Target.attachToTarget", { targetId, flatten: true });
    browser.#session = String(attached["sessionId"]);
    await browser.#send("Log.enable");
    await browser.#send("Page.enable");
    await browser.#send("Page.navigate", { url });
    return browser;
  }

  /** The value of an expression in the page. Rejects where it throws. */
  async evaluate(expression: string): Promise<unknown> {
    const options = { expression, returnByValue: true, awaitPromise: true };
    const { result, exceptionDetails } = await this.#send("Runtime.evaluate", options);
    assert.equal(exceptionDetails, undefined, expression);
    return (result as { value?: unknown }).value;
  }

  /** Everything that can be read on the page. */
  async text(): Promise<string> {
    return String(await this.evaluate("document.body?.innerText"));
  }

  /** A picture of the page, PNG. */
  async picture(width: number, scheme: "light" | "dark"): Promise<Uint8Array> {
    const metrics = { width, height: 640, deviceScaleFactor: 1, mobile: false };
    await this.#send("Emulation.setDeviceMetricsOverride", metrics);
    const features = [{ name: "prefers-color-scheme", value: scheme }];
    await this.#send("Emulation.setEmulatedMedia", { features });
    const { data } = await this.#send("Page.captureScreenshot", { format: "png" });
    return decodeBase64(String(data))!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.status;
    await Deno.remove(this.#profile, { recursive: true }).catch(() => {});
  }

  async #send(
    method: string,
    params: Record<string, unknown> = {},
  ): Promise<Record<string, unknown>> {
    const id = ++this.#lastId;
    const answer = Promise.withResolvers<Record<string, unknown>>();
    this.#waiting.set(id, answer);
    const message = JSON.stringify({ id, method, params, sessionId: this.#session });
    await this.#writer.write(new TextEncoder().encode(message + "\0"));
    return await answer.promise;
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    let text = "";
    for await (const chunk of this.#child.stdout) {
      text += decoder.decode(chunk, { stream: true });
      const messages = text.split("\0");
      text = messages.pop()!;
      for (const message of messages) this.#take(JSON.parse(message));
    }
    for (const answer of this.#waiting.values()) answer.reject(new Error("Chromium has ended"));
  }

  #take({ id, result, error, method, params }: {
    id?: number;
    result?: Record<string, unknown>;
    error?: { message: string };
    method?: string;
    params?: { entry: { text: string } };
  }): void {
    if (method === "Log.entryAdded") this.complaints.push(params!.entry.text);
    const answer = this.#waiting.get(id ?? -1);
    if (!answer) return;
    this.#waiting.delete(id!);
    if (error) answer.reject(new Error(error.message));
    else answer.resolve(result ?? {});
  }
}
