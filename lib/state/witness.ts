/**
 * The file `intact` beside the database: there while the database is the whole truth, and in it the number of the last
 * transaction. A write-ahead log of which the end is lost leaves a database in good order, only an older one; the number
 * tells.
 */

const SIZE = 16;

/** What a witness says. `sequence` is `undefined` where an openme of before has left it, which wrote nothing in it. */
export interface Testimony {
  readonly sequence: number | undefined;
}

/** The testimony at a path; `undefined` where there is none. What cannot be read counts as of an unknown future. */
export function readWitness(path: string): Testimony | undefined {
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch (cause) {
    return cause instanceof Deno.errors.NotFound ? undefined : { sequence: Infinity };
  }
  if (text === "") return { sequence: undefined };
  return { sequence: /^\d{16}$/.test(text) ? Number(text) : Infinity };
}

/** A witness that is being told. */
export class Witness {
  readonly #file: Deno.FsFile;

  /** Opens or makes it: private to the user. Throws as the disk does. */
  constructor(path: string) {
    this.#file = Deno.openSync(path, { write: true, create: true, mode: 0o600 });
  }

  /** In place, in one write: it is never empty, nor half of it another. */
  tell(sequence: number): void {
    this.#file.seekSync(0, Deno.SeekMode.Start);
    const written = this.#file.writeSync(
      new TextEncoder().encode(String(sequence).padStart(SIZE, "0")),
    );
    if (written !== SIZE) {
      throw new Error("the file that says that the state is intact was cut off");
    }
  }

  close(): void {
    this.#file.close();
  }
}
