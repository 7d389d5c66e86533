/** The state of a dry run: a folder of its own, so that no nonce is spent and no grant is left for the real `serve`. */

const PREFIX = "dry-run-";

/** A folder in the state directory that goes with the run; what a killed run left goes with the next. */
export class DryState implements Disposable {
  readonly dir: string;

  /** The state directory must be locked. */
  constructor(stateDir: string) {
    for (const { name } of Deno.readDirSync(stateDir)) {
      if (name.startsWith(PREFIX)) Deno.removeSync(`${stateDir}/${name}`, { recursive: true });
    }
    this.dir = Deno.makeTempDirSync({ dir: stateDir, prefix: PREFIX });
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.dir, { recursive: true });
  }
}
