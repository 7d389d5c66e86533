/**
 * Edits of the server's configuration, but for a new client (`insert_client.ts`): text -> text, everything else as it
 * was, comments included. Whether what comes out is a good configuration is for the caller to check.
 */

import { isMap, isScalar, type Pair, type YAMLMap } from "yaml";
import type { Document } from "yaml";
import { ConfigError } from "./fields.ts";
import { parseYamlDocument } from "./yaml.ts";

/** Values of one entry; `undefined` takes a key out. */
export type EntryChange = Readonly<Record<string, string | readonly string[] | undefined>>;

/** One more group of ports. */
export function addGroup(text: string, name: string, specs: readonly string[]): string {
  return edited(text, (document) => {
    const node = document.createNode(specs);
    (node as { flow?: boolean }).flow = true;
    const groups = document.get("ports");
    if (isMap(groups)) {
      if (groups.items.length === 0) groups.flow = false; // `{}` was only a placeholder
      groups.set(document.createNode(name), node);
    } else {
      document.set("ports", document.createNode({ [name]: node }));
    }
  });
}

/** Whether a file's own section `clients` has this one. */
export function hasClient(text: string, name: string): boolean {
  const clients = parseYamlDocument(text).get("clients");
  return isMap(clients) && clients.has(name);
}

/** The same without a client. */
export function removeClient(text: string, name: string): string {
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

/** Changes values of a client. */
export function changeClient(text: string, name: string, change: EntryChange): string {
  return edited(text, (document) => {
    const { value } = findClient(document, name);
    if (!isMap(value)) throw new ConfigError(`clients.${name}`, "expected a map of its own");
    changeMap(document, value, change);
  });
}

/** Changes values of the `server` section. */
export function changeServer(text: string, change: EntryChange): string {
  return edited(text, (document) => {
    const server = document.get("server");
    if (!isMap(server)) throw new ConfigError("server", "expected a map of its own");
    changeMap(document, server, change);
  });
}

function edited(text: string, edit: (document: Document.Parsed) => void): string {
  const document = parseYamlDocument(text);
  edit(document);
  try {
    return document.toString({ lineWidth: 0, flowCollectionPadding: false });
  } catch {
    // An alias whose anchor stood in what was taken out.
    throw new ConfigError("the file", "expected no aliases of what is taken out");
  }
}

function changeMap(document: Document.Parsed, map: YAMLMap, change: EntryChange): void {
  for (const [key, value] of Object.entries(change)) {
    if (value === undefined) {
      map.delete(key);
      continue;
    }
    const old = map.get(key, true);
    if (isScalar(old) && typeof value === "string") {
      old.value = value; // keeps the comment beside it
      continue;
    }
    const node = document.createNode(value);
    if (!isScalar(node)) (node as { flow?: boolean }).flow = true;
    map.set(key, node);
  }
}

function findClient(document: Document.Parsed, name: string): Pair {
  const clients = document.get("clients");
  const found = isMap(clients)
    ? clients.items.find(({ key }) => isScalar(key) && key.value === name)
    : undefined;
  if (!found) throw new ConfigError("clients", "expected the client in this file itself");
  return found;
}
