/** A batch of netlink messages to nf_tables that change elements of openme's sets, as bytes: pure. */

import { TABLE } from "../plan.ts";

/** The kernel's numbers, from netlink.h, nfnetlink.h and nf_tables.h. */
const NLM_F_REQUEST = 1;
const NLM_F_ACK = 4;
const NLM_F_CREATE = 0x400;
const NFNL_MSG_BATCH_BEGIN = 16;
const NFNL_MSG_BATCH_END = 17;
const NFNL_SUBSYS_NFTABLES = 10;
const NFT_MSG_NEWSETELEM = NFNL_SUBSYS_NFTABLES << 8 | 12;
const NFT_MSG_DELSETELEM = NFNL_SUBSYS_NFTABLES << 8 | 14;
const NFPROTO_INET = 1;
const NLA_F_NESTED = 0x8000;
const NFTA_LIST_ELEM = 1;
const NFTA_DATA_VALUE = 1;
const NFTA_SET_ELEM_LIST = { table: 1, set: 2, elements: 3 } as const;
const NFTA_SET_ELEM = { key: 1, timeout: 4, keyEnd: 10 } as const;
/** struct nlmsghdr, and struct nfgenmsg behind it. */
const HEADER_SIZE = 20;

const NAME_OF_TABLE = new TextEncoder().encode(`${TABLE.split(" ")[1]}\0`);

/** One element of a set, as the kernel keeps it. */
export interface SetElement {
  /** Each part of it filled up to a multiple of 4 bytes. */
  readonly key: Uint8Array;
  /** Where the element is a range from `key` to here, both included. */
  readonly keyEnd?: Uint8Array;
  readonly timeoutMs: number;
}

/** A message about elements of a set, which it gets or loses: all that it has where there is no list. */
export interface Step {
  readonly type: "add" | "delete";
  readonly set: string;
  readonly elements?: readonly SetElement[] | undefined;
}

/** The batch with its messages numbered from `first` on, and the number of the last; the kernel answers to that one. */
export function renderBatch(
  steps: readonly Step[],
  first: number,
): { readonly batch: Uint8Array<ArrayBuffer>; readonly last: number } {
  const writer = new BatchWriter(mostBytesOf(steps));
  const last = first + steps.length;
  writer.message(NFNL_MSG_BATCH_BEGIN, first, () => {});
  for (const [i, { type, set, elements }] of steps.entries()) {
    const [number, create] = type === "add"
      ? [NFT_MSG_NEWSETELEM, NLM_F_CREATE]
      : [NFT_MSG_DELSETELEM, 0];
    writer.message(number, first + 1 + i, () => {
      writer.attribute(NFTA_SET_ELEM_LIST.table, NAME_OF_TABLE);
      writer.attribute(NFTA_SET_ELEM_LIST.set, new TextEncoder().encode(`${set}\0`));
      if (!elements) return; // all
      writer.nested(
        NFTA_SET_ELEM_LIST.elements,
        () => elements.forEach((each) => writer.element(each)),
      );
    }, create | (first + 1 + i === last ? NLM_F_ACK : 0));
  }
  writer.message(NFNL_MSG_BATCH_END, last + 1, () => {});
  return { batch: writer.bytes(), last };
}

/** A bound of a batch's length: keys are of 24 bytes at most, names of sets of 32. */
export function mostBytesOf(steps: readonly Step[]): number {
  return steps.reduce(
    (bytes, { elements = [] }) => bytes + 100 + 80 * elements.length,
    2 * HEADER_SIZE,
  );
}

/** Messages one after the other. Numbers of headers are little-endian, as every machine that Deno runs on. */
class BatchWriter {
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #view: DataView;
  #at = 0;

  constructor(mostBytes: number) {
    this.#bytes = new Uint8Array(mostBytes);
    this.#view = new DataView(this.#bytes.buffer);
  }

  bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.#at);
  }

  message(type: number, sequence: number, writeAttributes: () => void, flags = 0): void {
    const start = this.#at;
    const isOfTables = type >> 8 === NFNL_SUBSYS_NFTABLES;
    this.#view.setUint16(start + 4, type, true);
    this.#view.setUint16(start + 6, NLM_F_REQUEST | flags, true);
    this.#view.setUint32(start + 8, sequence, true);
    this.#view.setUint8(start + 16, isOfTables ? NFPROTO_INET : 0);
    this.#view.setUint16(start + 18, isOfTables ? 0 : NFNL_SUBSYS_NFTABLES);
    this.#at += HEADER_SIZE;
    writeAttributes();
    this.#view.setUint32(start, this.#at - start, true);
  }

  nested(type: number, writeAttributes: () => void): void {
    const start = this.#at;
    this.#at += 4;
    writeAttributes();
    this.#head(start, type | NLA_F_NESTED, this.#at - start);
  }

  attribute(type: number, value: Uint8Array): void {
    this.#head(this.#at, type, 4 + value.length);
    this.#bytes.set(value, this.#at + 4);
    this.#at += 4 + (value.length + 3 & ~3);
  }

  element({ key, keyEnd, timeoutMs }: SetElement): void {
    const start = this.#at;
    this.#at += 4;
    this.#head(this.#at, NFTA_SET_ELEM.timeout, 12);
    this.#view.setUint32(this.#at + 4, Math.floor(timeoutMs / 2 ** 32));
    this.#view.setUint32(this.#at + 8, timeoutMs % 2 ** 32);
    this.#at += 12;
    this.#data(NFTA_SET_ELEM.key, key);
    if (keyEnd) this.#data(NFTA_SET_ELEM.keyEnd, keyEnd);
    this.#head(start, NFTA_LIST_ELEM | NLA_F_NESTED, this.#at - start);
  }

  #data(type: number, value: Uint8Array): void {
    this.#head(this.#at, type | NLA_F_NESTED, 8 + value.length);
    this.#at += 4;
    this.attribute(NFTA_DATA_VALUE, value);
  }

  #head(at: number, type: number, length: number): void {
    this.#view.setUint16(at, length, true);
    this.#view.setUint16(at + 2, type, true);
  }
}
