/**
 * Edits of the server's configuration: text -> text. An entry goes in and out as lines, with every other byte as it was.
 * Where that cannot be done, and for every other edit, the YAML library writes the file anew, comments included. The
 * caller checks whether the result is a good configuration.
 */

import { Document, isCollection, isMap, isScalar, isSeq, type Node, type Pair } from "yaml";
import type { YAMLMap } from "yaml";
import { formatPortRange, type PortRange } from "../values/ports.ts";
import { clientLinesOf, editAmongFew } from "./client_lines.ts";
import { ConfigError } from "./fields.ts";
import { pairIn, parseYamlDocument, readYaml, renderYaml, setEntry } from "./yaml.ts";

/** Values of one entry; `undefined` takes a key out. */
export type EntryChange = Readonly<Record<string, string | undefined>>;

/** A key of a map with its value, as they stand in a text. */
type PlacedPair = Pair<Node, Node | null>;

/** Whether a file's own section `clients` has this one. */
export function hasClient(text: string, name: string): boolean {
  return sectionOf(readYaml(text), "clients").has(name);
}

function sectionOf(root: unknown, name: string): ReadonlyMap<unknown, unknown> {
  const section: unknown = root instanceof Map ? root.get(name) : undefined;
  return section instanceof Map ? section : new Map();
}

/** The same without a client. */
export function removeClient(text: string, name: string): string {
  const lines = clientLinesOf(text) ?? [];
  const own = lines.find((each) => each.name === name);
  if (own && lines.length > 1) return text.slice(0, own.from) + text.slice(own.to);
  return edited(text, (document) => {
    findClient(document, name);
    document.deleteIn(["clients", name]);
  });
}

/** The client under another name, in its place. */
export function renameClient(text: string, from: string, to: string): string {
  return edited(text, (document) => {
    const { key } = findClient(document, from);
    if (isScalar(key)) key.value = to;
  });
}

/** What a client needs, where one of those has another name now. */
export function renameNeeded(text: string, client: string, from: string, to: string): string {
  return edited(text, (document) => {
    const { value } = findClient(document, client);
    const needs = isMap(value) ? value.get("needs", true) : undefined;
    for (const each of isSeq(needs) ? needs.items : [needs]) {
      if (isScalar(each) && each.value === from) each.value = to;
    }
  });
}

/** Changes values of a client. */
export function changeClient(text: string, name: string, change: EntryChange): string {
  return edited(text, (document) => {
    changeMap(findClient(document, name).value, `clients.${name}`, change);
  });
}

/** Changes values of the `server` section. */
export function changeServer(text: string, change: EntryChange): string {
  return edited(text, (document) => changeMap(document.get("server"), "server", change));
}

function edited(text: string, edit: (document: Document.Parsed) => void): string {
  const document = parseYamlDocument(text);
  edit(document);
  try {
    return renderYaml(document);
  } catch {
    // An alias whose anchor stood in what was taken out.
    throw new ConfigError("the file", "expected no aliases of what is taken out");
  }
}

function changeMap(map: unknown, path: string, change: EntryChange): void {
  if (!isMap(map)) throw new ConfigError(path, "expected a map of its own");
  for (const [key, value] of Object.entries(change)) {
    const old = map.get(key, true);
    if (value === undefined) map.delete(key);
    else if (isScalar(old)) old.value = value; // keeps the comment beside it
    else map.set(key, value);
  }
}

function findClient(document: Document.Parsed, name: string): Pair {
  const found = pairIn(document.get("clients"), name);
  if (!found) throw new ConfigError("clients", "expected the client in this file itself");
  return found;
}

/** The text with one more client or group, which must not be there yet; the section may be missing too. */
export function insertEntry(
  text: string,
  section: "clients" | "ports",
  name: string,
  entry: Readonly<Record<string, unknown>> | readonly string[],
): string {
  return editAmongFew(text, (text) => insertInto(text, section, name, entry));
}

function insertInto(
  text: string,
  section: string,
  name: string,
  entry: Readonly<Record<string, unknown>> | readonly string[],
): string {
  const document = parseYamlDocument(text);
  const lines = insertLines(text, document.contents, section, (indent) => {
    const only = new Document({ [name]: entry }, { schema: "core" });
    setFlow(only.get(name));
    return only.toString({ indent, lineWidth: 0, flowCollectionPadding: false });
  });
  const node = document.createNode(entry);
  setFlow(node);
  setEntry(document, section, name, node);
  return preferLines(lines, document);
}

/** Whether a group of that name may be one that {@linkcode keepGuarded} has made. It is given to no client by default. */
export function isGuardedGroup(name: string): boolean {
  return /^guarded(-\d+)?$/.test(name);
}

/**
 * The text with these ports in a group that no client has: otherwise they would leave the guard with the last client
 * that names them, and be open to everyone. Gives the group's name as well. `texts` are all files with clients, this one
 * included.
 */
export function keepGuarded(
  text: string,
  ranges: readonly PortRange[],
  texts: readonly string[] = [text],
): { text: string; group: string } {
  const given = new Set(texts.flatMap(namesGiven));
  let group = "";
  const edited = editAmongFew(text, (text) => {
    const kept = addToGroup(text, ranges.map(formatPortRange), given);
    group = kept.group;
    return kept.text;
  });
  return { text: edited, group };
}

/** `given`: the groups that clients have. What was added to one of these would be open to them. */
function addToGroup(
  text: string,
  specs: readonly string[],
  given: ReadonlySet<unknown>,
): { text: string; group: string } {
  const document = parseYamlDocument(text);
  const ports = document.get("ports");
  for (let n = 1;; n++) {
    const group = n === 1 ? "guarded" : `guarded-${n}`;
    if (given.has(group)) continue;
    const list = isMap(ports) ? ports.get(group, true) : undefined;
    if (list === undefined) return { group, text: insertInto(text, "ports", group, specs) };
    if (!isSeq(list)) continue;
    const last = list.items.at(-1);
    const end = list.flow && isScalar(last) ? last.range?.[1] : undefined;
    const lines = end === undefined ? undefined : [text.slice(0, end), ...specs].join(", ") +
      text.slice(end);
    for (const spec of specs) list.add(document.createNode(spec));
    return { group, text: preferLines(lines, document) };
  }
}

/** The names in the lists of a file's clients and groups: a client that has a group has the groups in it. */
function namesGiven(text: string): unknown[] {
  const root = readYaml(text);
  const listsIn = (section: string, key: string) =>
    [...sectionOf(root, section).values()].map((each) =>
      each instanceof Map ? each.get(key) : each
    );
  return [...listsIn("clients", "allowed_ports"), ...listsIn("ports", "ports")].flat();
}

/** `allowed_ports: [ssh]`, as `openme init` writes lists; and so for maps. */
function setFlow(entry: unknown): void {
  const values = isMap(entry) ? entry.items.map(({ value }) => value) : [entry];
  for (const value of values) if (isCollection(value)) value.flow = true;
}

/** The text with lines put in, if it means what the document means; else the document written anew. */
function preferLines(lines: string | undefined, document: Document): string {
  const values = JSON.stringify(document.toJS());
  try {
    if (lines !== undefined && JSON.stringify(parseYamlDocument(lines).toJS()) === values) {
      return lines;
    }
  } catch {
    // The lines are no YAML at that place.
  }
  return renderYaml(document);
}

/** `undefined` where the file is written in a way that lines cannot be put into. */
function insertLines(
  text: string,
  root: unknown,
  section: string,
  render: (indent: number) => string,
): string | undefined {
  if (!isMap(root) || root.flow) return undefined;
  const pair = pairIn(root, section) as PlacedPair | undefined;
  if (!pair) return endLine(text) + `${section}:\n` + indented(render(2), "  ");
  const { key, value } = pair;
  if (!isMap(value) || value.items.length === 0) {
    // Nothing, `~` or `{}`: a placeholder, on the key's own line.
    const [from, to] = value?.range ?? [0, 0];
    if (text.slice(from, to).includes("\n")) return undefined;
    const kept = from === to ? text : text.slice(0, from).trimEnd() + text.slice(to);
    return insertAt(kept, lineEnd(kept, key.range![1]), indented(render(2), "  "));
  }
  if (value.flow) return undefined; // in one line: nothing is lost when it is written anew
  const last = (value as YAMLMap<Node, Node | null>).items.at(-1)!;
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

/** Where an entry ends, comments apart. */
function endOf({ key, value }: PlacedPair): number {
  if (isMap<Node, Node | null>(value) && !value.flow && value.items.length > 0) {
    return endOf(value.items.at(-1)!);
  }
  const leaf = isSeq<Node>(value) && !value.flow ? value.items.at(-1) : value;
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
