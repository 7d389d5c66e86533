/** `openme rotate`: a new key for a client or for the server; the old one stays good for a while. */

import { changeClient, changeServer } from "../../config/edit_server.ts";
import { bytesToHex, encodeBase64, KEY_SIZE } from "../../crypto/keys.ts";
import { publicKeyOf } from "../../crypto/sync.ts";
import { OpenmeError } from "../../values/errors.ts";
import { escapeUnprintable } from "../../values/text.ts";
import { describeClient } from "../client_json.ts";
import {
  type Arguments,
  type Command,
  configPath,
  type Context,
  givenFlag,
  renderJson,
} from "../context.ts";
import { editServerFile, requireClient } from "../edit_server_file.ts";
import { clientKeyOf, profileFor } from "../new_profile.ts";
import { checkProfileFlags, printProfile, PROFILE_FLAGS, tellHowToKeep } from "../print_profile.ts";
import { printOrUndo } from "../undo.ts";
import { formatTime, spanFlag } from "../flags.ts";

const DEFAULT_GRACE_MS = 7 * 86_400_000;

export const rotate: Command = {
  about:
    `Gives a client a new key and prints its new profile; the old key stays good for a grace period.
With --server, makes a new key for the server: knocks sealed to the old one are accepted until
--finish, so that profiles can be replaced one by one.`,
  arguments: "[CLIENT]",
  usage: [
    "CLIENT [--grace SPAN] [--profile NAME] [--pubkey BASE64|--ssh-key FILE] [--out FILE] [--qr] [--qr-out FILE] [--link] [--json]",
    "--server [--finish] [--json]",
  ],
  parameters: {
    "--grace SPAN": "how long the old key stays good: 12h, 30d, 0 to end it at once (default 7d)",
    "--server":
      `make a new key for the server and print its public half; with --json {"server_pubkey"}`,
    "--finish": "with --server: end the old key; clients that still have it get no access",
    ...PROFILE_FLAGS,
  },
  example: "sudo openme rotate alice --grace 24h --out alice-new.yaml",
  run: async (args, context) => {
    const name = args.positionals[0];
    if (args.values["server"]) {
      refuseOthers(args);
      await (args.values["finish"] ? finishServer : rotateServer)(args, context);
    } else if (args.values["finish"]) {
      throw new OpenmeError("USAGE", "--finish goes with --server", {
        hint: "a client's old key ends by itself, or at once with --grace 0",
      });
    } else if (name === undefined) {
      throw new OpenmeError("USAGE", "openme rotate needs CLIENT, or --server", {
        hint: "openme list shows them all",
      });
    } else await rotateClient(name, args, context);
    return 0;
  },
};

async function rotateClient(name: string, args: Arguments, context: Context): Promise<void> {
  const graceMs = spanFlag(args, "grace") ?? DEFAULT_GRACE_MS;
  checkProfileFlags(args);
  const key = await clientKeyOf(args, context);
  const path = configPath(args);
  await editServerFile(path, async (file) => {
    const { config } = file;
    const client = requireClient(config, name);
    if (config.clients.some((each) => each.key === bytesToHex(key.publicKey))) {
      throw new OpenmeError("CONFIG", `cannot rotate ${name}: the new key is in use already`, {
        hint: "make a new one on the client: openme keygen",
      });
    }
    const profile = profileFor(config, args, {
      ...key,
      totp: client.rules?.totp !== undefined,
    });
    const nowMs = Date.now();
    const until = formatTime(nowMs + graceMs);
    const holder = file.editClient(name, (text) =>
      changeClient(text, name, {
        ed25519_pubkey: encodeBase64(key.publicKey),
        previous_pubkey: graceMs > 0 ? encodeBase64(client.publicKey) : undefined,
        previous_until: graceMs > 0 ? until : undefined,
      }));
    const changed = file.check();
    const rotated = requireClient(changed, name);
    const result = { ...describeClient(rotated, changed), changed: true };
    await printProfile(profile, { name, args, context, file, result });
    context.stderr(
      `openme: ${name} has a new key in ${escapeUnprintable(holder)}; the old one ${
        graceMs > 0 ? `is good until ${until}` : "has ended"
      }`,
    );
    if (client.previous && client.previous.untilMs > nowMs) {
      context.stderr("openme: the key before that, which was still good, has ended");
    }
    tellHowToKeep(profile, context);
  });
}

async function rotateServer(args: Arguments, context: Context): Promise<void> {
  const path = configPath(args);
  const privateKey = crypto.getRandomValues(new Uint8Array(KEY_SIZE));
  const publicKey = encodeBase64(publicKeyOf("X25519", privateKey));
  await editServerFile(path, async ({ config, edit, save, restore }) => {
    if (config.previousPrivateKey) {
      throw new OpenmeError("CONFIG", "cannot rotate the server's key: two are good already", {
        hint: "end the old one first: openme rotate --server --finish",
      });
    }
    edit((text) =>
      changeServer(text, {
        private_key: encodeBase64(privateKey),
        public_key: publicKey,
        previous_private_key: encodeBase64(config.privateKey),
      })
    );
    await save();
    const shown = args.values["json"] ? renderJson({ server_pubkey: publicKey }) : publicKey + "\n";
    await printOrUndo(shown, context, { what: "the server's new public key", undo: restore });
  });
  context.stderr(`openme: the server has a new key in ${path}; the old one stays good as well`);
  context.stderr(
    `openme: next: on every client, in ~/.openme/config.yaml, this line for the old one: server_pubkey: "${publicKey}"`,
  );
  context.stderr(
    "openme: or a whole new profile: openme rotate NAME --out NAME.yaml, and there openme import NAME.yaml --as PROFILE --force",
  );
  context.stderr("openme: then: openme rotate --server --finish");
}

async function finishServer(args: Arguments, context: Context): Promise<void> {
  const path = configPath(args);
  const publicKey = await editServerFile(path, async ({ config, edit, save }) => {
    if (!config.previousPrivateKey) {
      throw new OpenmeError("CONFIG", "there is no rotation of the server's key to finish", {
        hint: "begin one: openme rotate --server",
      });
    }
    edit((text) => changeServer(text, { previous_private_key: undefined }));
    await save();
    return encodeBase64(config.publicKey);
  });
  context.stderr(`openme: the server's old key has ended in ${path}`);
  if (args.values["json"]) context.stdout(renderJson({ server_pubkey: publicKey }));
}

function refuseOthers(args: Arguments): void {
  const flags = ["grace", "profile", "pubkey", "ssh-key", "out", "qr", "qr-out", "link"];
  const other = args.positionals.length > 0 ? "CLIENT" : givenFlag(args, flags);
  if (other === undefined) return;
  throw new OpenmeError("USAGE", `--server and ${other} exclude each other`, {
    hint: "the server's key and a client's are rotated one after the other",
  });
}
