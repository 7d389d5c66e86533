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
import { readPlainYaml } from "./plain_yaml.ts";

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
    uniqueKeys: false, // requireUniqueKeys() looks: the library compares each key with every other
    version: "1.2",
    logLevel: "error", // with "silent" the library ignores a second document
  });
  const [problem] = [...document.errors, ...document.warnings];
  const placeOf = (at: number) => {
    const { line, col } = lines.linePos(at);
    return `line ${line}, column ${col}`;
  };
  requireUniqueKeys(document, { before: problem?.pos[0], placeOf });
  if (problem) throw new ConfigError(placeOf(problem.pos[0]), describe(problem));
  return document;
}

/** Throws for the first key that is in its map twice, if that is before another problem. */
function requireUniqueKeys(
  document: Document,
  { before = Infinity, placeOf }: { before: number | undefined; placeOf: (at: number) => string },
): void {
  visit(document, {
    Map: (_, map, ancestors) => {
      const seen = new Set<unknown>();
      for (const { key } of map.items) {
        const at = isScalar(key) ? key.range?.[0] ?? 0 : Infinity;
        if (!isScalar(key) || at >= before) continue;
        if (seen.has(key.value)) {
          const path = joinPath(pathOf([...ancestors, map]), textOf(key));
          const problem = `expected once, got again in ${placeOf(at)}`;
          throw new ConfigError(path, problem, "take one of the two out");
        }
        seen.add(key.value);
      }
    },
  });
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

/** Where the last of these nodes is, such as `clients.alice`; each is in the one before it. */
function pathOf(nodes: readonly unknown[]): string {
  return nodes.reduce<string>((path, node, i) => {
    if (isPair(node)) return joinPath(path, textOf(node.key));
    return isSeq(node) ? `${path}[${node.items.indexOf(nodes[i + 1])}]` : path;
  }, "");
}

function textOf(key: unknown): string {
  return String(isNode(key) ? key.toJSON() : key);
}

/** {@linkcode parseYaml}, in a fraction of the time where the file is written plainly. */
export function readYaml(text: string): unknown {
  return readPlainYaml(text) ?? parseYaml(text);
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
