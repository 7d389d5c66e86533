/** No error about a configuration repeats a private key, at whichever place of the file it stands. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { parseClientConfig } from "../../lib/config/profiles.ts";
import { parseServerConfig } from "../../lib/config/server.ts";
import { OpenmeError } from "../../lib/values/errors.ts";
import {
  ALICE_PUBLIC,
  CLIENT_KEY,
  CLIENT_PUBLIC,
  CLIENT_SEED,
  configErrorOf,
  profileFile,
  SERVER_KEY,
  SERVER_PUBLIC,
  serverFile,
} from "./support.ts";

/** So many characters of a private key in a row are too many: 192 of its 256 bits. */
const TELLING = 32;

function assertKeepsSecret(error: OpenmeError, secret: string, text: string): void {
  const shown = `${error.message} ${error.hint ?? ""} ${(error.cause as Error).message}`;
  for (let at = 0; at + TELLING <= secret.length; at++) {
    const part = secret.slice(at, at + TELLING);
    assert.ok(!shown.includes(part), `the error repeats the key: ${shown}\n\n${text}`);
  }
}

/** The seed's part of a client's key in base64; what follows is the public key. */
const CLIENT_SECRET = CLIENT_KEY.slice(0, 42);

const SERVER_ROWS = [
  { why: "in place of the file", text: SERVER_KEY },
  { why: "in place of a section", text: `server: ${SERVER_KEY}\n` },
  { why: "as a section", text: `${SERVER_KEY}: x\n` },
  { why: "as a key", text: `server:\n  ${SERVER_KEY}: x\n` },
  { why: "as a key, in quotes", text: `server:\n  "${SERVER_KEY}": x\n` },
  { why: "as a key, by itself", text: `server: {${SERVER_KEY}}\n` },
  { why: "below ports", text: serverFile("ports:", `  private_key: ${SERVER_KEY}`) },
  { why: "below clients", text: serverFile("clients:", `  private_key: ${SERVER_KEY}`) },
  { why: "as a group", text: serverFile("ports:", `  "${SERVER_KEY}": [22]`) },
  { why: "as a client", text: serverFile("clients:", `  "${SERVER_KEY}": {}`) },
  { why: "among the ports", text: serverFile("ports:", `  ssh: [${SERVER_KEY}]`) },
  {
    why: "as an expiry",
    text: serverFile(
      "clients:",
      `  a: {ed25519_pubkey: ${ALICE_PUBLIC}, expires: ${SERVER_KEY}}`,
    ),
  },
  {
    why: "among a client's ports",
    text: serverFile(
      "clients:",
      `  a: {ed25519_pubkey: ${ALICE_PUBLIC}, allowed_ports: [${SERVER_KEY}]}`,
    ),
  },
  ...["host", "udp_port", "health_port", "firewall", "knock_timeout", "replay_window"]
    .concat([
      "open_knock_port",
      "only_stamped_knocks",
      "drop_ports",
      "interface",
      "default_profile",
      "state_dir",
      "notify",
      "metrics",
      "metrics_client_names",
    ])
    .map((key) => ({ why: `as ${key}`, text: serverFile(`  ${key}: ${SERVER_KEY}`) })),
  { why: "as host, behind its value", text: serverFile(`  host: a ${SERVER_KEY}`) },
  { why: "as an alias", text: `server:\n  private_key: *${SERVER_KEY}\n` },
  { why: "as a tag", text: `server:\n  private_key: !${SERVER_KEY} x\n` },
  { why: "behind a quote that does not end", text: `server:\n  private_key: "${SERVER_KEY}\n` },
  { why: "behind a block's mark", text: `server:\n  private_key: >${SERVER_KEY}\n` },
  { why: "behind another block's mark", text: `server:\n  private_key: |${SERVER_KEY}\n` },
  { why: "behind a reserved character", text: `server:\n  private_key: @${SERVER_KEY}\n` },
  { why: "as a directive", text: `%${SERVER_KEY}\n---\nserver:\n` },
  { why: "behind a bracket", text: `server:\n  private_key: [${SERVER_KEY}\n` },
  { why: "twice", text: serverFile(`  private_key: ${SERVER_KEY}`) },
  { why: "as the public key", text: serverFile(`  public_key: ${SERVER_KEY}`) },
  { why: "with a character too many", text: `server:\n  private_key: ${SERVER_KEY}=\n` },
];

for (const { why, text } of SERVER_ROWS) {
  Deno.test(`a server's private key stays secret ${why}`, async () => {
    assertKeepsSecret(await configErrorOf(() => parseServerConfig(text, "x")), SERVER_KEY, text);
  });
}

const CLIENT_ROWS = [
  { why: "in place of the file", text: CLIENT_KEY },
  { why: "in place of the profiles", text: `profiles: ${CLIENT_KEY}\n` },
  { why: "in place of a profile", text: `profiles:\n  home: ${CLIENT_KEY}\n` },
  { why: "as a profile", text: `profiles:\n  "${CLIENT_KEY}": {}\n` },
  { why: "as a key", text: profileFile(`"${CLIENT_KEY}": x`) },
  { why: "as a host", text: profileFile().replace("vpn.example.org", CLIENT_KEY) },
  {
    why: "as a port",
    text: profileFile(`private_key: ${CLIENT_KEY}`, `server_udp_port: ${CLIENT_KEY}`),
  },
  {
    why: "as a command",
    text: profileFile(`private_key: ${CLIENT_KEY}`, `post_knock: {${CLIENT_KEY}: x}`),
  },
  { why: "as the server's key", text: profileFile().replace(SERVER_PUBLIC, CLIENT_KEY) },
  {
    why: "with another's public key",
    text: profileFile(`private_key: ${CLIENT_KEY}`, `public_key: ${ALICE_PUBLIC}`),
  },
];

for (const { why, text } of CLIENT_ROWS) {
  Deno.test(`a client's private key stays secret ${why}`, async () => {
    const error = await configErrorOf(() => parseClientConfig(text, "x"));
    assertKeepsSecret(error, CLIENT_SECRET, text);
  });
}

/** One slip of an editor's hand. Numbers are taken modulo what there is. */
interface Slip {
  readonly kind: "cut" | "type" | "swap lines" | "copy" | "indent";
  readonly a: number;
  readonly b: number;
  readonly typed: string;
}

const anySlip: fc.Arbitrary<Slip> = fc.record({
  kind: fc.constantFrom("cut", "type", "swap lines", "copy", "indent"),
  a: fc.nat(5000),
  b: fc.nat(5000),
  typed: fc.constantFrom(..."*&!|>'\"%@`#:-?{}[],\n\t <\\=x"),
});

function withSlip(text: string, { kind, a, b, typed }: Slip): string {
  const start = a % (text.length + 1);
  const end = start + b % 40;
  if (kind === "cut") return text.slice(0, start) + text.slice(end);
  if (kind === "type") return text.slice(0, start) + typed + text.slice(start);
  if (kind === "copy") {
    const at = (a + b) % (text.length + 1);
    return text.slice(0, at) + text.slice(start, end) + text.slice(at);
  }
  const lines = text.split("\n");
  const [one, other] = [a % lines.length, b % lines.length];
  if (kind === "indent") lines[one] = `  ${lines[one]}`;
  else [lines[one], lines[other]] = [lines[other] ?? "", lines[one] ?? ""];
  return lines.join("\n");
}

const SERVER_FILE = serverFile(
  "  host: vpn.example.org",
  "  knock_timeout: 30s",
  "ports:",
  "  ssh:",
  "    - 22/tcp",
  "clients:",
  "  alice:",
  `    ed25519_pubkey: ${ALICE_PUBLIC}`,
  "    allowed_ports: [ssh, 80]",
  "    expires: 2027-12-31",
);
const CLIENT_FILE = profileFile(
  "server_udp_port: 54154",
  `private_key: ${CLIENT_KEY}`,
  `public_key: ${CLIENT_PUBLIC}`,
  "post_knock: ssh vpn.example.org",
);

const RUNS = [
  { title: "a server's", text: SERVER_FILE, secret: SERVER_KEY, parse: parseServerConfig },
  { title: "a client's", text: CLIENT_FILE, secret: CLIENT_SECRET, parse: parseClientConfig },
];

for (const { title, text, secret, parse } of RUNS) {
  Deno.test(`${title} private key stays secret in a file that was corrupted at random`, async () => {
    await parse(text, "x");
    let refused = 0;
    const slips = fc.array(anySlip, { minLength: 1, maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(slips, async (all) => {
        const corrupted = all.reduce(withSlip, text);
        try {
          await parse(corrupted, "x");
        } catch (thrown) {
          assert.ok(thrown instanceof OpenmeError, `${thrown}\n\n${corrupted}`);
          assertKeepsSecret(thrown, secret, corrupted);
          refused++;
        }
      }),
      { numRuns: 1500 },
    );
    assert.ok(refused > 500, `only ${refused} of the files were refused`);
  });
}

Deno.test("the secret is the seed's part of a client's key", () => {
  assert.equal(CLIENT_SECRET, CLIENT_SEED.slice(0, 42));
});
