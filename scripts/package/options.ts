/** What every kind of package is made from. */

import { capture } from "../run.ts";

/** The names of architectures, as `uname -m` prints them. */
export type Architecture = "x86_64" | "aarch64";

export interface PackageOptions {
  /** The path of the compiled openme. */
  readonly program: string;
  /** The folder for what is made; it exists. */
  readonly dist: string;
  readonly version: string;
  /** The architecture of `program`. */
  readonly architecture: Architecture;
  /** The time of every file in a package, in seconds since 1970. */
  readonly epochSeconds: number;
}

/** Makes one kind of package; returns the paths of its files. The same options give the same bytes. */
export type Make = (options: PackageOptions) => Promise<string[]>;

/**
 * `SOURCE_DATE_EPOCH` (https://reproducible-builds.org/specs/source-date-epoch/), or else the time of the last commit.
 * Throws where there is neither.
 */
export async function sourceEpochSeconds(root: string): Promise<number> {
  const given = Deno.env.get("SOURCE_DATE_EPOCH");
  const text = given ?? await capture("git", ["-C", root, "log", "-1", "--format=%ct"]) ?? "";
  if (!/^\d{1,11}\n?$/.test(text)) {
    throw new Error(
      given === undefined
        ? "no commit to take the time from: set SOURCE_DATE_EPOCH to seconds since 1970"
        : `SOURCE_DATE_EPOCH: expected seconds since 1970, got ${JSON.stringify(given)}`,
    );
  }
  return Number(text);
}
