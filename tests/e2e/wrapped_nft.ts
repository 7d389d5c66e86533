/** A `serve` whose `nft` is another program: one that fails, hangs or is slow before the real one runs. */

import type { Lab } from "./lab.ts";
import { OPENME } from "../support/openme_command.ts";
import { Served } from "./openme.ts";
import type { Site } from "./site.ts";

/** Starts `serve` with a folder in front of PATH. */
export function serveWithPath(lab: Lab, { config }: Site, dir: string): Served {
  const path = `${dir}:${Deno.env.get("PATH")}`;
  const command = ["env", `PATH=${path}`, ...OPENME, "serve", "--config", config];
  return new Served(lab.start("server", command));
}

/** A folder for PATH with an `nft` that runs these lines of shell before the real one, which is `$real` in them. */
export async function wrapNft(lab: Lab, { dir }: Site, lines: string): Promise<string> {
  const real = (await lab.run("server", ["sh", "-c", "command -v nft"])).trim();
  await Deno.mkdir(`${dir}/bin`);
  const script = `#!/bin/sh\nreal=${real}\n${lines}\nexec $real "$@"\n`;
  await Deno.writeTextFile(`${dir}/bin/nft`, script, { mode: 0o755 });
  return `${dir}/bin`;
}
