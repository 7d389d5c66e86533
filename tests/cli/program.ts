/** openme as a person meets it: a process with arguments, an environment, two streams and an exit code. */

import assert from "node:assert/strict";
import { OPENME } from "../support/openme_command.ts";
import { SECRETS } from "../support/server_yaml.ts";
import "../support/loopback.ts";

/** What a finished command left. */
export interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** How long a command may take, on a machine with other things to do. */
const DEADLINE_MS = 60_000;

/** How to start it. */
export interface Start {
  readonly cwd?: string;
  /** The whole environment; without it, that of the tests. */
  readonly env?: Readonly<Record<string, string>>;
  /** A command that runs openme, such as one that sets a umask. */
  readonly through?: readonly string[];
}

/** Through what openme is held to the modes of files, as everybody is: root is, once it has no capabilities. */
export function unprivileged(): string[] {
  return Deno.uid() === 0 ? ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] : [];
}

/** The arguments for {@linkcode Deno.Command}. */
export function commandLine(args: readonly string[], { through = [] }: Start = {}): string[] {
  return [...through, ...OPENME, ...args];
}

/** Runs openme to its end, and checks that no private key is on stderr. */
export async function openme(args: readonly string[], start: Start = {}): Promise<Result> {
  const [file, ...rest] = commandLine(args, start);
  const child = new Deno.Command(file!, {
    args: rest,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    ...(start.cwd === undefined ? {} : { cwd: start.cwd }),
    ...(start.env === undefined ? {} : { env: { ...start.env }, clearEnv: true }),
  }).spawn();
  // A test that waits for an end which never comes is to fail, not to hang.
  const killer = setTimeout(() => child.kill("SIGKILL"), DEADLINE_MS);
  const { code, stdout, stderr } = await child.output().finally(() => clearTimeout(killer));
  const result = {
    code,
    stdout: new TextDecoder().decode(stdout),
    stderr: new TextDecoder().decode(stderr),
  };
  for (const secret of SECRETS) assertNotTold(result.stderr, secret);
  return result;
}

/** Runs openme on a terminal of its own, which `script` gives it, with what a person would see there. */
export async function openmeOnTerminal(
  args: readonly string[],
  { cwd, env = {} }: Pick<Start, "cwd" | "env"> = {},
): Promise<{ code: number; shown: string }> {
  const words = commandLine(args).map((word) => `'${word.replaceAll("'", `'\\''`)}'`);
  const { code, stdout } = await new Deno.Command("script", {
    args: ["--quiet", "--return", "--command", `exec ${words.join(" ")}`, "/dev/null"],
    ...(cwd === undefined ? {} : { cwd }),
    env: { ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  return { code, shown: new TextDecoder().decode(stdout).replaceAll("\r\n", "\n") };
}

/** That a text has no telling part of a secret in base64 in it. */
export function assertNotTold(text: string, secret: string): void {
  const telling = 16;
  for (let at = 0; at + telling <= secret.length; at += 4) {
    assert.ok(!text.includes(secret.slice(at, at + telling)), `a private key is told: ${text}`);
  }
}

/** A result that is good, with nothing but data on stdout. */
export function good(stderr: readonly string[] = [], stdout = ""): Result {
  return { code: 0, stdout, stderr: lines(stderr) };
}

/** A failure: `openme: error: …`, the hint if any, nothing on stdout. */
export function failure(code: 1 | 2, error: string, hint?: string): Result {
  const told = [`openme: error: ${error}`];
  if (hint !== undefined) told.push(`openme: hint: ${hint}`);
  return { code, stdout: "", stderr: lines(told) };
}

function lines(texts: readonly string[]): string {
  return texts.map((text) => text + "\n").join("");
}

/** An environment with nothing in it but what it takes to start openme here, and what is given. */
export async function bareEnvironment(
  extra: Readonly<Record<string, string>> = {},
): Promise<Record<string, string>> {
  return { PATH: Deno.env.get("PATH") ?? "", DENO_DIR: await denoDir(), NO_COLOR: "1", ...extra };
}

let cachedDenoDir: Promise<string> | undefined;

/** Where this Deno keeps what it has fetched: without HOME it would not know. */
function denoDir(): Promise<string> {
  return cachedDenoDir ??= (async () => {
    const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["info", "--json"] })
      .output();
    return JSON.parse(new TextDecoder().decode(stdout)).denoDir;
  })();
}

/** Does something with each item, a few at a time; gives what came of them in the order of the items. */
export async function mapSome<T, U>(
  items: readonly T[],
  work: (item: T) => Promise<U>,
): Promise<U[]> {
  const results: U[] = [];
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const at = next++;
      results[at] = await work(items[at]!);
    }
  };
  await Promise.all([worker(), worker(), worker()]);
  return results;
}

/** A UDP port that is free at the moment. */
export function freeUdpPort(): number {
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "::", port: 0 });
  socket.close();
  return (socket.addr as Deno.NetAddr).port;
}
