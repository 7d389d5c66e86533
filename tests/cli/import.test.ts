/** `openme import`: profiles in every form, put into the client's file, which a knock then reads. */

import assert from "node:assert/strict";
import { readPlainYaml } from "../../lib/config/plain_yaml.ts";
import { parseClientConfig } from "../../lib/config/profiles.ts";
import { renderJson } from "../../lib/cli/context.ts";
import { encodeBase64 } from "../../lib/crypto/keys.ts";
import { must } from "../support/knocks.ts";
import {
  ALICE_PRIVATE,
  ALICE_PUBLIC,
  profilesYaml,
  SERVER_PUBLIC,
  serverYaml,
} from "../support/server_yaml.ts";
import { Folder } from "../support/folder.ts";
import {
  bareEnvironment,
  failure,
  freeUdpPort,
  openme,
  type Result,
  unprivileged,
} from "./program.ts";

const QR = {
  profile: "phone",
  host: "203.0.113.7",
  "udp_port": 4001,
  "server_pubkey": SERVER_PUBLIC,
  "client_privkey": ALICE_PRIVATE,
  "client_pubkey": ALICE_PUBLIC,
};
const LINK = "openme://import?" +
  new URLSearchParams({ ...QR, profile: "linked", udp_port: "4001" }).toString();

/** Runs openme with a home of its own; `input` is its standard input. */
async function run(folder: Folder, args: readonly string[], input = ""): Promise<Result> {
  const env = await bareEnvironment({ HOME: folder.path });
  await folder.write("input", input);
  const through = ["sh", "-c", 'exec "$@" < "$0"', folder.file("input")];
  return await openme(args, { cwd: folder.path, env, through });
}

async function imported(folder: Folder, args: readonly string[], input?: string): Promise<void> {
  const { code, stdout, stderr } = await run(folder, ["import", ...args], input);
  assert.equal(code, 0, stderr);
  assert.equal(stdout, "");
}

function profiles(folder: Folder) {
  return folder.read(".openme/config.yaml").then((text) => parseClientConfig(text, "config.yaml"));
}

Deno.test("openme import takes YAML, the JSON of a QR code and a link, from a file or standard input", async () => {
  await using folder = await Folder.create();
  await folder.write("yaml", profilesYaml({ home: { host: "a.example" }, work: {} }));
  await folder.write("link", `\n${LINK}\n`, 0o644);
  await imported(folder, ["yaml"]);
  await imported(folder, ["link"]);
  await imported(folder, [], JSON.stringify(QR, undefined, 2));
  await imported(folder, ["-", "--as", "second"], JSON.stringify(QR));
  const all = await profiles(folder);
  assert.deepEqual([...all.keys()], ["home", "work", "linked", "phone", "second"]);
  const phone = must(all.get("phone"));
  assert.deepEqual(
    [phone.serverHost, phone.serverUdpPort, encodeBase64(phone.serverPublicKey)],
    ["203.0.113.7", 4001, SERVER_PUBLIC],
  );
  assert.deepEqual({ ...must(all.get("linked")), name: "phone" }, phone);
  assert.equal(await folder.mode(".openme/config.yaml"), 0o600);
  assert.ok(
    readPlainYaml(await folder.read(".openme/config.yaml")),
    "a knock reads the file without the YAML library",
  );
});

Deno.test("a profile keeps its health port in every form, and says nothing of it where it is the knock port", async () => {
  await using folder = await Folder.create();
  await folder.write("same.yaml", serverYaml());
  await folder.write("own.yaml", serverYaml({ server: ["health_port: 9999"] }));
  for (const flags of [[], ["--link"]]) {
    for (const [server, port] of [["same", 54154], ["own", 9999]] as const) {
      const name = `${server}${flags.join("")}`;
      const added = await run(folder, ["add", name, "--config", `${server}.yaml`, ...flags]);
      assert.equal(added.code, 0, added.stderr);
      assert.equal(/health_port/.test(added.stdout), server === "own", added.stdout);
      await imported(folder, ["--as", name], added.stdout);
      const profile = must((await profiles(folder)).get(name));
      assert.deepEqual([profile.serverUdpPort, profile.healthPort], [54154, port], name);
    }
  }
});

Deno.test("openme import keeps what is there, comments included, unless --force", async () => {
  await using folder = await Folder.create();
  await Deno.mkdir(folder.file(".openme"));
  const own = "# mine\n" +
    profilesYaml({ phone: { host: "old.example", postKnock: "echo hello" }, other: {} });
  await folder.write(".openme/config.yaml", own, 0o640);
  assert.deepEqual(
    await run(folder, ["import"], JSON.stringify(QR)),
    failure(
      1,
      `cannot import "phone": ${folder.path}/.openme/config.yaml has a profile of that name`,
      "give it another name with --as NAME, or replace the old one with --force",
    ),
  );
  assert.equal(await folder.read(".openme/config.yaml"), own);
  const { code, stdout } = await run(folder, ["import", "--force", "--json"], JSON.stringify(QR));
  assert.deepEqual([code, stdout], [
    0,
    renderJson({ profiles: [{ profile: "phone", host: "203.0.113.7" }] }),
  ]);
  const phone = must((await profiles(folder)).get("phone"));
  assert.deepEqual([phone.serverHost, phone.postKnock], ["203.0.113.7", "echo hello"]);
  assert.match(await folder.read(".openme/config.yaml"), /^# mine\n/);
  assert.equal(await folder.mode(".openme/config.yaml"), 0o640);
});

Deno.test("openme import leaves out the command of a profile unless a flag keeps it", async () => {
  await using folder = await Folder.create();
  const text = profilesYaml({ home: { postKnock: "echo \x1b[31mgot you" } });
  const { code, stderr } = await run(folder, ["import"], text);
  assert.equal(code, 0, stderr);
  assert.match(stderr, /^openme: left out the post_knock of home: "echo \\u001b\[31mgot you"\n/);
  assert.equal(must((await profiles(folder)).get("home")).postKnock, undefined);
  await imported(folder, ["--allow-post-knock", "--as", "two"], text);
  assert.equal(must((await profiles(folder)).get("two")).postKnock, "echo \x1b[31mgot you");
});

Deno.test("imports at the same time lose nothing", async () => {
  await using folder = await Folder.create();
  const env = await bareEnvironment({ HOME: folder.path });
  const names = Array.from({ length: 6 }, (_, i) => `p${i}`);
  await Promise.all(names.map((name) => folder.write(name, profilesYaml({ [name]: {} }))));
  const results = await Promise.all(
    names.map((name) => openme(["import", name], { cwd: folder.path, env })),
  );
  for (const { code, stderr } of results) assert.equal(code, 0, stderr);
  assert.deepEqual([...(await profiles(folder)).keys()].sort(), names);
  assert.deepEqual(
    await Array.fromAsync(Deno.readDir(folder.file(".openme")), ({ name }) => name),
    [
      "config.yaml",
    ],
  );
});

Deno.test("OPENME_PROFILE holds the profile itself: YAML, JSON or a link", async () => {
  await using folder = await Folder.create();
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  using _closing = { [Symbol.dispose]: () => socket.close() };
  const { port } = socket.addr as Deno.NetAddr;
  const here = { ...QR, host: "127.0.0.1", "udp_port": port };
  const forms = [
    profilesYaml({ any: { port } }),
    JSON.stringify(here),
    JSON.stringify({
      profiles: {
        a: {
          server_host: "127.0.0.1",
          server_udp_port: port,
          server_pubkey: SERVER_PUBLIC,
          private_key: ALICE_PRIVATE,
        },
      },
    }),
    "openme://import?" + new URLSearchParams({ ...here, udp_port: String(port) }),
    "openme://import?" + Object.entries(here).map(([key, value]) => `${key}=${value}`).join("&"),
  ];
  for (const form of forms) {
    const env = await bareEnvironment({ OPENME_PROFILE: form });
    const arrived = socket.receive();
    const result = await openme(["knock"], { cwd: folder.path, env });
    assert.deepEqual(result, { code: 0, stdout: "", stderr: "" }, "quiet without a terminal");
    assert.equal((await arrived)[0].length, 165);
  }
  // A file that is named counts more than the variable.
  await folder.write("file.yaml", profilesYaml({ only: { port: freeUdpPort() } }));
  const env = await bareEnvironment({ OPENME_PROFILE: "nonsense" });
  const named = await openme(["knock", "--client-config", "file.yaml"], { cwd: folder.path, env });
  assert.deepEqual(named, { code: 0, stdout: "", stderr: "" });
});

const NO_KEY =
  `{"profile":"x","host":"h","server_pubkey":"${SERVER_PUBLIC}","client_pubkey":"${ALICE_PUBLIC}"}`;

const FORMS_HINT =
  "a profile is the YAML that openme add prints, the JSON of a QR code or an openme:// link";

/** The profile itself as FILE: an error that does not repeat it. */
const GIVEN_AWAY = failure(
  2,
  "openme import: expected a FILE, got what looks like the profile or a key itself",
  "other users of this machine can see arguments; instead: echo LINK | openme import",
);

const BAD: readonly (readonly [args: string[], input: string, result: Result])[] = [
  [
    ["a", "b"],
    "",
    failure(2, `openme import: unexpected argument "b"`, "see openme import --help"),
  ],
  [
    ["fwknop"],
    "",
    failure(
      2,
      "openme import fwknop needs its configuration FILE",
      "for a profile in a file of that name: openme import ./fwknop",
    ),
  ],
  [
    ["--dry-run"],
    "",
    failure(2, "--dry-run does not go with a profile", "see openme import --help"),
  ],
  [
    ["knockd", "x", "--force"],
    "",
    failure(2, "--force does not go with openme import knockd", "see openme import --help"),
  ],
  [
    ["missing"],
    "",
    failure(
      1,
      `cannot load "missing": there is no such file`,
      "name the file that openme add has made, or - for standard input",
    ),
  ],
  [
    ["knockd", "missing"],
    "",
    failure(1, `cannot load "missing": there is no such file`, "is it /etc/knockd.conf?"),
  ],
  ...[LINK, JSON.stringify(QR), ALICE_PRIVATE, `a\n${LINK}`, `client_privkey=${ALICE_PRIVATE}`].map(
    (
      secret,
    ): [string[], string, Result] => [[secret], "", GIVEN_AWAY],
  ),
  [[LINK.replace("openme", "opemne")], "", GIVEN_AWAY],
  [
    ["input", LINK],
    "",
    failure(
      2,
      `openme import: unexpected argument "openme://(hidden: it may hold a key)"`,
      "see openme import --help",
    ),
  ],
  [
    ["--key", ALICE_PRIVATE],
    NO_KEY,
    failure(
      1,
      `cannot load "(hidden: it looks like a key)": there is no such file`,
      "make one: openme keygen",
    ),
  ],
  [
    ["--as", "1"],
    JSON.stringify(QR),
    failure(
      2,
      `expected a profile name, got "1"`,
      "letters, digits, dots, hyphens and underscores, the first one a letter, at most 64",
    ),
  ],
  [
    ["--as", "x"],
    profilesYaml({ a: {}, b: {} }),
    failure(
      2,
      "--as names one profile, and there are 2",
      "import them under their own names, or one by one",
    ),
  ],
  [
    [],
    "",
    failure(1, `cannot load "standard input": the file: expected a map, got nothing`, FORMS_HINT),
  ],
  [
    [],
    "garbage",
    failure(1, `cannot load "standard input": the file: expected a map, got "garbage"`, FORMS_HINT),
  ],
  [
    [],
    "profiles: {}",
    failure(1, `cannot load "standard input": there is no profile in it`, FORMS_HINT),
  ],
  [
    [],
    `{"profile":"x","hots":"h"}`,
    failure(1, `cannot load "standard input": hots: unknown key`, `did you mean "host"?`),
  ],
  [
    [],
    "openme://knock",
    failure(
      1,
      `cannot load "standard input": the link: expected openme://import? and the profile's keys`,
      FORMS_HINT,
    ),
  ],
  [
    [],
    "openme://import?host=a&host=b",
    failure(
      1,
      `cannot load "standard input": the link: expected every key once, got host again`,
      FORMS_HINT,
    ),
  ],
  [
    [],
    NO_KEY,
    failure(
      1,
      `cannot import "standard input": the profile has no private key, and none here fits it`,
      "run it where openme keygen made the key, or name the file: --key FILE",
    ),
  ],
  [["--key", "input"], NO_KEY, failure(1, `cannot load "input": it holds no key`)],
  [
    [],
    JSON.stringify({ ...QR, client_pubkey: SERVER_PUBLIC }),
    failure(
      1,
      `cannot load "standard input": profiles.phone.public_key: expected the public key that belongs to the private key, got another one`,
      "the lines are from two clients: take the whole profile anew from openme add",
    ),
  ],
];

Deno.test("a wrong import is an error with a hint, and changes nothing", async () => {
  await using folder = await Folder.create();
  for (const [args, input, result] of BAD) {
    assert.deepEqual(await run(folder, ["import", ...args], input), result, args.join(" ") + input);
  }
  assert.deepEqual(await folder.names(), ["input"]);
});

Deno.test("openme import of what it may not read, or of a folder, says so in its own words", async () => {
  await using folder = await Folder.create();
  await folder.write("closed.yaml", "", 0o000);
  const importOf = (file: string) =>
    openme(["import", file], { cwd: folder.path, through: unprivileged() });
  assert.deepEqual(
    await importOf("closed.yaml"),
    failure(
      1,
      `cannot load "closed.yaml": permission denied`,
      "run it as the file's owner, or with sudo",
    ),
  );
  assert.deepEqual(await importOf("."), failure(1, `cannot load ".": it is a directory`));
});
