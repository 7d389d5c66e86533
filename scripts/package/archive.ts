/** Compressed tar files that are the same bytes for the same files. Runs GNU tar and xz. */

import { run } from "../run.ts";

/**
 * Packs files and folders of `parent` as `output`, a .tar.xz or .tar.gz. All of it belongs to root and has the time
 * `epochSeconds`. Who may read, write and run each file is taken from the folder.
 */
export async function archive(
  parent: string,
  names: readonly string[],
  { output, epochSeconds }: { readonly output: string; readonly epochSeconds: number },
): Promise<void> {
  const isGzip = output.endsWith("gz");
  // One thread: with more, the bytes depend on how many. gzip -n writes no time of its own.
  const compressor = isGzip ? "gzip -n9" : "xz -6 --threads=1";
  const code = await run("tar", [
    ...["--sort=name", "--format=gnu", "--owner=root:0", "--group=root:0"],
    ...[`--mtime=@${epochSeconds}`, `--use-compress-program=${compressor}`],
    ...["-C", parent, "-cf", output, ...names],
  ], { LC_ALL: "C" });
  if (code !== 0) throw new Error(`tar: ${output} was not made`);
}
