/** `--ssh-key FILE`: which Ed25519 key of an OpenSSH public key file a client is to have. */

import { loadingFrom } from "../config/fields.ts";
import {
  readSshPublicKeys,
  type SshPublicKey,
  type SshPublicKeys,
} from "../config/ssh_public_keys.ts";
import { decodeText, loadError, readPlainFile } from "../system/read_file.ts";
import { OpenmeError } from "../values/errors.ts";
import { quote } from "../values/text.ts";
import type { Context } from "./context.ts";

const MISSING_HINT =
  "name the file that ssh-keygen wrote, such as ~/.ssh/id_ed25519.pub, or - for standard input";

/** The key of `FILE`, or of `FILE#WHICH`: a comment or a fingerprint. Throws `OpenmeError`. */
export async function sshKeyOf(flag: string, context: Context): Promise<SshPublicKey> {
  const [, file = "", which] = /^([^#]*)(?:#([^]*))?$/.exec(flag)!;
  const text = file === "-" ? await readStdin(context) : await readPlainFile(file, MISSING_HINT);
  const shown = file === "-" ? "standard input" : file;
  const found = await readSshPublicKeys(text).catch((cause) =>
    loadingFrom(shown, () => {
      throw cause;
    })
  );
  const { keys } = found;
  const fitting = which === undefined
    ? keys
    : keys.filter(({ comment, fingerprint }) => which === comment || which === fingerprint);
  if (fitting.length === 1) return fitting[0]!;
  throw whyNone(found, shown, which);
}

async function readStdin({ stdin }: Context): Promise<string> {
  try {
    return decodeText(await stdin());
  } catch (cause) {
    throw loadError("standard input", cause, { missingHint: "" });
  }
}

/** The error where no key is chosen, or where several are. */
function whyNone(
  { keys, others }: SshPublicKeys,
  file: string,
  which: string | undefined,
): OpenmeError {
  const where = `--ssh-key: ${quote(file, 1000)}`;
  const other = which === undefined ? others[0] : others.find(({ comment }) => comment === which);
  if (other && (keys.length === 0 || which !== undefined)) {
    return new OpenmeError("KEY", `${where}: expected an Ed25519 key, got ${other.type}`, {
      hint: other.type.startsWith("sk-")
        ? "a security key signs more than it is given, and no knock; make another key: ssh-keygen -t ed25519"
        : "a knock has room for an Ed25519 signature only: make such a key, ssh-keygen -t ed25519",
    });
  }
  if (keys.length === 0) {
    return new OpenmeError("KEY", `${where}: there is no key in it`, { hint: MISSING_HINT });
  }
  const list = keys.slice(0, 20).map(({ fingerprint, comment }) =>
    `${fingerprint} ${comment === "" ? "(no comment)" : quote(comment)}`
  ).join(", ");
  const there = `${list}${keys.length > 20 ? ` and ${keys.length - 20} more` : ""}`;
  return new OpenmeError(
    "USAGE",
    which === undefined
      ? `${where}: expected one Ed25519 key, got ${keys.length}: ${there}`
      : `${where}: no single key is called ${quote(which)}: there is ${there}`,
    { hint: "choose one by its comment or its fingerprint: --ssh-key 'FILE#alice@laptop'" },
  );
}
