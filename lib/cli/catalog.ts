/**
 * The subcommands by name, each loaded only when it is called: `knock` must not wait for what `serve` needs.
 */

import type { Commands } from "./context.ts";

export const COMMANDS: Commands = {
  init: async () => (await import("./commands/init.ts")).init,
  add: async () => (await import("./commands/add.ts")).add,
  serve: async () => (await import("./commands/serve.ts")).serve,
  knock: async () => (await import("./commands/knock.ts")).knock,
  list: async () => (await import("./commands/list.ts")).list,
  revoke: async () => (await import("./commands/revoke.ts")).revoke,
  rename: async () => (await import("./commands/rename.ts")).rename,
  rotate: async () => (await import("./commands/rotate.ts")).rotate,
  keygen: async () => (await import("./commands/keygen.ts")).keygen,
  history: async () => (await import("./commands/history.ts")).history,
  import: async () => (await import("./commands/import.ts")).importCommand,
  close: async () => (await import("./commands/close.ts")).close,
  profiles: async () => (await import("./commands/profiles.ts")).profiles,
  connect: async () => (await import("./commands/connect.ts")).connect,
  status: async () => (await import("./commands/status.ts")).status,
  doctor: async () => (await import("./commands/doctor.ts")).doctor,
  sessions: async () => (await import("./commands/sessions.ts")).sessions,
  check: async () => (await import("./commands/check.ts")).check,
  plan: async () => (await import("./commands/plan.ts")).plan,
  guard: async () => (await import("./commands/guard.ts")).guard,
  confirm: async () => (await import("./commands/confirm.ts")).confirm,
  uninstall: async () => (await import("./commands/uninstall.ts")).uninstall,
  completion: async () => (await import("./commands/completion.ts")).completion,
  man: async () => (await import("./commands/man.ts")).man,
  version: async () => (await import("./commands/version.ts")).version,
  help: async () => (await import("./commands/help.ts")).help,
};

/** What the completion scripts call, and no help speaks of. */
export const HIDDEN_COMMANDS: typeof COMMANDS = {
  __complete: async () => (await import("./commands/complete.ts")).complete,
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
