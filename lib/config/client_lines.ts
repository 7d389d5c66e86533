/** Where the clients stand in the text of a file, so that an edit of one leaves the others as they are written. */

import { readPlainYaml } from "./plain_yaml.ts";

/** The lines of one client, from its name to its last value or a comment of its own. */
export interface ClientLines {
  readonly name: string;
  /** Positions in the text; `to` is not included. */
  readonly from: number;
  readonly to: number;
}

/** The clients in the order of the file; `undefined` where only the YAML library can tell. */
export function clientLinesOf(text: string): ClientLines[] | undefined {
  // In a plainly written file every line is what it looks like.
  if (!readPlainYaml(text)) return undefined;
  const head = /^(["']?)clients\1:[^\n]*(?:\n|$)/m.exec(text);
  if (!head) return [];
  const line = /( *)(#|(["']?)([\w.-]*)\3:|)([^\n]*)(?:\n|$)/y;
  line.lastIndex = head.index + head[0].length;
  const clients: { name: string; from: number; to: number }[] = [];
  let column = 0;
  while (line.lastIndex < text.length) {
    const from = line.lastIndex;
    const [, indent, start, , name, rest] = line.exec(text)!;
    const isComment = start === "#";
    if (start === "" && rest === "") continue;
    if (!isComment && indent === "") break; // the next section
    const last = clients.at(-1);
    if (!isComment && (!last || indent!.length === column)) {
      column = indent!.length;
      clients.push({ name: name!, from, to: line.lastIndex });
    } else if (last && indent!.length > column) last.to = line.lastIndex;
  }
  return clients;
}

/** Makes an edit that concerns other lines in a text without most of the clients, and puts these back. */
export function editAmongFew(text: string, edit: (text: string) => string): string {
  const clients = clientLinesOf(text) ?? [];
  const [first, last] = [clients.at(0), clients.at(-1)];
  if (!first || !last || first === last) return edit(text);
  const [head, cut] = [text.slice(0, first.from), text.slice(first.from, last.from)];
  const tail = text.slice(last.from);
  const edited = edit(head + tail);
  if (edited.startsWith(head)) return head + cut + edited.slice(head.length);
  if (edited.endsWith(tail)) return edited.slice(0, -tail.length) + cut + tail;
  return edit(text);
}
