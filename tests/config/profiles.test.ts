/** Client files: profiles, their keys, which one is used; and the whole error of each bad file. */

import assert from "node:assert/strict";
import { parseClientConfig, pickProfile, type Profile } from "../../lib/config/profiles.ts";
import { decodeBase64 } from "../../lib/crypto/keys.ts";
import {
  ALICE_PUBLIC,
  CLIENT_KEY,
  CLIENT_PUBLIC,
  CLIENT_SEED,
  configErrorOf,
  profileFile,
  SERVER_PUBLIC,
} from "./support.ts";
import { must } from "../support/knocks.ts";

const PRIVATE = "profiles.home.private_key: expected the client's Ed25519 private key " +
  "(64 or 32 bytes in base64)";
const PUBLIC = "profiles.home.public_key: expected the client's Ed25519 public key " +
  "(32 bytes in base64)";
const SERVER = "profiles.home.server_pubkey: expected the server's X25519 public key " +
  "(32 bytes in base64)";
const HOST = "profiles.home.server_host: expected a host name or an address";
const OTHER_CLIENT = "the lines are from two clients: take the whole profile anew from openme add";
const GOOD = profileFile(`private_key: ${CLIENT_KEY}`);

const HOME: Profile = {
  name: "home",
  serverHost: "vpn.example.org",
  serverUdpPort: 54154,
  healthPort: 54154,
  serverPublicKey: must(decodeBase64(SERVER_PUBLIC)),
  clientSeed: must(decodeBase64(CLIENT_SEED)),
  clientPublicKey: must(decodeBase64(CLIENT_PUBLIC)),
  identity: undefined,
  totp: false,
  bind: undefined,
  postKnock: undefined,
};

Deno.test("parseClientConfig() reads every key", async () => {
  const text = profileFile(
    "server_udp_port: 7777",
    "health_port: 7778",
    `private_key: "${CLIENT_KEY}"`,
    `public_key: ${CLIENT_PUBLIC}`,
    `post_knock: "ssh vpn.example.org && echo \\"in\\""`,
  );
  const expected = {
    ...HOME,
    serverUdpPort: 7777,
    healthPort: 7778,
    postKnock: 'ssh vpn.example.org && echo "in"',
  };
  assert.deepEqual(await parseClientConfig(text, "x"), new Map([["home", expected]]));
});

Deno.test("parseClientConfig() takes the health port for the knock port unless told otherwise", async () => {
  const text = profileFile("server_udp_port: 7777", `private_key: "${CLIENT_KEY}"`);
  const expected = { ...HOME, serverUdpPort: 7777, healthPort: 7777 };
  assert.deepEqual(await parseClientConfig(text, "x"), new Map([["home", expected]]));
});

Deno.test("parseClientConfig() takes seed and public key in one, or the seed alone", async () => {
  for (const key of [CLIENT_KEY, CLIENT_SEED]) {
    const text = profileFile(`private_key: ${key}`);
    assert.deepEqual(await parseClientConfig(text, "x"), new Map([["home", HOME]]));
  }
});

Deno.test("parseClientConfig() keeps profiles in the file's order, special names too", async () => {
  const entry = `{server_host: a, server_pubkey: ${SERVER_PUBLIC}, private_key: ${CLIENT_SEED}}`;
  const names = ["work", "constructor", "a.b-c_d"];
  const text = `profiles:\n${names.map((name) => `  ${name}: ${entry}\n`).join("")}`;
  assert.deepEqual([...(await parseClientConfig(text, "x")).keys()], names);
});

Deno.test("parseClientConfig() reads a file without profiles, of Windows or not", async () => {
  assert.equal((await parseClientConfig("profiles: {}\n", "x")).size, 0);
  const windows = "\ufeff" + GOOD.replaceAll("\n", "\r\n");
  assert.deepEqual(await parseClientConfig(windows, "x"), new Map([["home", HOME]]));
});

const ROWS: { why: string; text: string; message: string; hint?: string }[] = [
  { why: "an empty file", text: "", message: "the file: expected a map, got nothing" },
  { why: "a list", text: "- a\n", message: "the file: expected a map, got a list" },
  {
    why: "no profiles",
    text: "profiles:\n",
    message: "profiles: expected a map of profiles, got nothing",
  },
  {
    why: "profiles in a list",
    text: "profiles: [home]\n",
    message: "profiles: expected a map, got a list",
  },
  {
    why: "a misspelt section",
    text: "profile:\n  home: {}\n",
    message: "profile: unknown key",
    hint: 'did you mean "profiles"?',
  },
  {
    why: "a server's file",
    text: "server: {}\n",
    message: "server: unknown key",
    hint: "the keys here are profiles",
  },
  {
    why: "a profile that is a number",
    text: "profiles:\n  home: 3\n",
    message: "profiles.home: expected a map, got 3",
  },
  {
    why: "a profile named __proto__",
    text: "profiles:\n  __proto__: {}\n",
    message: "profiles: expected a name of letters, digits, dots, hyphens and underscores that " +
      'starts with a letter, got "__proto__"',
  },
  {
    why: "an unknown key",
    text: GOOD + "    server_hots: a\n",
    message: "profiles.home.server_hots: unknown key",
    hint: 'did you mean "server_host"?',
  },
  {
    why: "an unknown key like none that is known",
    text: GOOD + "    colour: red\n",
    message: "profiles.home.colour: unknown key",
    hint:
      "the keys here are server_host, server_udp_port, health_port, server_pubkey, private_key, identity, " +
      "public_key, totp, bind, post_knock",
  },
  { why: "no private key", text: profileFile(), message: `${PRIVATE}, got nothing` },
  {
    why: "half a private key",
    text: profileFile("private_key: AAAA"),
    message: `${PRIVATE}, got 3 bytes`,
  },
  {
    why: "a private key of another length",
    text: profileFile(`private_key: ${"AAAA".repeat(16)}`),
    message: `${PRIVATE}, got 48 bytes`,
  },
  {
    why: "a private key with a character too many",
    text: profileFile(`private_key: ${CLIENT_KEY}x`),
    message: `${PRIVATE}, got text that is not base64`,
  },
  {
    why: "a private key whose second half is another's",
    text: profileFile(`private_key: ${CLIENT_KEY.slice(0, 60)}AAAA${CLIENT_KEY.slice(64)}`),
    message: "profiles.home.private_key: expected the public key that belongs to the private " +
      "key, got another one",
    hint: OTHER_CLIENT,
  },
  {
    why: "another client's public key",
    text: profileFile(`private_key: ${CLIENT_SEED}`, `public_key: ${ALICE_PUBLIC}`),
    message: "profiles.home.public_key: expected the public key that belongs to the private " +
      "key, got another one",
    hint: OTHER_CLIENT,
  },
  {
    why: "a short public key",
    text: profileFile(`private_key: ${CLIENT_SEED}`, "public_key: AAAA"),
    message: `${PUBLIC}, got 3 bytes`,
  },
  {
    why: "no server key",
    text: GOOD.replace(/.*server_pubkey.*\n/, ""),
    message: `${SERVER}, got nothing`,
  },
  {
    why: "a long server key",
    text: GOOD.replace(SERVER_PUBLIC, "AAAA".repeat(11)),
    message: `${SERVER}, got 33 bytes`,
  },
  { why: "no host", text: GOOD.replace(/.*server_host.*\n/, ""), message: `${HOST}, got nothing` },
  {
    why: "a host in brackets with a port",
    text: GOOD.replace("vpn.example.org", '"[::1]:22"'),
    message: `${HOST}, got "[::1]:22"`,
  },
  {
    why: "a host that looks like an option",
    text: GOOD.replace("vpn.example.org", "-v"),
    message: `${HOST}, got "-v"`,
  },
  {
    why: "a list of no hosts",
    text: GOOD.replace("vpn.example.org", "[]"),
    message: "profiles.home.server_host: expected 1 to 16 hosts, got 0",
  },
  {
    why: "a list of more hosts than may be",
    text: GOOD.replace("vpn.example.org", `[${Array.from({ length: 17 }, (_, i) => `h${i}`)}]`),
    message: "profiles.home.server_host: expected 1 to 16 hosts, got 17",
  },
  {
    why: "a host that is listed twice",
    text: GOOD.replace("vpn.example.org", "[a.example, b.example, A.example]"),
    message: 'profiles.home.server_host[2]: expected each host once, got "A.example"',
  },
  {
    why: "a host of a list that is none",
    text: GOOD.replace("vpn.example.org", "[a.example, 7]"),
    message: "profiles.home.server_host[1]: expected a host name or an address, got 7",
  },
  {
    why: "a health port that is none",
    text: GOOD + "    health_port: 0\n",
    message: "profiles.home.health_port: expected a port from 1 to 65535, got 0",
  },
  {
    why: "a port as text",
    text: GOOD + '    server_udp_port: "54154"\n',
    message: 'profiles.home.server_udp_port: expected a port from 1 to 65535, got "54154"',
  },
  {
    why: "a command as a list",
    text: GOOD + "    post_knock: [ssh, vpn]\n",
    message: "profiles.home.post_knock: expected a command line, got a list",
  },
  {
    why: "a NUL in a command",
    text: GOOD + '    post_knock: "a\\0b"\n',
    message: String.raw`profiles.home.post_knock: expected a command line, got "a\u0000b"`,
  },
  {
    why: "a bind that is no text",
    text: GOOD + "    bind: [eth0, eth1]\n",
    message: "profiles.home.bind: expected an address or an interface of this machine, got a list",
  },
  {
    why: "a duplicate profile",
    text: `${GOOD}  home: {}\n`,
    message: "profiles.home: expected once, got again in line 6, column 3",
    hint: "take one of the two out",
  },
];

for (const { why, text, message, hint } of ROWS) {
  Deno.test(`parseClientConfig() refuses ${why}`, async () => {
    const error = await configErrorOf(() => parseClientConfig(text, "/home/a/config.yaml"));
    assert.equal(error.message, `cannot load "/home/a/config.yaml": ${message}`);
    assert.equal(error.hint, hint);
  });
}

function profilesNamed(...names: readonly string[]): Map<string, Profile> {
  return new Map(names.map((name) => [name, { ...HOME, name }]));
}

Deno.test("pickProfile() takes the named one, else the only one, else the default", () => {
  const rows = [
    { names: ["home"], name: undefined, expected: "home" },
    { names: ["home", "work"], name: "work", expected: "work" },
    { names: ["home", "default"], name: undefined, expected: "default" },
    { names: ["home", "default"], name: "home", expected: "home" },
  ];
  for (const { names, name, expected } of rows) {
    assert.equal(pickProfile(profilesNamed(...names), name).name, expected);
  }
});

const GET_A_PROFILE = "get a profile from the server: openme add NAME";

Deno.test("pickProfile() says what there is where it cannot pick", () => {
  const rows = [
    {
      names: ["home", "work"],
      name: undefined,
      message: 'profiles: expected a profile called "default", got home, work',
      hint: "name the one to use, such as home",
    },
    {
      names: [],
      name: undefined,
      message: 'profiles: expected a profile called "default", got none',
      hint: GET_A_PROFILE,
    },
    {
      names: ["home", "work"],
      name: "wrok",
      message: 'profiles: there is no profile "wrok"; there is home, work',
      hint: 'did you mean "work"?',
    },
    {
      names: ["a"],
      name: "b",
      message: 'profiles: there is no profile "b"; there is a',
      hint: "name the one to use, such as a",
    },
    {
      names: ["home"],
      name: "constructor",
      message: 'profiles: there is no profile "constructor"; there is home',
      hint: "name the one to use, such as home",
    },
    {
      names: [],
      name: "x",
      message: 'profiles: there is no profile "x"; there is none',
      hint: GET_A_PROFILE,
    },
  ];
  for (const { names, name, message, hint } of rows) {
    assert.throws(() => pickProfile(profilesNamed(...names), name), {
      name: "ConfigError",
      message,
      hint,
    });
  }
});

Deno.test("parseClientConfig() reads where the key is, if it is not in the profile", async () => {
  const fingerprint = `SHA256:${"A".repeat(42)}+`;
  const rows: [lines: string[], identity: Profile["identity"], hasPublicKey: boolean][] = [
    [
      ["identity: agent", `public_key: ${CLIENT_PUBLIC}`],
      { kind: "agent", fingerprint: undefined },
      true,
    ],
    [[`identity: ${fingerprint}`], { kind: "agent", fingerprint }, false],
    [
      [`identity: "${fingerprint}"`, `public_key: ${CLIENT_PUBLIC}`],
      { kind: "agent", fingerprint },
      true,
    ],
    [["identity: ~/.ssh/id_ed25519"], { kind: "file", path: "~/.ssh/id_ed25519" }, false],
    [[`identity: 'C:\\Users\\me\\key'`], { kind: "file", path: "C:\\Users\\me\\key" }, false],
  ];
  for (const [lines, identity, hasPublicKey] of rows) {
    const profiles = await parseClientConfig(profileFile(...lines), "profiles.yaml");
    const { clientPublicKey } = HOME;
    const keys = {
      clientSeed: undefined,
      clientPublicKey: hasPublicKey ? clientPublicKey : undefined,
    };
    assert.deepEqual(profiles.get("home"), { ...HOME, ...keys, identity }, lines.join());
  }
});

Deno.test("parseClientConfig() refuses an identity that names no key", async () => {
  const agent =
    "profiles.home.public_key: expected the public key of the agent's key to use, got nothing";
  const form = /^cannot load .*: profiles\.home\.identity: expected "agent", a fingerprint/;
  const rows: [lines: string[], error: string | RegExp][] = [
    [["identity: agent"], agent],
    [["identity: id_ed25519"], form],
    [["identity: SHA256:short"], form],
    [["identity: [agent]"], form],
    [[`identity: "/a\\nb"`], form],
    [
      ["identity: agent", `public_key: ${CLIENT_PUBLIC}`, `private_key: ${CLIENT_KEY}`],
      "profiles.home.identity: expected no identity beside private_key",
    ],
  ];
  for (const [lines, error] of rows) {
    await assert.rejects(
      parseClientConfig(profileFile(...lines), "profiles.yaml"),
      (thrown: Error) => {
        if (typeof error === "string") assert.ok(thrown.message.includes(error), thrown.message);
        else assert.match(thrown.message, error);
        return true;
      },
    );
  }
});

Deno.test("server_host may be a list, in either form of YAML, and keeps its order", async () => {
  for (
    const list of [
      "[b.example, a.example, '::1']",
      "\n      - b.example\n      - a.example\n      - '::1'",
    ]
  ) {
    const profiles = await parseClientConfig(GOOD.replace("vpn.example.org", list), "client.yaml");
    const { serverHost, otherHosts } = profiles.get("home")!;
    assert.deepEqual([serverHost, otherHosts], ["b.example", ["a.example", "::1"]]);
  }
});
