/** Edits of the client's file: text -> text, everything else as it was, comments included. */

import { isMap, isScalar, type Node, type Pair, Scalar, visit, type YAMLMap } from "yaml";
import { ConfigError } from "./fields.ts";
import { parseYamlDocument } from "./yaml.ts";

/** Keys and values of profiles by name, as they stand in a client file. */
export type ProfileValues = ReadonlyMap<string, ReadonlyMap<string, unknown>>;

/** The file with these profiles in it; one that is there already is replaced. Without a file a new one is made. */
export function putProfiles(text: string | undefined, profiles: ProfileValues): string {
  const document = parseYamlDocument(text?.trim() ? text : "profiles: {}\n");
  for (const [name, values] of profiles) {
    const node: Node = document.createNode(Object.fromEntries(values));
    // Quoted like those of openme add: so a knock reads the file without the YAML library.
    visit(node, {
      Scalar: (position, scalar) => {
        if (position !== "key" && typeof scalar.value === "string") {
          scalar.type = Scalar.QUOTE_DOUBLE;
        }
      },
    });
    const section = document.get("profiles");
    if (isMap(section)) {
      if (section.items.length === 0) section.flow = false; // `{}` was only a placeholder
      const pair = section.items.find(({ key }) => isScalar(key) && key.value === name);
      if (pair) {
        // What the owner lets run after a knock is his own, and not of the profile that was handed to him.
        const own: unknown = isMap(pair.value) ? pair.value.get("post_knock", true) : undefined;
        if (own && isMap(node) && !node.has("post_knock")) {
          node.set("post_knock", own);
        }
        pair.value = node;
      } else section.set(document.createNode(name), node);
    } else if (isMap(document.contents) || document.contents === null) {
      document.set("profiles", document.createNode({ [name]: node }));
    } else throw new ConfigError("the file", "expected a map");
  }
  return document.toString({ lineWidth: 0, flowCollectionPadding: false });
}

/** The file with this profile under another name, in its place. */
export function renameProfile(text: string, from: string, to: string): string {
  return editPair(text, from, (_, pair) => pair.key = new Scalar(to));
}

/** The file without this profile. */
export function removeProfile(text: string, name: string): string {
  return editPair(text, name, (section) => {
    section.delete(name);
    if (section.items.length === 0) section.flow = true; // `{}`: a map all the same
  });
}

function editPair(
  text: string,
  name: string,
  edit: (section: YAMLMap, pair: Pair) => void,
): string {
  const document = parseYamlDocument(text);
  const section = document.get("profiles");
  const pair = isMap(section)
    ? section.items.find(({ key }) => isScalar(key) && key.value === name)
    : undefined;
  if (!isMap(section) || !pair) throw new ConfigError("profiles", "expected a map in YAML");
  edit(section, pair);
  return document.toString({ lineWidth: 0, flowCollectionPadding: false });
}
