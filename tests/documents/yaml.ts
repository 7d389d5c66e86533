/** Configuration in the documents: parsed as openme does, with keys where the documents have `"…"`. */

import assert from "node:assert/strict";
import { parse } from "yaml";
import { parseClientConfig } from "../../lib/config/profiles.ts";
import { parseServerConfig } from "../../lib/config/server.ts";
import { encodeBase64 } from "../../lib/crypto/keys.ts";
import { publicKeyOf } from "../../lib/crypto/sync.ts";
import {
  ALICE_PRIVATE,
  ALICE_PUBLIC,
  SERVER_PRIVATE,
  SERVER_PUBLIC,
} from "../support/server_yaml.ts";
import { filled } from "../support/knocks.ts";
import type { Block } from "./blocks.ts";

/** The text with keys; every client has its own. */
function withKeys(text: string, keys: Readonly<Record<string, string>>): string {
  let clients = 0;
  return text.replaceAll(/\b(\w+): (&\w+ )?"…"/g, (all, key: string, anchor = "") => {
    const value = key === "ed25519_pubkey"
      ? encodeBase64(publicKeyOf("Ed25519", filled(++clients)))
      : keys[key];
    return value === undefined ? all : `${key}: ${anchor}"${value}"`;
  });
}

/** Parses a block. One that shows a part of a file gets what is not in it. Throws as openme does. */
export async function parseConfigBlock({ document, line, text }: Block): Promise<void> {
  const file = `${document}:${line}`;
  const keys = Object.keys(parse(text));
  if (keys.includes("profiles")) {
    const profile = {
      "server_pubkey": SERVER_PUBLIC,
      "private_key": ALICE_PRIVATE,
      "public_key": ALICE_PUBLIC,
    };
    await parseClientConfig(withKeys(text, profile), file);
    return;
  }
  const expected = ["server", "ports", "clients"];
  assert.ok(
    keys.every((key) => expected.includes(key)),
    `${file}: not openme's YAML; name the test that runs it: <!-- run by tests/… -->`,
  );
  const server = { "private_key": SERVER_PRIVATE, "public_key": SERVER_PUBLIC };
  const own = withKeys(text, server);
  const key = `  private_key: ${SERVER_PRIVATE}\n`;
  const hasKey = text.includes("private_key:");
  const whole = !keys.includes("server")
    ? `server:\n${key}${own}`
    : hasKey
    ? own
    : own.replace(/^server:\n/m, `server:\n${key}`);
  if (keys.join() === "clients") { // a file of clients.d
    const main = `server:\n${key}ports: {ssh: [22/tcp], ops: [80/tcp]}\n`;
    parseServerConfig(main, file, { people: [{ file, text: own }] });
  } else parseServerConfig(whole, file);
}
