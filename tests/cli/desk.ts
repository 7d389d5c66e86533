/** Where a job of a CI system or of cron runs: openme and what it works with are on the path. */

import { VERSION } from "../../lib/values/version.ts";
import { Folder } from "../support/folder.ts";
import { profilesYaml } from "../support/server_yaml.ts";
import { bareEnvironment, commandLine } from "./program.ts";

/** Runs openme for its npm package. The action also has it made: tests/package/npm_jobs.test.ts does both for real. */
const NPX = `#!/bin/sh
case $2 in
  deno@*)
    test "$*" = "-y $2 run --quiet -A scripts/package/npm.ts dist/npm/package" || exit 9
    exec mkdir -p dist/npm/package ;;
  --package=*/dist/npm/openme.tgz) test "$3" = openme || exit 9; shift 3 ;;
  https://github.com/OWNER/openme/releases/download/v${VERSION}/openme-${VERSION}.tgz) shift 2 ;;
  *) exit 9 ;;
esac
exec openme "$@"
`;
const NPM = `#!/bin/sh
test "$*" = "pack --silent ./package" && exec touch openme-${VERSION}.tgz
`;

/** A desk with `openme`, and stand-ins that write down how they are called, on the path; and a server's socket. */
export class Desk implements AsyncDisposable {
  readonly #socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });

  private constructor(readonly folder: Folder, readonly env: Record<string, string>) {}

  static async create(): Promise<Desk> {
    const folder = await Folder.create();
    const words = commandLine([]).map((word) => `'${word.replaceAll("'", `'\\''`)}'`);
    await folder.write("openme", `#!/bin/sh\nexec ${words.join(" ")} "$@"\n`, 0o755);
    await folder.write("rsync", '#!/bin/sh\necho rsync "$@"\n', 0o755);
    await folder.write("npx", NPX, 0o755);
    await folder.write("npm", NPM, 0o755);
    const env = await bareEnvironment();
    return new Desk(folder, { ...env, PATH: `${folder.path}:${env["PATH"]}` });
  }

  get port(): number {
    return (this.#socket.addr as Deno.NetAddr).port;
  }

  profiles(...names: string[]): string {
    return profilesYaml(Object.fromEntries(names.map((name) => [name, { port: this.port }])));
  }

  /** Runs a command; gives what it left, and how many knocks have come meanwhile. */
  async run(command: readonly string[], env: Record<string, string> = {}) {
    let knocks = 0;
    const receiving = (async () => {
      for await (const [datagram] of this.#socket) {
        if (datagram.length === 165) knocks++;
        else if (datagram.length === 1) return;
      }
    })();
    const [program, ...args] = command;
    const { code, stdout, stderr } = await new Deno.Command(program!, {
      args,
      cwd: this.folder.path,
      env: { ...this.env, ...env },
      clearEnv: true,
    }).output();
    // Datagrams on loopback keep their order: after this one there is none.
    await this.#socket.send(new Uint8Array(1), this.#socket.addr);
    await receiving;
    const decoder = new TextDecoder();
    return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr), knocks };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.close();
    await this.folder[Symbol.asyncDispose]();
  }
}
