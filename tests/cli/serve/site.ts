/** A place for one `openme serve`, with an `nft` that only records what it is asked. */

import { keyPairOf } from "../../../lib/crypto/keys.ts";
import { Folder } from "../../support/folder.ts";
import { address, ALICE, knockBy } from "../../support/knocks.ts";
import { serverYaml } from "../../support/server_yaml.ts";
import { Program } from "../../support/spawned.ts";
import { commandLine, freeUdpPort, openme, type Result } from "../program.ts";

/** A place for one server: configuration, state, and an `nft` of its own. */
export class Site implements AsyncDisposable {
  readonly folder: Folder;
  readonly port: number;

  private constructor(folder: Folder, port: number) {
    this.folder = folder;
    this.port = port;
  }

  /** `nft` is what the stand-in does beside recording; by default it says that there are no rules. */
  static async create({ port = freeUdpPort(), nft = "" } = {}): Promise<Site> {
    const site = new Site(await Folder.create(), port);
    const { folder } = site;
    await folder.write("server.yaml", site.yaml());
    await Deno.mkdir(folder.file("bin"));
    await folder.write(
      "bin/nft",
      `#!/bin/sh
echo "nft $*" >>'${folder.file("asked")}'
if [ "$1" = -i ]; then
  while IFS= read -r line; do
    case "$line" in
      openme*done) printf 'Error: syntax error, unexpected newline\\n%s\\n' "$line" >&2 ;;
      *) echo "$line" >>'${folder.file("asked")}' ;;
    esac
  done
  exit
fi
[ "$1" != -f ] || cat >>'${folder.file("asked")}'
${nft}
[ "$1" != --json ] || echo '{"nftables": []}'
`,
      0o700,
    );
    return site;
  }

  yaml(server: string[] = [], rest?: string): string {
    return serverYaml({
      server: [
        `udp_port: ${this.port}`,
        "drop_ports: true",
        `state_dir: ${this.folder.file("state")}`,
        ...server,
      ],
      ...(rest === undefined ? {} : { rest }),
    });
  }

  /** What `nft` was asked so far. */
  async asked(): Promise<string> {
    return (await this.folder.names()).includes("asked") ? await this.folder.read("asked") : "";
  }

  get env(): Record<string, string> {
    return { ...Deno.env.toObject(), PATH: `${this.folder.file("bin")}:${Deno.env.get("PATH")}` };
  }

  #args(args: readonly string[]): string[] {
    return ["serve", "--config", "server.yaml", ...args];
  }

  /** Runs it to an end that it should find by itself. */
  run(args: readonly string[] = []): Promise<Result> {
    return openme(this.#args(args), { cwd: this.folder.path, env: this.env });
  }

  /** Starts it and waits until it listens. */
  async start(args: readonly string[] = []): Promise<Program> {
    const [file, ...rest] = commandLine(this.#args(args));
    const program = new Program(file!, { args: rest, cwd: this.folder.path, env: this.env });
    try {
      await program.stderr.waitFor(/listening/, 15_000);
      return program;
    } catch (error) {
      await program[Symbol.asyncDispose]();
      throw error;
    }
  }

  async send(datagram: Uint8Array): Promise<void> {
    const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
    await socket.send(datagram, { transport: "udp", hostname: "127.0.0.1", port: this.port });
    socket.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.folder[Symbol.asyncDispose]();
  }
}

const TARGET = address("198.51.100.20");

/** A knock by alice of this moment, for an address that she could have. */
export async function knockNow(target = TARGET): Promise<Uint8Array> {
  const random = (size: number) => crypto.getRandomValues(new Uint8Array(size));
  return await knockBy(ALICE, {
    timestampNs: BigInt(Date.now()) * 1_000_000n,
    randomNonce: random(16),
    target,
  }, await keyPairOf("X25519", random(32)));
}
