/**
 * Asks the kernel for the generation of this network namespace's nf_tables rules, over netlink through libc: a number
 * that grows with every transaction of any program (nft, iptables-nft, firewalld, Docker). While it stays the same, no
 * rule has changed and nothing has to be listed. Takes 10 µs and no process.
 */

import type { ReadGeneration } from "../backend.ts";
import { openNetfilter } from "./netlink.ts";

/** The kernel's numbers, from netlink.h and nfnetlink.h. */
const NLM_F_REQUEST = 1;
const NFNL_SUBSYS_NFTABLES = 10;
const NFT_MSG_NEWGEN = NFNL_SUBSYS_NFTABLES << 8 | 15;
const NFT_MSG_GETGEN = NFNL_SUBSYS_NFTABLES << 8 | 16;
const NFTA_GEN_ID = 1;
/** struct nlmsghdr, and struct nfgenmsg behind it. */
const HEADER_SIZE = 16;
const REQUEST_SIZE = HEADER_SIZE + 4;

/** `undefined` where this process cannot ask: without Linux, glibc or CAP_NET_ADMIN. */
export function openGeneration(): ReadGeneration | undefined {
  const socket = openNetfilter();
  if (!socket) return undefined;
  let sequence = 0;
  const read = () => {
    if (!socket.send(renderRequest(++sequence))) return undefined;
    // Answers to earlier questions are passed over.
    for (let answer = socket.receive(); answer; answer = socket.receive()) {
      const generation = parseGeneration(answer, sequence);
      if (generation !== undefined) return generation;
    }
    return undefined;
  };
  return read() === undefined ? undefined : read;
}

/** The question, in the byte order of the machine (little-endian, wherever Deno runs). */
function renderRequest(sequence: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(REQUEST_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, REQUEST_SIZE, true);
  view.setUint16(4, NFT_MSG_GETGEN, true);
  view.setUint16(6, NLM_F_REQUEST, true);
  view.setUint32(8, sequence, true);
  return bytes;
}

/** The generation in the answer to that question; `undefined` in any other message. */
export function parseGeneration(message: Uint8Array, sequence: number): number | undefined {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  if (message.length < REQUEST_SIZE + 8 || view.getUint32(8, true) !== sequence) return undefined;
  if (view.getUint16(4, true) !== NFT_MSG_NEWGEN) return undefined;
  for (let at = REQUEST_SIZE; at + 8 <= message.length;) {
    const length = view.getUint16(at, true);
    // Of attributes the numbers are in network byte order.
    if (view.getUint16(at + 2, true) === NFTA_GEN_ID && length === 8) return view.getUint32(at + 4);
    if (length < 4) return undefined;
    at += length + 3 & ~3;
  }
  return undefined;
}

/** Knows whether rules have changed since a check found them in order. */
export class CheckedRules {
  readonly #read: ReadGeneration | undefined;
  /** The generation that was in order. */
  #checked: number | undefined;

  /** Without `read`, every check has to list the rules. */
  constructor(read: ReadGeneration | undefined) {
    this.#read = read;
  }

  isUnchanged(): boolean {
    return this.#checked !== undefined && this.#read?.() === this.#checked;
  }

  /** Call it before listing the rules, and what it returns once they were found in order. */
  begin(): () => void {
    const generation = this.#read?.();
    return () => this.#checked = generation;
  }

  /** Makes the next check list the rules. */
  forget(): void {
    this.#checked = undefined;
  }

  /** Runs transactions of this process. If the generation grew by just their number, no other program changed a rule. */
  async ownChange(change: () => Promise<void>, transactions = 1): Promise<void> {
    await change();
    if (this.#checked === undefined) return;
    const expected = this.#checked + transactions;
    if (this.#read?.() === expected) this.#checked = expected;
  }
}
