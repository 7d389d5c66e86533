/**
 * The group of ports that would be guarded only as long as a client names them: with the client they would leave the
 * guard and be open to everyone. Text -> text, like the other edits.
 */

import { isMap, isScalar, isSeq, type YAMLSeq } from "yaml";
import { formatPortRange, type PortRange } from "../values/ports.ts";
import { insertEntry, saysTheSame } from "./insert_client.ts";
import { parseYaml, parseYamlDocument } from "./yaml.ts";

const NAME = "guarded";

/** Whether a group of that name may be one that {@linkcode keepGuarded} has made: nobody is meant to be given it. */
export function isGuardedGroup(name: string): boolean {
  return /^guarded(-\d+)?$/.test(name);
}

/**
 * The text with these ports in a group that no client names: they stay guarded, whatever becomes of the clients. Gives
 * the group's name as well. `texts` are all files with clients, this one included.
 */
export function keepGuarded(
  text: string,
  ranges: readonly PortRange[],
  texts: readonly string[] = [text],
): { text: string; group: string } {
  const specs = ranges.map(formatPortRange);
  const document = parseYamlDocument(text);
  const ports = document.get("ports");
  const given = new Set(texts.flatMap(namesGiven));
  for (let n = 1;; n++) {
    const group = n === 1 ? NAME : `${NAME}-${n}`;
    const old = isMap(ports) ? ports.get(group, true) : undefined;
    // To a group that clients have, nothing may be added: it would open to them.
    if (given.has(group) || (old !== undefined && !isSeq(old))) continue;
    return {
      group,
      text: old === undefined
        ? insertEntry(text, "ports", group, specs)
        : appendTo(text, ["ports", group], old, specs),
    };
  }
}

/** What a file's clients are allowed and its groups are made of, as it writes them; aliases are what they lead to. */
function namesGiven(text: string): unknown[] {
  const root = parseYaml(text);
  const entryOf = (value: unknown, key: string) =>
    value instanceof Map ? value.get(key) : undefined;
  const valuesOf = (key: string) => {
    const section = entryOf(root, key);
    return section instanceof Map ? [...section.values()] : [];
  };
  return [
    ...valuesOf("clients").flatMap((entry) => entryOf(entry, "allowed_ports") ?? []),
    // A group may name another: whoever has the one has the other.
    ...valuesOf("ports").flatMap((entry) => entryOf(entry, "ports") ?? entry),
  ];
}

/** Into the line of the list where it stands in one, else the YAML library writes the file anew. */
function appendTo(
  text: string,
  path: readonly [string, string],
  list: YAMLSeq,
  specs: readonly string[],
): string {
  const document = parseYamlDocument(text);
  const node = document.getIn(path, true) as YAMLSeq;
  for (const spec of specs) node.add(document.createNode(spec));
  const last = list.items.at(-1);
  const end = isScalar(last) ? last.range?.[1] : undefined;
  if (list.flow && end !== undefined) {
    const edited = text.slice(0, end) + specs.map((spec) => `, ${spec}`).join("") + text.slice(end);
    if (saysTheSame(edited, document.toJS())) return edited;
  }
  return document.toString({ lineWidth: 0, flowCollectionPadding: false });
}
