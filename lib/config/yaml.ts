/**
 * YAML text -> plain values, maps as `Map` so that no key can be special. One document, no duplicate keys, no tags
 * beyond YAML 1.2's core schema, few aliases.
 */

import { LineCounter, parseDocument } from "yaml";
import type { Document } from "yaml";
import { escapeUnprintable } from "../quote.ts";
import { ConfigError } from "./reader.ts";

/** What an alias may multiply: the library counts resolved nodes. */
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
    logLevel: "error", // with "silent" the library ignores what follows the first document,
  });
  const [problem] = [...document.errors, ...document.warnings];
  if (problem) {
    const { line, col } = lines.linePos(problem.pos[0]);
    throw new ConfigError(`line ${line}, column ${col}`, describe(problem));
  }
  return document;
}

/** The library reads nested text by calling itself: some thousand levels are more than the stack holds. */
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
  // The library tells of the one as an error of its own, and of the other as programmers talk to each other.
  if (cause instanceof RangeError || /call stack/.test(message)) return "it is nested too deep";
  if (/multiple documents/.test(message)) return "expected one document, got another one here";
  return escapeUnprintable(message);
}

/** The document as values: `Map`, array, string, number, boolean, `null`. */
export function parseYaml(text: string): unknown {
  const document = parseYamlDocument(text);
  try {
    return document.toJS({ mapAsMap: true, maxAliasCount: MAX_ALIASES });
  } catch (cause) {
    throw new ConfigError("the file", escapeUnprintable((cause as Error).message));
  }
}
