/**
 * Starts another process of this program that has no rights: by systemd, or with `setpriv` (util-linux), which leaves it
 * what it takes to bind the knock port and to become another user (drop.ts).
 */

import { fileURLToPath } from "node:url";
import { messageOf } from "../values/errors.ts";
import { escapeUnprintable, quote } from "../values/text.ts";
import { enlargeBufferOf } from "../receive/receive_buffer.ts";
import { closeQuietly } from "../system/connection.ts";
import { programEnvironment, type RunProgram } from "../system/run_program.ts";
import { type Channel, channelOver, type Ends } from "./channel.ts";
import { closeDescriptor, passNoDescriptors, receiveDescriptors } from "./descriptor.ts";
import { rightIn, unprivilegedIds } from "./drop.ts";

/** Where processes without rights come from: systemd's socket, or setpriv. */
export type Origin = { readonly socketPath: string } | { readonly setpriv: true };

/** A process that was started, without rights but for its start. */
export interface StartedProcess {
  readonly channel: Channel;
  /**
   * With systemd: enlarges the buffers of the sockets that it passes before its first message. Needs ffi; to be called
   * before that message is waited for.
   */
  enlargeBuffer(): Promise<void>;
  /** Ends one that hangs, and resolves once it has; as far as that is this process's to do: systemd ends its own. */
  kill(): Promise<void>;
}

/** A line of what it sends, where nothing else is said: a signed knock is some 300 bytes. */
const MOST_BYTES = 1024;
/** Of its standard error, in all; the journal has what systemd's says. */
const MOST_LINES = 20;
const MOST_CHARACTERS = 500;
const PROBE_MS = 10_000;
/** For systemd to start a process, and for that process to bind its port. */
const DESCRIPTOR_MS = 10_000;

/** Names the hidden command (lib/cli/catalog.ts). */
const COMMAND = "__taker";
/** Bind a port below 1024, give it a large buffer, become another user: gone with that. */
const CAPABILITIES = "-all,+net_admin,+net_bind_service,+setgid,+setuid";

/** Arguments of setpriv: `command` runs as root with these capabilities alone, and so does all that it runs. */
function withoutRights(capabilities: string, command: readonly string[]): string[] {
  // In two steps: a program that root runs has the capabilities of its bounding set, or else those left to it.
  const second = ["setpriv", "--bounding-set=-all", "--no-new-privs", ...command];
  return [`--inh-caps=${capabilities}`, ...second];
}

/** Where this process can start others without rights from; or why it cannot. */
export async function originOf(
  { env, run }: { env: (name: string) => string | undefined; run: RunProgram },
): Promise<Origin | { readonly why: string }> {
  const socketPath = env("OPENME_TAKER_SOCKET");
  if (socketPath) return socketOrigin(socketPath, "openme-taker.socket");
  if (Deno.build.os !== "linux") return { why: "only Linux has the means" };
  passNoDescriptors();
  const { uid, gid } = unprivilegedIds();
  const become = ["setpriv", `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups"];
  // kill: the keeper must be able to end one that hangs.
  const args = withoutRights(`${CAPABILITIES},+kill`, [...become, "cat", "/proc/self/status"]);
  try {
    const right = rightIn(await run({ program: "setpriv", args, timeoutMs: PROBE_MS }));
    return right === undefined ? { setpriv: true } : { why: `setpriv took too little: ${right}` };
  } catch (cause) {
    const complaint = messageOf(cause).replace(/^setpriv .* exit code \d+: /, "");
    const reason = complaint.includes("not permitted")
      ? "openme is not root, or lacks a capability"
      : complaint.includes("Invalid argument")
      ? `this container has no user ${uid}`
      : "it takes setpriv of util-linux";
    return { why: `${reason} (${complaint})` };
  }
}

/** The same for the fleet process, which connects to the engine: systemd has another socket for it. */
export function fleetOriginOf(
  origin: Origin,
  env: (name: string) => string | undefined,
): Origin | { readonly why: string } {
  if ("setpriv" in origin) return origin;
  const socketPath = env("OPENME_FLEET_SOCKET");
  if (socketPath) return socketOrigin(socketPath, "openme-fleet.socket");
  return { why: "openme.service does not name it a socket (OPENME_FLEET_SOCKET)" };
}

/** systemd's socket at this path, which the unit makes. */
function socketOrigin(path: string, unit: string): Origin | { readonly why: string } {
  try {
    if (Deno.statSync(path).isSocket) return { socketPath: path };
  } catch {
    // There is none.
  }
  return { why: `there is no socket ${quote(path)}: systemctl start ${unit}` };
}

/** Starts one. `said` is given what it writes to standard error, safe to print. Throws where it cannot be started. */
export async function startProcess(
  origin: Origin,
  { said, command, mostBytes = MOST_BYTES }: {
    said: (line: string) => void;
    /** The program and its arguments: {@linkcode thisProgram}, but for tests. */
    command: readonly string[];
    /** Of a line of what it sends. */
    mostBytes?: number;
  },
): Promise<StartedProcess> {
  return "setpriv" in origin
    ? startWithSetpriv(command, { said, mostBytes })
    : await connect(origin.socketPath, mostBytes);
}

async function connect(path: string, mostBytes: number): Promise<StartedProcess> {
  const connection = await Deno.connect({ transport: "unix", path });
  let enlarged = Promise.resolve();
  const enlargeBuffer = async () => {
    for (const descriptor of await receiveDescriptors(connection, DESCRIPTOR_MS)) {
      enlargeBufferOf(descriptor);
      closeDescriptor(descriptor);
    }
  };
  const ends: Ends = {
    // The first read takes the descriptors away.
    read: (buffer) => enlarged.then(() => connection.read(buffer)),
    write: (bytes) => connection.write(bytes),
    closeWrite: () => connection.closeWrite(),
    close: () => connection.close(),
  };
  return {
    channel: channelOver(ends, { mostBytes }),
    enlargeBuffer: () => enlarged = enlargeBuffer(),
    kill: () => Promise.resolve(closeQuietly(connection)),
  };
}

function startWithSetpriv(
  command: readonly string[],
  { said, mostBytes }: { said: (line: string) => void; mostBytes: number },
): StartedProcess {
  const child = new Deno.Command("setpriv", {
    args: withoutRights(CAPABILITIES, command),
    clearEnv: true,
    env: environment(),
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
    cwd: "/",
    detached: true, // Ctrl-C and Ctrl-Z in the terminal are for the keeper
  }).spawn();
  tell(child.stderr, said).catch(() => {});
  return {
    channel: channelOver(endsOf(child), { mostBytes }),
    enlargeBuffer: () => Promise.resolve(),
    kill: async () => {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended by itself.
      }
      await child.status;
    },
  };
}

/**
 * This program: compiled, or its sources and the permissions that it begins with. To be asked for when the server starts:
 * of a program that was replaced meanwhile the kernel gives another path.
 */
export function thisProgram(): string[] {
  if (Deno.build.standalone) return [Deno.execPath(), COMMAND];
  const main = fileURLToPath(Deno.mainModule);
  const permissions = ["--allow-net", "--allow-read", "--allow-env", "--allow-ffi"];
  // A cache of code that root runs must not be open in a process that strangers talk to.
  const flags = ["--quiet", "--cached-only", "--no-prompt", "--no-code-cache", "--unstable-net"];
  // The bundle in npm's package needs no configuration, and must read none that lies in a folder above it.
  const bundled = main.endsWith(".js") ? ["--no-config", "--no-lock", "--no-npm"] : [];
  return [Deno.execPath(), "run", ...flags, ...bundled, ...permissions, main, COMMAND];
}

/** What the program needs of the environment: the rest may hold secrets. */
function environment(): Record<string, string> {
  const names = Deno.build.standalone ? [] : ["HOME", "DENO_DIR", "XDG_CACHE_HOME"];
  const kept = names.map((name) => [name, Deno.env.get(name)]).filter(([, value]) => value);
  return { ...programEnvironment(), ...Object.fromEntries(kept), NO_COLOR: "1" };
}

function endsOf({ stdin, stdout }: Deno.ChildProcess): Ends {
  const writer = stdin.getWriter();
  const reader = stdout.getReader();
  let rest = new Uint8Array(0);
  return {
    read: async (buffer) => {
      if (rest.length === 0) {
        const { value } = await reader.read();
        if (!value) return null;
        rest = value;
      }
      const size = Math.min(rest.length, buffer.length);
      buffer.set(rest.subarray(0, size));
      rest = rest.subarray(size);
      return size;
    },
    write: async (bytes) => {
      await writer.write(bytes);
      return bytes.length;
    },
    closeWrite: () => writer.close(),
    close: () => {
      writer.abort().catch(() => {});
      reader.cancel().catch(() => {});
    },
  };
}

/** Gives the first lines of a stream; a long one comes in pieces. What follows is not read. */
async function tell(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  said: (line: string) => void,
): Promise<void> {
  const pieces = new RegExp(`[^\\n]{1,${MOST_CHARACTERS}}`, "g");
  let rest = "";
  let left = MOST_LINES;
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).match(pieces) ?? [];
    rest = text.endsWith("\n") ? "" : lines.pop() ?? "";
    for (const line of lines) {
      said(escapeUnprintable(line));
      if (--left === 0) return;
    }
  }
  if (rest) said(escapeUnprintable(rest));
}
