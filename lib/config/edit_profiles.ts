/** Edits of the client's file: text -> text, everything else as it was, comments included. */

import { isMap, type Node, type Pair, Scalar, visit, type YAMLMap } from "yaml";
import { ConfigError } from "./fields.ts";
import { pairIn, parseYamlDocument, renderYaml, setEntry } from "./yaml.ts";

/** Keys and values of profiles by name, as they stand in a client file. */
export type ProfileValues = ReadonlyMap<string, ReadonlyMap<string, unknown>>;

/** The file with these profiles in it; one that is there already is replaced. Without a file a new one is made. */
export function putProfiles(text: string | undefined, profiles: ProfileValues): string {
  const document = parseYamlDocument(text?.trim() ? text : "profiles: {}\n");
  if (document.contents !== null && !isMap(document.contents)) {
    throw new ConfigError("the file", "expected a map");
  }
  for (const [name, values] of profiles) {
    const node: Node = document.createNode(Object.fromEntries(values));
    // Quoted like those of openme add: a knock then reads the file without the YAML library.
    visit(node, {
      Scalar: (position, scalar) => {
        if (position !== "key" && typeof scalar.value === "string") {
          scalar.type = Scalar.QUOTE_DOUBLE;
        }
      },
    });
    // A post_knock is the owner's own, and stays when the profile is replaced.
    const old = pairIn(document.get("profiles"), name)?.value;
    const own: unknown = isMap(old) ? old.get("post_knock", true) : undefined;
    if (own && isMap(node) && !node.has("post_knock")) node.set("post_knock", own);
    // So is where the key lies: the server writes "agent" for the same key.
    const place: unknown = isMap(old) ? old.get("identity", true) : undefined;
    const isSame = isMap(old) && old.get("public_key") === values.get("public_key");
    if (place && isSame && isMap(node) && values.get("identity") === "agent") {
      node.set("identity", place);
    }
    setEntry(document, "profiles", name, node);
  }
  return renderYaml(document);
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
  const pair = pairIn(section, name);
  if (!isMap(section) || !pair) throw new ConfigError("profiles", "expected a map in YAML");
  edit(section, pair);
  return renderYaml(document);
}
