/**
 * The subcommands by name, each loaded only when it is called: `knock` must not wait for what `serve` needs.
 */

import type { Commands } from "./context.ts";

export const COMMANDS: Commands = {
  init: async () => (await import("./init.ts")).init,
  add: async () => (await import("./add.ts")).add,
  serve: async () => (await import("./serve.ts")).serve,
  knock: async () => (await import("./knock.ts")).knock,
  list: async () => (await import("./list.ts")).list,
  revoke: async () => (await import("./revoke.ts")).revoke,
  rename: async () => (await import("./rename.ts")).rename,
  rotate: async () => (await import("./rotate.ts")).rotate,
  keygen: async () => (await import("./keygen.ts")).keygen,
  history: async () => (await import("./history.ts")).history,
  import: async () => (await import("./import.ts")).importCommand,
  close: async () => (await import("./close.ts")).close,
  profiles: async () => (await import("./profiles.ts")).profiles,
  connect: async () => (await import("./connect.ts")).connect,
  status: async () => (await import("./status.ts")).status,
  doctor: async () => (await import("./doctor.ts")).doctor,
  sessions: async () => (await import("./sessions.ts")).sessions,
  check: async () => (await import("./check.ts")).check,
  plan: async () => (await import("./plan.ts")).plan,
  guard: async () => (await import("./guard.ts")).guard,
  confirm: async () => (await import("./confirm.ts")).confirm,
  uninstall: async () => (await import("./uninstall.ts")).uninstall,
  completion: async () => (await import("./completion.ts")).completion,
  man: async () => (await import("./man.ts")).man,
  version: async () => (await import("./version.ts")).version,
  help: async () => (await import("./help.ts")).help,
};

/** What the completion scripts call, and no help speaks of. */
export const HIDDEN_COMMANDS: typeof COMMANDS = {
  __complete: async () => (await import("./complete.ts")).complete,
};

/** What each command may use beside memory and its own output. */
export const PERMISSIONS = {
  init: ["read", "write", "run", "env"], // as check
  add: ["read", "write", "env"],
  // Reading datagrams many at a time is libc's; given up once that is bound.
  serve: ["net", "read", "write", "run", "env", "sys", "ffi"],
  // sys: the interfaces, where one is bound, here and with connect, status and doctor.
  knock: ["net", "read", "run", "env", "sys"],
  check: ["read", "run", "env"], // run: cat, for what is under /proc
  plan: ["read", "run", "env"],
  guard: ["read", "write", "run", "env", "sys"],
  confirm: ["net", "read", "write", "env"],
  uninstall: ["read", "write", "run", "env"],
  list: ["read", "write", "env"], // SQLite writes beside a database that it reads
  revoke: ["net", "read", "write", "env"], // net: the control socket
  rename: ["read", "write", "env"],
  rotate: ["read", "write", "env"],
  keygen: ["read", "write", "env"],
  history: ["read", "write", "env"],
  import: ["read", "write", "env"],
  profiles: ["read", "write", "env"],
  sessions: ["net", "read", "write", "env"],
  // All commands are loaded for their texts, and some look at the environment when they are.
  completion: ["read", "env"],
  __complete: ["read", "env"],
  man: ["read", "env"],
  version: [],
  help: ["read", "env"],
  close: ["net", "read", "write", "env"],
  connect: ["net", "read", "env", "sys"],
  status: ["net", "read", "env", "sys"],
  doctor: ["net", "read", "write", "run", "env", "sys"],
} as const;
