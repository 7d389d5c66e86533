/** What setup is to do: from flags, from answers, or by default. */

import { readHost } from "../../config/host.ts";
import { OpenmeError } from "../../values/errors.ts";
import { quote } from "../../values/text.ts";
import { type Arguments, flagError, textFlag } from "../context.ts";
import { givenKeyOf } from "../new_profile.ts";
import { requireName } from "../edit_server_file.ts";
import { renderTable } from "../output.ts";
import { guessHost, type HostNames } from "./host_name.ts";
import { type Listener, listenerRows, readPortList, sshPorts } from "./listeners.ts";
import { ask, type Terminal } from "./terminal.ts";

/** How the first client gets its profile. */
export type Way =
  /** A command typed at the client fetches it over ssh; with `key`, the client's own public key, its private half stays there. */
  | { readonly by: "ssh"; readonly key: string | undefined }
  /** It is shown here. */
  | { readonly by: "screen"; readonly showing: "link" | "qr" }
  /** It is printed on standard output, or written to a file: for automation. */
  | { readonly by: "output"; readonly key: string | undefined; readonly file: string | undefined };

/** The answers. Of a configuration that is there already, `host` and `ports` are not asked. */
export interface Wishes {
  readonly host: string;
  readonly ports: readonly string[];
  readonly client: string;
  readonly way: Way;
}

/** What answers are guessed from. */
export interface Guesses {
  readonly listeners: readonly Listener[];
  readonly names: HostNames;
  /** The port of this ssh session. */
  readonly ownPort: number | undefined;
}

const DEFAULT_CLIENT = "laptop";

/** The host and ports for a new configuration. Without a terminal, what is not given is guessed. */
export async function readServerWishes(
  args: Arguments,
  { listeners, names, ownPort }: Guesses,
  terminal: Terminal | undefined,
): Promise<Pick<Wishes, "host" | "ports">> {
  const host = await answerOr(textFlag(args, "server"), {
    question: "The name or address that clients use for this server",
    fallback: guessHost(names),
    missing: ["cannot tell how clients reach this server", "--server vps.example.org"],
    read: (text) => {
      const host = readHost(text);
      if (host === undefined) throw flagError("server", "a host name or an address", text);
      return host;
    },
  }, terminal);
  const given = textFlag(args, "ports");
  if (given === undefined) {
    terminal?.show(`\nWhat listens here, on more than the loopback:\n`);
    terminal?.show(renderTable(["PORT", "PROGRAM", "ADDRESSES"], listenerRows(listeners)));
  }
  const ports = await answerOr(given, {
    question: "The ports to hide, with commas",
    fallback: sshPorts(listeners, ownPort).join(",") || undefined,
    missing: [
      "no ssh server listens here, so there is no port to hide by default",
      "--ports 22/tcp",
    ],
    read: (text) => {
      const read = readPortList(text, listeners);
      if ("ports" in read) return read.ports;
      throw flagError("ports", `ports such as "22/tcp"`, read.wrong);
    },
  }, terminal);
  return { host, ports };
}

/** The first client, and how it gets its profile. */
export async function readClientWishes(
  args: Arguments,
  terminal: Terminal | undefined,
): Promise<Pick<Wishes, "client" | "way">> {
  const client = await answerOr(textFlag(args, "client"), {
    question: "What to call the first client",
    fallback: DEFAULT_CLIENT,
    read: (name) => {
      requireName(name, "a client");
      return name;
    },
  }, terminal);
  const given = wayOf(args);
  if (given || !terminal) return { client, way: given ?? { by: "ssh", key: undefined } };
  const way = await ask<Way>(
    `How ${client} gets its profile: ssh (a command typed there), link, or qr (for a phone)`,
    {
      fallback: "ssh",
      read: (text) => {
        if (text === "ssh") return { by: "ssh", key: undefined };
        if (text === "link" || text === "qr") return { by: "screen", showing: text };
        throw new OpenmeError("USAGE", `expected ssh, link or qr, got ${quote(text)}`);
      },
    },
    terminal,
  );
  return { client, way };
}

/** What the flags say of it. */
function wayOf(args: Arguments): Way | undefined {
  const { values } = args;
  const key = textFlag(args, "pubkey");
  if (key !== undefined) givenKeyOf(args); // throws for what is none
  const file = textFlag(args, "out");
  const shown = ["link", "qr"].filter((flag) => values[flag] === true);
  if (shown.length + (file === undefined ? 0 : 1) > 1) {
    throw new OpenmeError("USAGE", "--link, --qr and --out exclude each other", {
      hint: "the profile goes one way: see openme setup --help",
    });
  }
  const [by] = shown;
  if (by === "link" || by === "qr") return { by: "screen", showing: by };
  // Without a wait nothing is fetched over ssh.
  if (values["no-wait"] === true) {
    return { by: "output", key, file: file === "-" ? undefined : file };
  }
  if (file !== undefined) {
    const why = "--out goes with --no-wait: a client fetches its profile itself";
    const hint = "leave it out, and setup says what to type at the client";
    throw new OpenmeError("USAGE", why, { hint });
  }
  return key === undefined ? undefined : { by: "ssh", key };
}

/** What the flag says, else the answer, else the default; throws where there is none of them. */
async function answerOr<T>(
  given: string | undefined,
  { question, fallback, missing, read }: {
    question: string;
    fallback: string | undefined;
    missing?: readonly [why: string, flag: string];
    read: (text: string) => T;
  },
  terminal: Terminal | undefined,
): Promise<T> {
  if (given !== undefined) return read(given);
  if (terminal) return await ask(question, { fallback, read }, terminal);
  if (fallback !== undefined) return read(fallback);
  throw new OpenmeError("USAGE", missing![0], { hint: `say it: ${missing![1]}` });
}
