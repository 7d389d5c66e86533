/** A temporary folder that goes away with the test that made it. */

/** A folder for one test, removed at its end. */
export class Folder implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** An empty folder. */
  static async create(): Promise<Folder> {
    return new Folder(await Deno.makeTempDir({ prefix: "openme-test-" }));
  }

  /** The path of a file in it, whether that is there or not. */
  file(name: string): string {
    return `${this.path}/${name}`;
  }

  /** Writes a file, by default one that only its owner can read; returns its path. */
  async write(name: string, text: string | Uint8Array, mode = 0o600): Promise<string> {
    const path = this.file(name);
    const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
    await Deno.writeFile(path, bytes);
    await Deno.chmod(path, mode); // in spite of the umask
    return path;
  }

  read(name: string): Promise<string> {
    return Deno.readTextFile(this.file(name));
  }

  /** The names of everything in it, sorted. */
  async names(): Promise<string[]> {
    const entries = await Array.fromAsync(Deno.readDir(this.path));
    return entries.map(({ name }) => name).sort();
  }

  /** The permission bits of a file. */
  async mode(name: string): Promise<number> {
    return (await Deno.lstat(this.file(name))).mode! & 0o7777;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}
