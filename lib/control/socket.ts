/**
 * The control socket: how commands on this host act on the running server. A Unix socket in the state directory, mode
 * 0600 in a folder of mode 0700, so that whoever reaches it could as well edit the configuration. One JSON line in, one
 * JSON line out, then the connection is over; sizes, times and the number of connections are bounded.
 */

import { pause } from "../system/clock.ts";
import { join } from "node:path";
import { messageOf, OpenmeError } from "../values/errors.ts";
import { errorFields, type Log } from "../system/log.ts";
import { quote } from "../values/text.ts";
import { CONTROL_NAME } from "../state/names.ts";

/** The socket of the server with this state directory. */
export function controlPath(stateDir: string): string {
  return join(stateDir, CONTROL_NAME);
}

/** What whoever reaches the socket can make the server hold. */
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

/** How long a command waits for its answer: the firewall has a deadline of its own, and cutting connections takes. */
const ANSWER_MS = 30_000;

/** What the server answers: a value, or what went wrong and what to do. */
type Answer = { readonly value: unknown } | { readonly error: string; readonly hint?: string };

/** Does what a request asks for; a throw becomes the answer's error. */
export type ControlHandler = (request: unknown) => Promise<unknown>;

/** A control socket: it can be connected to, but nobody is answered before {@linkcode serveControl}. */
export interface ControlSocket {
  readonly listener: Deno.UnixListener;
  /** Closes it and takes its file away; never throws. May be repeated. */
  readonly close: () => void;
}

/** Makes the control socket. The state directory must be locked: a file that is there is of a process that is gone. */
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
        // Closed already; or a file that stays, and that the next serve removes.
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
  const timer = setTimeout(() => close(connection), requestMs);
  try {
    const line = await readLine(connection, requestBytes);
    clearTimeout(timer);
    await writeLine(connection, JSON.stringify(await answerTo(line, handle)));
  } catch {
    // It hung up, or said nothing in time.
  } finally {
    clearTimeout(timer);
    close(connection);
  }
}

async function answerTo(line: string, handle: ControlHandler): Promise<Answer> {
  try {
    return { value: await handle(JSON.parse(line)) };
  } catch (error) {
    const hint = error instanceof OpenmeError ? error.hint : undefined;
    return { error: messageOf(error), ...(hint === undefined ? {} : { hint }) };
  }
}

/** Asks the server that runs with this state directory. Throws `OpenmeError`, also with what the server says. */
export async function askServer(stateDir: string, request: unknown): Promise<unknown> {
  const path = controlPath(stateDir);
  const connection = await connectTo(path);
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    close(connection);
  }, ANSWER_MS);
  let answer: Answer;
  try {
    await writeLine(connection, JSON.stringify(request));
    answer = JSON.parse(await readLine(connection, Infinity)) as Answer;
  } catch (cause) {
    const why = late ? `nothing came within ${ANSWER_MS / 1000} s` : messageOf(cause);
    throw new OpenmeError("STATE", `openme serve did not answer: ${why}`, {
      hint: "its log says more",
      cause,
    });
  } finally {
    clearTimeout(timer);
    close(connection);
  }
  if ("value" in answer) return answer.value;
  throw new OpenmeError(
    "STATE",
    answer.error,
    answer.hint === undefined ? {} : {
      hint: answer.hint,
    },
  );
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

/** Nobody listens at the control socket. */
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

async function writeLine(connection: Deno.Conn, line: string): Promise<void> {
  const bytes = new TextEncoder().encode(line + "\n");
  for (let written = 0; written < bytes.length;) {
    written += await connection.write(bytes.subarray(written));
  }
}

function close(connection: Deno.Conn): void {
  try {
    connection.close();
  } catch {
    // Closed already.
  }
}

function removeFile(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
