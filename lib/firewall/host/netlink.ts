/** A socket to the kernel's netfilter (netlink), through libc: for what would be a process otherwise. */

import { openLibc } from "../../system/libc.ts";

/** The kernel's numbers, from socket.h and netlink.h. */
const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | 0x80000;
const NETLINK_NETFILTER = 12;
const MSG_DONTWAIT = 0x40;
/** An answer may repeat the question behind what it says: that is cut off. */
const ANSWER_BYTES = 512;

const SEND = { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" } as const;
const LIBC = {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  send: SEND,
  // A transaction waits for those of other programs: on a thread of its own.
  sendAside: { ...SEND, name: "send", nonblocking: true },
  recv: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
} as const;

/** The kernel has answered a message when it is sent. */
export interface NetfilterSocket {
  /** For questions. Returns false where the kernel does not take it. */
  send(message: Uint8Array<ArrayBuffer>): boolean;
  /** For changes: the message must stay as it is meanwhile. */
  sendAside(message: Uint8Array<ArrayBuffer>): Promise<boolean>;
  /** The next answer, good until the one after it; `undefined` where there is none. */
  receive(): Uint8Array | undefined;
}

/** Opens one, until the process ends. `undefined` without Linux, glibc or the permission. */
export function openNetfilter(): NetfilterSocket | undefined {
  const libc = openLibc(LIBC);
  if (!libc) return undefined;
  const socket = libc.socket(AF_NETLINK, SOCK_RAW_CLOEXEC, NETLINK_NETFILTER);
  if (socket < 0) return undefined;
  const answer = new Uint8Array(ANSWER_BYTES);
  return {
    send: (message) =>
      Number(libc.send(socket, message, BigInt(message.length), MSG_DONTWAIT)) >= 0,
    sendAside: async (message) =>
      Number(await libc.sendAside(socket, message, BigInt(message.length), 0)) >= 0,
    receive: () => {
      const length = Number(libc.recv(socket, answer, BigInt(answer.length), MSG_DONTWAIT));
      return length > 0 ? answer.subarray(0, length) : undefined;
    },
  };
}
