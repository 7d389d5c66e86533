/** A real Redis in a lab for a fleet, and what can happen to it. */

import assert from "node:assert/strict";
import type { Lab } from "./lab.ts";
import { IPV4, runToEnd } from "./lab.ts";
import type { Program } from "../support/spawned.ts";

const PLAIN_PORT = 6379;
const TLS_PORT = 6380;
const START_MS = 10_000;

/** A certificate for the engine, and the one that has signed it: PEM, files in a folder. */
export interface Certificate {
  readonly trust: string;
  readonly certificate: string;
  readonly key: string;
}

/** An engine that keeps nothing on disk. Its password changes nothing for the test itself. */
export class RedisServer implements AsyncDisposable {
  readonly #lab: Lab;
  #password: string;
  #program: Program | undefined;

  constructor(lab: Lab, password: string) {
    this.#lab = lab;
    this.#password = password;
  }

  /** Starts it empty, with TLS where there is a certificate. */
  async start(tls?: Certificate, { config }: { config?: string } = {}): Promise<void> {
    const withTls = tls === undefined ? [] : [
      ...["--tls-port", String(TLS_PORT), "--tls-auth-clients", "no"],
      ...["--tls-cert-file", tls.certificate, "--tls-key-file", tls.key],
      ...["--tls-ca-cert-file", tls.trust],
    ];
    this.#program = this.#lab.start("engine", [
      ...["redis-server", ...config === undefined ? [] : [config], "--port", String(PLAIN_PORT)],
      ...config !== undefined
        ? []
        : ["--requirepass", this.#password, "--save", "", "--appendonly", "no"],
      ...withTls,
    ], { cwd: "/" });
    await this.#program.stdout.waitFor(/Ready to accept connections/, START_MS);
  }

  /** Where the fleet finds it. */
  url({ tls = false, password = this.#password } = {}): string {
    const [scheme, port] = tls ? ["rediss", TLS_PORT] : ["redis", PLAIN_PORT];
    return `${scheme}://:${password}@${IPV4.engine}:${port}`;
  }

  async kill(): Promise<void> {
    await this.#program?.kill("SIGKILL");
  }

  stop(): void {
    this.#program!.signal("SIGSTOP");
  }

  goOn(): void {
    this.#program!.signal("SIGCONT");
  }

  /** From now on it asks for this password, also of those who are connected. */
  async changePassword(password: string): Promise<void> {
    await this.command("CONFIG", "SET", "requirepass", password);
    this.#password = password;
    await this.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
  }

  /** Runs a command; gives what it answers, a line an item. */
  async command(...words: string[]): Promise<string[]> {
    return (await this.#cli(words)).split("\n").filter(Boolean);
  }

  /** Runs many commands of one line each. */
  async commands(lines: readonly string[]): Promise<void> {
    const answer = await this.#cli(["--pipe"], lines.map((line) => `${line}\r\n`).join(""));
    assert.match(answer, /errors: 0,/);
  }

  /** The names of all keys of a type. */
  async keys(type: "stream" | "string"): Promise<string[]> {
    const [, ...names] = await this.command("SCAN", "0", "COUNT", "1000000", "TYPE", type);
    return names;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#program?.signal("SIGCONT");
    await this.#program?.[Symbol.asyncDispose]();
  }

  async #cli(args: readonly string[], stdin = ""): Promise<string> {
    const command = ["redis-cli", "-p", String(PLAIN_PORT), "--no-auth-warning", ...args];
    return await this.#lab.run(
      "engine",
      ["env", `REDISCLI_AUTH=${this.#password}`, ...command],
      stdin,
    );
  }
}

/** Makes a certificate for the engine's address, signed by one of its own. */
export async function certify(dir: string, name: string): Promise<Certificate> {
  const file = (what: string) => `${dir}/${name}-${what}.pem`;
  const request = async (what: string, more: readonly string[]) => {
    const { code, stderr } = await runToEnd("openssl", [
      ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"],
      ...["-days", "1", "-keyout", file(`${what}-key`), "-out", file(what), ...more],
    ]);
    assert.equal(code, 0, stderr);
  };
  await request("trust", ["-subj", `/CN=${name}`]);
  await request("engine", [
    ...["-subj", "/CN=engine", "-CA", file("trust"), "-CAkey", file("trust-key")],
    ...[
      "-addext",
      `subjectAltName=IP:${IPV4.engine}`,
      "-addext",
      "basicConstraints=critical,CA:FALSE",
    ],
  ]);
  return { trust: file("trust"), certificate: file("engine"), key: file("engine-key") };
}
