/**
 * The namespaces in which the demo and the tests run. Nothing of them is seen from outside, and they are gone with the
 * last program in them.
 */

import { fileURLToPath } from "node:url";
import { capture } from "../run.ts";

const ENTER = fileURLToPath(new URL("./enter.sh", import.meta.url));

/** Unpacked packages, and a folder that is empty: see `enter.sh`. */
export interface Covering {
  readonly tree: string;
  readonly layers: string;
}

/**
 * The command line that runs `command` where network namespaces can be made, with what a tree of packages has: as it is
 * for root who needs no tree, in a mount namespace of its own with one, and for an ordinary user in a user namespace.
 * `undefined` where the system does not allow that.
 */
export async function inNamespaces(
  command: readonly string[],
  covering: Covering | undefined,
): Promise<string[] | undefined> {
  const root = Deno.uid() === 0;
  if (root && !covering) return [...command];
  const enter = [
    ...["unshare", root ? "-m" : "-Urnm", "sh", ENTER],
    ...[covering?.tree ?? "", covering?.layers ?? ""],
  ];
  const works = await capture(enter[0]!, [...enter.slice(1), "true"]);
  return works === undefined ? undefined : [...enter, ...command];
}
