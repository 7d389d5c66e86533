/**
 * Reads the YAML that openme writes, and most of what people write, without the YAML library: in a tenth of the time, and for
 * a client without loading the library. Of any other text it gives `undefined`, and the library reads it. The values are
 * the same as the library's (tests/config/plain_yaml.test.ts compares them).
 *
 * It takes block maps, lists of scalars, and flow lists and maps in one line; scalars in quotes without escapes, plain
 * words and decimal numbers; comments. It does not take anchors, tags, multi-line scalars, maps in lists, and documents
 * that are marked as such.
 */

const KEY = `(["']?)([A-Za-z][A-Za-z0-9._-]{0,63})`;
const PRINTABLE = String.raw`[^\x00-\x1f\x7f]*`;
const LINE_END = String.raw`(?: +#${PRINTABLE}| *)(?:\n|$)`;
/** A line up to its value: blank or a comment; or an item; or a key, and whether its value is to come in other lines. */
const LINE_START = new RegExp(
  String.raw`( *)(?:(?:#${PRINTABLE})?(?:\n|$)|(- +)|${KEY}\3:(?: +(?! |#|\n|$)|(${LINE_END})))`,
  "y",
);
const SCALAR = [
  String.raw`"([\x20-\x21\x23-\x5b\x5d-\x7e]*)"`,
  String.raw`'([\x20-\x26\x28-\x7e]*)'`,
  String.raw`([A-Za-z0-9+/](?:[A-Za-z0-9+/=._-]|:(?=[A-Za-z0-9]))*)`,
].join("|");
const SCALAR_AT_END = new RegExp(`(?:${SCALAR})${LINE_END}`, "y");
const FLOW_END = new RegExp(LINE_END, "y");
const FLOW_SCALAR = new RegExp(SCALAR, "y");
const FLOW_KEY = new RegExp(String.raw`${KEY}\1: +`, "y");
const FLOW_NEXT = / *(, *|[\]}])/y;

/** Words that are not text to YAML's core schema. */
const NOT_TEXT = /^(?:null|true|false)$/i;
const DECIMAL = /^(?:0|[1-9]\d{0,14})$/;
/** What the core schema may take for a number. */
const NUMBER = /^\+?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?$|^\+?\.|^0o[0-7]+$|^0x[\da-f]+$/i;

const MOST_NESTED = 16;

/** A map or a list whose lines begin at this column. */
interface Block {
  readonly column: number;
  readonly values: Map<string, unknown> | unknown[];
}

/** The text is to be read by the library. */
export class NotPlain extends Error {}

/** The values of the document as `parseYaml` returns them, or `undefined` where it takes the library. */
export function readPlainYaml(text: string): Map<string, unknown> | undefined {
  try {
    return readApart(text).root;
  } catch (thrown) {
    if (thrown instanceof NotPlain) return undefined;
    throw thrown;
  }
}

/** A document, and the entries of one of its sections, which are read when they are asked for and not kept. */
export interface ReadApart {
  /** Without the entries. */
  readonly root: Map<string, unknown>;
  readonly entries: Iterable<readonly [name: string, value: unknown]> | undefined;
}

/** Reads a document but for the entries of a section. Throws {@linkcode NotPlain}, and so do the entries. */
export function readApart(text: string, section?: string): ReadApart {
  const reader = new PlainReader(section === undefined ? text : moveToEnd(text, section), section);
  const reading = reader.read();
  const first = reading.next();
  if (first.done) return { root: reader.root, entries: undefined };
  const entries = function* () {
    yield first.value;
    yield* reading;
  };
  return { root: reader.root, entries: entries() };
}

/** The text with one section behind the others. In a plainly written file every line is what it looks like. */
function moveToEnd(text: string, section: string): string {
  const from = new RegExp(`^${section}:`, "m").exec(text)?.index;
  if (from === undefined) return text;
  const next = /\n(?=[^\s#])/g;
  next.lastIndex = from;
  const to = next.exec(text)?.index;
  return to === undefined
    ? text
    : `${text.slice(0, from)}${text.slice(to + 1)}\n${text.slice(from, to)}`;
}

class PlainReader {
  readonly root = new Map<string, unknown>();
  readonly #text: string;
  readonly #apart: string | undefined;
  #at = 0;

  constructor(text: string, apart: string | undefined) {
    this.#text = text;
    this.#apart = apart;
  }

  /** Reads all lines; gives each entry of the section that is read apart when it is whole. */
  *read(): Generator<[name: string, value: unknown], void> {
    const { root } = this;
    const blocks: Block[] = [{ column: 0, values: root }];
    /** The key of the line before, where it has no value there. */
    let open: string | undefined;
    /** What is read of the section that is read apart. */
    let entry: string | undefined;
    while (this.#at < this.#text.length) {
      const [, indent, dash, quote, key, end] = this.#need(LINE_START);
      const isItem = dash !== undefined;
      if (!isItem && key === undefined) continue;
      const block = this.#blockAt(blocks, indent!.length, { isItem, open });
      open = undefined;
      if (Array.isArray(block)) {
        block.push(this.#lastValue());
        continue;
      }
      requireNew(block, key!, quote!);
      const section = this.#apart === undefined ? undefined : root.get(this.#apart);
      if (entry !== undefined && (block === section || block === root)) yield taken(section, entry);
      if (block === section) entry = key;
      else if (block === root) entry = undefined;
      if (end === undefined) block.set(key!, this.#lastValue());
      else block.set(open = key!, null); // until a block follows
    }
    if (root.size === 0) throw new NotPlain();
    if (entry !== undefined) yield taken(root.get(this.#apart!), entry);
  }

  /** The map or list that a line at this column belongs to. */
  #blockAt(
    blocks: Block[],
    column: number,
    { isItem, open }: { isItem: boolean; open: string | undefined },
  ): Block["values"] {
    const { column: above, values: parent } = blocks.at(-1)!;
    // A list may stand at the column of its key.
    if (open !== undefined && (column > above || (isItem && column === above))) {
      const values = isItem ? [] : new Map<string, unknown>();
      (parent as Map<string, unknown>).set(open, values);
      blocks.push({ column, values });
      return values;
    }
    const belongs = ({ column: at, values }: Block) =>
      at < column || (at === column && Array.isArray(values) === isItem);
    while (blocks.length > 0 && !belongs(blocks.at(-1)!)) blocks.pop();
    const block = blocks.at(-1);
    if (block?.column !== column || Array.isArray(block.values) !== isItem) throw new NotPlain();
    return block.values;
  }

  /** A value, and the end of its line. */
  #lastValue(): unknown {
    if (!this.#isAtFlow()) return scalarIn(this.#need(SCALAR_AT_END));
    const value = this.#flow(0);
    this.#need(FLOW_END);
    return value;
  }

  #isAtFlow(): boolean {
    return this.#text[this.#at] === "[" || this.#text[this.#at] === "{";
  }

  #flow(depth: number): unknown {
    if (!this.#isAtFlow()) return scalarIn(this.#need(FLOW_SCALAR));
    if (depth > MOST_NESTED) throw new NotPlain();
    return this.#text[this.#at++] === "[" ? this.#flowList(depth) : this.#flowMap(depth);
  }

  #flowList(depth: number): unknown[] {
    const list: unknown[] = [];
    if (this.#skip("]")) return list;
    do list.push(this.#flow(depth + 1)); while (this.#goesOn("]"));
    return list;
  }

  #flowMap(depth: number): Map<string, unknown> {
    const map = new Map<string, unknown>();
    if (this.#skip("}")) return map;
    do {
      const [, quote, key] = this.#need(FLOW_KEY);
      requireNew(map, key!, quote!);
      map.set(key!, this.#flow(depth + 1));
    } while (this.#goesOn("}"));
    return map;
  }

  /** Whether another item follows; otherwise the bracket does. */
  #goesOn(bracket: string): boolean {
    const [, next] = this.#need(FLOW_NEXT);
    if (next!.startsWith(",")) return true;
    if (next !== bracket) throw new NotPlain();
    return false;
  }

  #skip(bracket: string): boolean {
    if (this.#text[this.#at] !== bracket) return false;
    this.#at++;
    return true;
  }

  /** Matches where the reader stands, and goes on behind it. */
  #need(pattern: RegExp): RegExpExecArray {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#text);
    if (!match) throw new NotPlain();
    this.#at = pattern.lastIndex;
    return match;
  }
}

/** The name stays: it must not be there again. */
function taken(section: unknown, name: string): [name: string, value: unknown] {
  const values = section as Map<string, unknown>;
  const value = values.get(name);
  values.set(name, null);
  return [name, value];
}

function requireNew(map: ReadonlyMap<string, unknown>, key: string, quote: string): void {
  if ((quote === "" && NOT_TEXT.test(key)) || map.has(key)) throw new NotPlain();
}

function scalarIn([, double, single, plain]: RegExpExecArray): string | number | boolean {
  const quoted = double ?? single;
  if (quoted !== undefined) return quoted;
  if (DECIMAL.test(plain!)) return Number(plain);
  if (plain === "true" || plain === "false") return plain === "true";
  if (NOT_TEXT.test(plain!) || NUMBER.test(plain!)) throw new NotPlain();
  return plain!;
}
