/** The state of a dry run: in a folder of its own, so that it spends no nonce and leaves no grant to the real `serve`. */

import { diskTroubleOf, messageOf, OpenmeError } from "../../values/errors.ts";
import { quote } from "../../values/text.ts";
import { DRY_RUN_PREFIX } from "../../state/names.ts";

/** A folder in the state directory, removed at the end; what a killed run left, the next one removes. */
export class DryState implements Disposable {
  readonly dir: string;

  /** The state directory must be locked. */
  constructor(stateDir: string) {
    for (const { name } of Deno.readDirSync(stateDir)) {
      if (name.startsWith(DRY_RUN_PREFIX)) {
        Deno.removeSync(`${stateDir}/${name}`, { recursive: true });
      }
    }
    try {
      this.dir = Deno.makeTempDirSync({ dir: stateDir, prefix: DRY_RUN_PREFIX });
    } catch (cause) {
      const [why, hint] = diskTroubleOf(cause) ??
        [messageOf(cause), "choose another folder with --state-dir"];
      throw new OpenmeError("STATE", `cannot write in ${quote(stateDir, 1000)}: ${why}`, {
        hint,
        cause,
      });
    }
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.dir, { recursive: true });
  }
}
