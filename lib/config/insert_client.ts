/**
 * Putting a client, or a group of ports, into the text of a configuration: lines are put in, everything else stays as
 * it was written, to the byte. Where that cannot be done the YAML library writes the whole file anew, comments included.
 */

import { isCollection, isMap, isScalar, type Node, type Pair, type YAMLMap } from "yaml";
import { parseYamlDocument } from "./yaml.ts";

/** The text with one more client, which must not be there yet. */
export function insertClient(
  text: string,
  name: string,
  entry: Readonly<Record<string, unknown>>,
): string {
  return insertEntry(text, "clients", name, entry);
}

/** The text with one more entry, which must not be there yet, in a section, which may not be there yet either. */
export function insertEntry(
  text: string,
  section: "clients" | "ports",
  name: string,
  entry: Readonly<Record<string, unknown>> | readonly string[],
): string {
  const document = parseYamlDocument(text);
  const inserted = insertLines(text, document.contents, section, (step) => {
    const lines = parseYamlDocument("{}");
    const node = lines.createNode({ [name]: entry }) as YAMLMap;
    setFlow(node.get(name));
    lines.contents = node as unknown as typeof lines.contents;
    return lines.toString({ indent: step, lineWidth: 0, flowCollectionPadding: false });
  });

  const entries = document.get(section);
  const node = document.createNode(entry);
  setFlow(node);
  if (isMap(entries)) {
    if (entries.items.length === 0) entries.flow = false; // `{}` was only a placeholder
    entries.set(document.createNode(name), node);
  } else {
    document.set(section, document.createNode({ [name]: node }));
  }
  if (inserted !== undefined && saysTheSame(inserted, document.toJS())) return inserted;
  return document.toString({ lineWidth: 0, flowCollectionPadding: false });
}

/** `allowed_ports: [ssh]`, as `openme init` writes lists; and so for maps. */
function setFlow(entry: unknown): void {
  const values = isMap(entry) ? entry.items.map(({ value }) => value) : [entry];
  for (const value of values) if (isCollection(value)) value.flow = true;
}

/** Whether a text is the YAML of these values. */
export function saysTheSame(text: string, values: unknown): boolean {
  try {
    return JSON.stringify(parseYamlDocument(text).toJS()) === JSON.stringify(values);
  } catch {
    return false;
  }
}

/** `undefined` where the file is written in a way that lines cannot be put into. */
function insertLines(
  text: string,
  root: unknown,
  section: string,
  render: (step: number) => string,
): string | undefined {
  if (!isMap(root) || root.flow) return undefined;
  const pair = (root.items as Pair<Node, Node | null>[]).find(({ key }) =>
    isScalar(key) && key.value === section
  );
  if (!pair) return endLine(text) + `${section}:\n` + indented(render(2), "  ");
  const { value } = pair;
  if (!isMap(value) || value.items.length === 0) {
    // Nothing, `~` or `{}`: a placeholder, on the key's own line.
    const [from, to] = value?.range ?? [0, 0];
    if (text.slice(from, to).includes("\n")) return undefined;
    const kept = from === to ? text : text.slice(0, from).trimEnd() + text.slice(to);
    return insertAt(kept, lineEnd(kept, pair.key.range![1]), indented(render(2), "  "));
  }
  const last = value.items.at(-1) as Pair<Node, Node | null>;
  if (value.flow) return undefined; // in one line: nothing is lost when it is written anew
  const column = columnOf(text, last.key.range![0]);
  let at = lineEnd(text, endOf(last));
  // Comments that stand deeper than the name belong to that entry.
  for (;;) {
    const next = /^( *)#.*(\n|$)/.exec(text.slice(at));
    if (!next || next[1]!.length <= column) break;
    at += next[0].length;
  }
  return insertAt(text, at, indented(render(column || 2), " ".repeat(column)));
}

/** Where the last thing that is not a comment ends. */
function endOf({ key, value }: Pair<Node, Node | null>): number {
  if (isMap(value) && !value.flow && value.items.length > 0) {
    return endOf(value.items.at(-1) as Pair<Node, Node | null>);
  }
  const items = (value as { items?: Node[]; flow?: boolean } | null)?.items;
  const leaf = items && !(value as { flow?: boolean }).flow ? items.at(-1) : value;
  return Math.max(key.range![1], leaf?.range?.[1] ?? 0);
}

function columnOf(text: string, at: number): number {
  return at - (text.lastIndexOf("\n", at - 1) + 1);
}

/** The first position of the line after that of `at`. */
function lineEnd(text: string, at: number): number {
  const end = text.indexOf("\n", at > 0 && text[at - 1] === "\n" ? at - 1 : at);
  return end < 0 ? text.length : end + 1;
}

function insertAt(text: string, at: number, lines: string): string {
  return endLine(text.slice(0, at)) + lines + text.slice(at);
}

function endLine(text: string): string {
  return text === "" || text.endsWith("\n") ? text : text + "\n";
}

function indented(lines: string, indent: string): string {
  return lines.replaceAll(/^(?=.)/gm, indent);
}
