/**
 * The running ssh-agent: which Ed25519 keys it has, and signatures by one of them (draft-miller-ssh-agent). A knock's
 * bytes begin with 1 and what SSH has signed with a length or "SSHSIG", so neither can pass for the other.
 */

import { type Bytes, concatBytes, SIGNATURE_SIZE } from "../crypto/keys.ts";
import type { Signer } from "../crypto/signer.ts";
import {
  keyOfSshBlob,
  readSsh,
  SSH_ED25519,
  sshBlobOf,
  sshFingerprint,
  SshFormatError,
  sshString,
  sshUint32,
} from "../crypto/ssh.ts";
import { messageOf, OpenmeError } from "../values/errors.ts";
import { quote } from "../values/text.ts";
import { inTime } from "./deadline.ts";

// Section 6.1.
const REQUEST_IDENTITIES = 11;
const IDENTITIES_ANSWER = 12;
const SIGN_REQUEST = 13;
const SIGN_RESPONSE = 14;

/** As much as OpenSSH's own client takes. */
const MOST_BYTES = 256 * 1024;

/** How long the agent may take. To sign, it may first ask its user (`ssh-add -c`). */
export interface AgentDeadlines {
  readonly listMs: number;
  readonly signMs: number;
}
const DEADLINES: AgentDeadlines = { listMs: 10_000, signMs: 60_000 };

const ADD_HINT =
  "add the key, ssh-add FILE, and see ssh-add -l; or name its file in the profile: identity: FILE";

/** Whose key: by its public key, or by the fingerprint. */
export interface WantedKey {
  readonly publicKey: Bytes | undefined;
  readonly fingerprint: string | undefined;
}

/** The agent's key that is wanted. Throws `OpenmeError`, code `KEY`, where there is no agent or no such key. */
export async function agentSigner(
  socket: string | undefined,
  wanted: WantedKey,
  deadlines = DEADLINES,
): Promise<Signer> {
  if (socket === undefined || socket === "") {
    throw noAgent(
      "SSH_AUTH_SOCK is not set",
      `start one: eval "$(ssh-agent)" && ssh-add; sudo and cron do not hand the variable on`,
    );
  }
  const answer = await ask(socket, Uint8Array.of(REQUEST_IDENTITIES), deadlines.listMs);
  const keys = readIdentities(answer);
  if (!keys) throw noAgent("its answer is not that of an agent", "see what SSH_AUTH_SOCK names");
  const fingerprints = await Promise.all(keys.map(sshFingerprint));
  const fingerprint = wanted.fingerprint ??
    (wanted.publicKey && await sshFingerprint(wanted.publicKey));
  const publicKey = keys[fingerprints.findIndex((each) => each === fingerprint)];
  if (!publicKey) {
    const there = fingerprints.length === 0
      ? "no Ed25519 key at all"
      : `only ${fingerprints.slice(0, 5).join(", ")}`;
    throw new OpenmeError("KEY", `the ssh-agent has no key ${fingerprint}: it has ${there}`, {
      hint: `${ADD_HINT}; a locked agent (ssh-add -x) shows none`,
    });
  }
  return {
    publicKey,
    sign: async (message) => {
      const request = [Uint8Array.of(SIGN_REQUEST), sshString(sshBlobOf(publicKey))];
      request.push(sshString(message), sshUint32(0));
      const signed = await ask(socket, concatBytes(...request), deadlines.signMs);
      const signature = readSignature(signed);
      if (!signature) {
        throw new OpenmeError("KEY", `the ssh-agent refused to sign with ${fingerprint}`, {
          hint:
            "was its question declined (ssh-add -c)? A locked agent (ssh-add -x) signs nothing, and a key that is " +
            "bound to hosts (ssh-add -h) no knock",
        });
      }
      if (await isGood(publicKey, message, signature)) return signature;
      throw new OpenmeError("KEY", `the ssh-agent's signature with ${fingerprint} is wrong`, {
        hint: "restart the agent, or use another: a server would drop the knock",
      });
    },
  };
}

/** The Ed25519 keys of an answer; `undefined` where it is none. */
export function readIdentities(answer: Uint8Array): Bytes[] | undefined {
  return readSsh(answer, (reader) => {
    if (reader.byte() !== IDENTITIES_ANSWER) throw new SshFormatError("another message");
    const keys: Bytes[] = [];
    for (let count = reader.uint32(); count > 0; count--) {
      const key = keyOfSshBlob(reader.string());
      reader.string(); // the comment
      if (key) keys.push(key);
    }
    return keys;
  });
}

/** The signature of an answer, 64 bytes; `undefined` where it is none: the agent refused. */
export function readSignature(answer: Uint8Array): Bytes | undefined {
  const blob = readSsh(answer, (reader) => {
    return reader.byte() === SIGN_RESPONSE ? reader.string() : undefined;
  });
  const signature = blob && readSsh(blob, (reader) => {
    return reader.text() === SSH_ED25519 ? reader.string() : undefined;
  });
  return signature?.length === SIGNATURE_SIZE ? signature : undefined;
}

async function isGood(publicKey: Bytes, message: Bytes, signature: Bytes): Promise<boolean> {
  const key = await crypto.subtle.importKey("raw", publicKey, "Ed25519", false, ["verify"]);
  return await crypto.subtle.verify("Ed25519", key, signature, message);
}

/** One request and its answer, without their lengths. */
async function ask(socket: string, request: Bytes, timeoutMs: number): Promise<Bytes> {
  const over = new AbortController();
  const timer = setTimeout(() => over.abort(), timeoutMs);
  try {
    const answer = await inTime(exchange(socket, request, over.signal), over.signal);
    if (answer) return answer;
  } catch (cause) {
    const why = cause instanceof Deno.errors.NotFound
      ? "there is no socket"
      : cause instanceof Deno.errors.ConnectionRefused
      ? "nothing listens there"
      : cause instanceof Deno.errors.PermissionDenied
      ? "permission denied"
      : messageOf(cause);
    throw noAgent(
      `${quote(socket, 200)}: ${why}`,
      "SSH_AUTH_SOCK is of an agent that has ended, or of another user: ssh-add -l says more",
      cause,
    );
  } finally {
    clearTimeout(timer);
    over.abort();
  }
  throw noAgent(
    `${quote(socket, 200)} did not answer within ${timeoutMs / 1000}s`,
    "is it waiting for an answer of yours (ssh-add -c, a smart card's PIN)? ssh-add -l says whether it lives",
  );
}

async function exchange(socket: string, request: Bytes, signal: AbortSignal): Promise<Bytes> {
  using connection = await Deno.connect({ transport: "unix", path: socket });
  const close = () => connection.close();
  signal.addEventListener("abort", close, { once: true });
  try {
    if (signal.aborted) throw new Error("too late");
    const message = sshString(request);
    for (let sent = 0; sent < message.length;) {
      sent += await connection.write(message.subarray(sent));
    }
    const size = new DataView((await readAll(connection, 4)).buffer).getUint32(0);
    if (size === 0 || size > MOST_BYTES) throw new Error("its answer is not that of an agent");
    return await readAll(connection, size);
  } finally {
    signal.removeEventListener("abort", close);
  }
}

async function readAll(connection: Deno.Conn, size: number): Promise<Bytes> {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size;) {
    const count = await connection.read(bytes.subarray(at));
    if (count === null) throw new Error("it closed the connection without an answer");
    at += count;
  }
  return bytes;
}

function noAgent(why: string, hint: string, cause?: unknown): OpenmeError {
  return new OpenmeError("KEY", `cannot reach the ssh-agent: ${why}`, { hint, cause });
}
