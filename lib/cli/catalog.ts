/** The subcommands by name, in the order of help, each loaded only when it is called. */

import type { Commands } from "./context.ts";

export const COMMANDS: Commands = {
  setup: {
    summary: "hide ports, from nothing to the end; --undo takes it back",
    permissions: ["net", "read", "write", "run", "env", "sys"],
    load: async () => (await import("./commands/setup.ts")).setup,
  },
  init: {
    summary: "make keys and a configuration for this server",
    permissions: ["read", "write", "run", "env"], // as check
    load: async () => (await import("./commands/init.ts")).init,
  },
  add: {
    summary: "register a client and print its profile",
    permissions: ["read", "write", "env"],
    load: async () => (await import("./commands/add.ts")).add,
  },
  serve: {
    summary: "guard the ports of this host and take knocks",
    // ffi: libc asks the kernel whether rules have changed; given up once that is opened.
    permissions: ["net", "read", "write", "run", "env", "sys", "ffi"],
    load: async () => (await import("./commands/serve.ts")).serve,
  },
  knock: {
    summary: "open a server's ports for this machine",
    // sys: the interfaces, where one is bound; write: the ssh-agent's socket; run: the terminal, for a code; here and
    // with connect, status and doctor.
    permissions: ["net", "read", "write", "run", "env", "sys"],
    load: async () => (await import("./commands/knock.ts")).knock,
  },
  list: {
    summary: "show the registered clients",
    permissions: ["read", "write", "env"], // SQLite writes beside a database that it reads
    load: async () => (await import("./commands/list.ts")).list,
  },
  revoke: {
    summary: "take a client's key back; its grants end at once",
    permissions: ["net", "read", "write", "env"], // net: the control socket
    load: async () => (await import("./commands/revoke.ts")).revoke,
  },
  rename: {
    summary: "give a client another name",
    permissions: ["read", "write", "env"],
    load: async () => (await import("./commands/rename.ts")).rename,
  },
  rotate: {
    summary: "make a new key for a client, or for the server",
    permissions: ["read", "write", "env"],
    load: async () => (await import("./commands/rotate.ts")).rotate,
  },
  keygen: {
    summary: "make a key on the client; its private half stays there",
    permissions: ["read", "write", "env"],
    load: async () => (await import("./commands/keygen.ts")).keygen,
  },
  history: {
    summary: "show who was let in, and which clients were not and why",
    permissions: ["net", "read", "write", "env"], // net: the control socket
    load: async () => (await import("./commands/history.ts")).history,
  },
  fleet: {
    summary: "show the hosts that share this server's key",
    permissions: ["net", "read", "write", "env"], // net: the control socket
    load: async () => (await import("./commands/fleet.ts")).fleet,
  },
  import: {
    summary: "take over a profile; or clients from fwknop or knockd",
    permissions: ["read", "write", "env"],
    load: async () => (await import("./commands/import.ts")).importCommand,
  },
  close: {
    summary: "end grants now",
    permissions: ["net", "read", "write", "env"],
    load: async () => (await import("./commands/close.ts")).close,
  },
  profiles: {
    summary: "list the profiles of this machine; rename or remove one",
    permissions: ["read", "write", "env"],
    load: async () => (await import("./commands/profiles.ts")).profiles,
  },
  connect: {
    summary: "knock, connect, and carry stdin and stdout (ProxyCommand)",
    permissions: ["net", "read", "write", "run", "env", "sys"],
    load: async () => (await import("./commands/connect.ts")).connect,
  },
  status: {
    summary: "ask a server what is open for this machine, and for how long",
    permissions: ["net", "read", "write", "run", "env", "sys"],
    load: async () => (await import("./commands/status.ts")).status,
  },
  doctor: {
    summary: "look for what is wrong, and say what to do",
    permissions: ["net", "read", "write", "run", "env", "sys"],
    load: async () => (await import("./commands/doctor.ts")).doctor,
  },
  sessions: {
    summary: "show who is let in now",
    permissions: ["net", "read", "write", "env"],
    load: async () => (await import("./commands/sessions.ts")).sessions,
  },
  check: {
    summary: "read the configuration and say what is wrong with it",
    permissions: ["read", "run", "env"], // run: cat, for what is under /proc
    load: async () => (await import("./commands/check.ts")).check,
  },
  plan: {
    summary: "show what serve would do to this host, without doing it",
    permissions: ["read", "run", "env"],
    load: async () => (await import("./commands/plan.ts")).plan,
  },
  guard: {
    summary: "close the guarded ports and exit, for early boot",
    permissions: ["read", "write", "run", "env", "sys"],
    load: async () => (await import("./commands/guard.ts")).guard,
  },
  confirm: {
    summary: "keep what serve --confirm would put back",
    permissions: ["net", "read", "write", "env"],
    load: async () => (await import("./commands/confirm.ts")).confirm,
  },
  uninstall: {
    summary: "take every firewall rule of openme's out",
    permissions: ["read", "write", "run", "env"],
    load: async () => (await import("./commands/uninstall.ts")).uninstall,
  },
  backup: {
    summary: "write configuration, keys and history into one encrypted file",
    permissions: ["read", "write", "env"],
    load: async () => (await import("./commands/backup.ts")).backup,
  },
  restore: {
    summary: "put a backup in place, here or on another machine",
    permissions: ["read", "write", "env", "sys"], // sys: the umask, for the state directory
    load: async () => (await import("./commands/restore.ts")).restore,
  },
  completion: {
    summary: "print a completion script for bash, zsh or fish",
    permissions: ["read", "env"],
    load: async () => (await import("./commands/completion.ts")).completion,
  },
  man: {
    summary: "print the manual page",
    permissions: ["read", "env"],
    load: async () => (await import("./commands/man.ts")).man,
  },
  version: {
    summary: "say which version this is",
    permissions: [],
    load: async () => (await import("./commands/version.ts")).version,
  },
  help: {
    summary: "say more about a command",
    permissions: ["read", "env"],
    load: async () => (await import("./commands/help.ts")).help,
  },
};

/** What completion scripts, setup and serve call, and no help speaks of. */
export const HIDDEN_COMMANDS: Commands = {
  __complete: {
    summary: "print what may come next",
    permissions: ["read", "env"],
    load: async () => (await import("./commands/complete.ts")).complete,
  },
  "__taker": {
    summary: "take what strangers send, for serve",
    permissions: ["net", "read", "env", "ffi"],
    load: async () => (await import("./commands/taker.ts")).taker,
  },
  "__setup_watch": {
    summary: "put back what a setup that was killed has made",
    permissions: ["net", "read", "write", "run", "env", "sys"],
    load: async () => (await import("./commands/setup_undo.ts")).setupWatch,
  },
};
