/**
 * YAML text -> plain values, maps as `Map` so that no key can be special. One document, no duplicate keys, no tags
 * beyond YAML 1.2's core schema, few aliases.
 */

import {
  isMap,
  isNode,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  visit,
} from "yaml";
import type { Document } from "yaml";
import { escapeUnprintable } from "../values/text.ts";
import { ConfigError, joinPath } from "./fields.ts";

/** How many nodes aliases may resolve to. */
const MAX_ALIASES = 100;

/** Parses one YAML document with its comments; throws {@linkcode ConfigError} with the line and column. */
export function parseYamlDocument(text: string): Document.Parsed {
  const lines = new LineCounter();
  const document = parseOrRefuse(text, {
    lineCounter: lines,
    prettyErrors: false,
    schema: "core",
    resolveKnownTags: false,
    uniqueKeys: true,
    version: "1.2",
    logLevel: "error", // with "silent" the library ignores a second document
  });
  const [problem] = [...document.errors, ...document.warnings];
  if (problem) {
    const { line, col } = lines.linePos(problem.pos[0]);
    const place = `line ${line}, column ${col}`;
    const path = problem.code === "DUPLICATE_KEY" ? keyPathAt(document, problem.pos[0]) : undefined;
    if (path !== undefined) {
      throw new ConfigError(
        path,
        `expected once, got again in ${place}`,
        "take one of the two out",
      );
    }
    throw new ConfigError(place, describe(problem));
  }
  return document;
}

/** The library is recursive: some thousand levels of nesting exhaust the stack. */
function parseOrRefuse(
  text: string,
  options: Parameters<typeof parseDocument>[1],
): Document.Parsed {
  try {
    return parseDocument(text, options);
  } catch (cause) {
    throw new ConfigError("the file", `cannot be read as YAML: ${describe(cause)}`);
  }
}

function describe(cause: unknown): string {
  const message = cause instanceof Error ? cause.message : String(cause);
  // The library reports the depth in two ways, and neither is meant for a user.
  if (cause instanceof RangeError || /call stack/.test(message)) return "it is nested too deep";
  if (/multiple documents/.test(message)) return "expected one document, got another one here";
  return escapeUnprintable(message);
}

/** Where the key that is written at `offset` is in the document, such as `clients.alice`. */
function keyPathAt(document: Document, offset: number): string | undefined {
  let found: string | undefined;
  visit(document, {
    Node: (role, node, ancestors) => {
      if (role !== "key" || node.range?.[0] !== offset) return undefined;
      found = ancestors.reduce<string>((path, each, i) => {
        if (isPair(each)) return joinPath(path, textOf(each.key));
        const item = isSeq(each) ? each.items.indexOf(ancestors[i + 1] ?? node) : -1;
        return item < 0 ? path : `${path}[${item}]`;
      }, "");
      return visit.BREAK;
    },
  });
  return found;
}

function textOf(key: unknown): string {
  return String(isNode(key) ? key.toJSON() : key);
}

/**
 * The document as values: `Map`, array, string, number, boolean, `null`. A whole number that is not written in plain
 * decimals, such as 0x16 or 2.2e1, stays text: a person would not read it as that port.
 */
export function parseYaml(text: string): unknown {
  const document = parseYamlDocument(text);
  visit(document, {
    Scalar: (role, scalar) => {
      const { value, source } = scalar;
      if (role === "key" || !Number.isInteger(value) || source === undefined) return;
      if (source !== String(value)) scalar.value = source;
    },
  });
  try {
    return document.toJS({ mapAsMap: true, maxAliasCount: MAX_ALIASES });
  } catch (cause) {
    throw new ConfigError("the file", escapeUnprintable((cause as Error).message));
  }
}

/** The document as text; a line is never folded. */
export function renderYaml(document: Document): string {
  return document.toString({ lineWidth: 0, flowCollectionPadding: false });
}

/** The entry of a map that has this name; `undefined` where there is none, or where it is not a map. */
export function pairIn(map: unknown, name: string): Pair | undefined {
  return isMap(map) ? map.items.find(({ key }) => isScalar(key) && key.value === name) : undefined;
}

/** Puts an entry into a section of the file, in place of one of that name; makes the section where it is missing. */
export function setEntry(document: Document.Parsed, section: string, name: string, node: Node) {
  const entries = document.get(section);
  if (isMap(entries)) {
    if (entries.items.length === 0) entries.flow = false; // `{}` was only a placeholder
    entries.set(document.createNode(name), node);
  } else document.set(section, document.createNode({ [name]: node }));
}
