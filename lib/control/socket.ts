/**
 * The control socket, by which commands on this host act on the running server: a Unix socket of mode 0600 in the state
 * directory, whose mode is 0700. A user who can reach it could also edit the configuration. One JSON line in, one JSON
 * line out, then the connection ends; sizes, times and the number of connections are bounded.
 */

import { pause } from "../system/clock.ts";
import { join } from "node:path";
import { messageOf, OpenmeError } from "../values/errors.ts";
import { closeQuietly, writeText } from "../system/connection.ts";
import { errorFields, type Log } from "../system/log.ts";
import { quote } from "../values/text.ts";
import { CONTROL_NAME } from "../state/names.ts";

/** The path of the socket for a state directory. */
export function controlPath(stateDir: string): string {
  return join(stateDir, CONTROL_NAME);
}

/** Bounds on what callers can make the server hold. */
export interface ControlLimits {
  readonly connections: number;
  readonly requestBytes: number;
  /** How long a request may take to arrive. */
  readonly requestMs: number;
}

export const CONTROL_LIMITS: ControlLimits = {
  connections: 16,
  requestBytes: 4096,
  requestMs: 5000,
};

/** How long a command waits for its answer. The firewall has its own deadline, and cutting connections takes time. */
const ANSWER_MS = 30_000;

/** An answer: a value, or an error with its hint. */
type Answer = { readonly value: unknown } | {
  readonly error: string;
  readonly hint: string | undefined;
};

/** Carries a request out. What it throws becomes the answer's error. */
export type ControlHandler = (request: unknown) => Promise<unknown>;

/** A control socket. Connections wait unanswered until {@linkcode serveControl}. */
export interface ControlSocket {
  readonly listener: Deno.UnixListener;
  /** Closes it and removes its file. Never throws; may be called twice. */
  readonly close: () => void;
}

/** Makes the control socket. The state directory must be locked: then an old socket file belongs to a dead process. */
export function bindControl(stateDir: string): ControlSocket {
  const path = controlPath(stateDir);
  let listener: Deno.UnixListener;
  try {
    removeFile(path);
    listener = Deno.listen({ transport: "unix", path });
    Deno.chmodSync(path, 0o600);
  } catch (cause) {
    throw new OpenmeError(
      "STATE",
      `cannot make the control socket ${quote(path, 1000)}: ${messageOf(cause)}`,
      { cause },
    );
  }
  const close = () => {
    for (const step of [() => listener.close(), () => removeFile(path)]) {
      try {
        step();
      } catch {
        // Closed already; or a file that the next serve removes.
      }
    }
  };
  return { listener, close };
}

/** Answers requests until `signal` aborts; then closes the socket. */
export function serveControl(
  { listener, close }: ControlSocket,
  { handle, log, signal, limits = CONTROL_LIMITS }: {
    handle: ControlHandler;
    log: Log;
    signal: AbortSignal;
    limits?: ControlLimits;
  },
): void {
  if (signal.aborted) return close();
  signal.addEventListener("abort", close, { once: true });
  acceptAll(listener, { handle, log, signal, limits });
}

async function acceptAll(
  listener: Deno.UnixListener,
  { handle, log, signal, limits }: {
    handle: ControlHandler;
    log: Log;
    signal: AbortSignal;
    limits: ControlLimits;
  },
): Promise<void> {
  let open = 0;
  while (!signal.aborted) {
    try {
      const connection = await listener.accept();
      if (open >= limits.connections) {
        connection.close();
        continue;
      }
      open++;
      answerOne(connection, handle, limits).finally(() => open--);
    } catch (error) {
      if (signal.aborted) return;
      log.warn("control_failed", errorFields(error));
      await pause(1000);
    }
  }
}

async function answerOne(
  connection: Deno.Conn,
  handle: ControlHandler,
  { requestBytes, requestMs }: ControlLimits,
): Promise<void> {
  const timer = setTimeout(() => closeQuietly(connection), requestMs);
  try {
    const line = await readLine(connection, requestBytes);
    clearTimeout(timer);
    await writeText(connection, JSON.stringify(await answerTo(line, handle)) + "\n");
  } catch {
    // It hung up, or said nothing in time.
  } finally {
    clearTimeout(timer);
    closeQuietly(connection);
  }
}

async function answerTo(line: string, handle: ControlHandler): Promise<Answer> {
  try {
    return { value: await handle(JSON.parse(line)) };
  } catch (error) {
    return {
      error: messageOf(error),
      hint: error instanceof OpenmeError ? error.hint : undefined,
    };
  }
}

/** Sends a request to the server of this state directory. Throws `OpenmeError`: the server's own, or why none came. */
export async function askServer(stateDir: string, request: unknown): Promise<unknown> {
  const path = controlPath(stateDir);
  const connection = await connectTo(path);
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    closeQuietly(connection);
  }, ANSWER_MS);
  let answer: Answer;
  try {
    await writeText(connection, JSON.stringify(request) + "\n");
    answer = JSON.parse(await readLine(connection, Infinity)) as Answer;
  } catch (cause) {
    const why = late ? `nothing came within ${ANSWER_MS / 1000} s` : messageOf(cause);
    throw new OpenmeError("STATE", `openme serve did not answer: ${why}`, {
      hint: "its log says more",
      cause,
    });
  } finally {
    clearTimeout(timer);
    closeQuietly(connection);
  }
  if ("value" in answer) return answer.value;
  throw new OpenmeError("STATE", answer.error, { hint: answer.hint });
}

async function connectTo(path: string): Promise<Deno.Conn> {
  try {
    return await Deno.connect({ transport: "unix", path });
  } catch (cause) {
    if (cause instanceof Deno.errors.PermissionDenied) {
      throw new OpenmeError("STATE", "cannot reach openme serve: permission denied", {
        hint: "it belongs to the user that runs openme serve: try sudo",
        cause,
      });
    }
    if (cause instanceof Deno.errors.NotFound || cause instanceof Deno.errors.ConnectionRefused) {
      throw new NotRunningError(cause);
    }
    throw new OpenmeError("STATE", `cannot reach openme serve: ${messageOf(cause)}`, {
      hint: START_HINT,
      cause,
    });
  }
}

const START_HINT = "start it: openme serve; or name its folder: --state-dir DIR";

/** No process listens at the control socket. */
export class NotRunningError extends OpenmeError {
  constructor(cause: unknown) {
    super("STATE", "cannot reach openme serve: it is not running", { hint: START_HINT, cause });
  }
}

async function readLine(connection: Deno.Conn, mostBytes: number): Promise<string> {
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(4096);
  let text = "";
  while (!text.includes("\n")) {
    const size = await connection.read(buffer);
    if (size === null) throw new Error("the connection ended early");
    text += decoder.decode(buffer.subarray(0, size), { stream: true });
    if (text.length > mostBytes) throw new Error("the request is too long");
  }
  return text.slice(0, text.indexOf("\n"));
}

function removeFile(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
