/** SHA256SUMS, as `sha256sum -c` reads it. */

import { createHash } from "node:crypto";
import { basename } from "node:path";

/** The SHA-256 of a file, in hex. */
export async function sha256(path: string): Promise<string> {
  const hash = createHash("sha256");
  using file = await Deno.open(path);
  for await (const chunk of file.readable) hash.update(chunk);
  return hash.digest("hex");
}

/** Writes `dist/SHA256SUMS`: one line a file, sorted by name. */
export async function writeSums(dist: string, paths: readonly string[]): Promise<void> {
  const lines = await Promise.all(
    paths.map(async (path) => ({ name: basename(path), sum: await sha256(path) })),
  );
  lines.sort((a, b) => a.name < b.name ? -1 : 1);
  await Deno.writeTextFile(
    `${dist}/SHA256SUMS`,
    lines.map(({ name, sum }) => `${sum}  ${name}\n`).join(""),
  );
}
