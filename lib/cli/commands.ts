/**
 * The subcommands by name, each loaded only when it is called: `knock` must not wait for what `serve` needs.
 */

import type { Command } from "./context.ts";

export const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  init: async () => (await import("./init.ts")).init,
  add: async () => (await import("./add.ts")).add,
  serve: async () => (await import("./serve.ts")).serve,
  knock: async () => (await import("./knock.ts")).knock,
  sessions: async () => (await import("./sessions.ts")).sessions,
  check: async () => (await import("./check.ts")).check,
  plan: async () => (await import("./plan.ts")).plan,
  guard: async () => (await import("./guard.ts")).guard,
  confirm: async () => (await import("./confirm.ts")).confirm,
  uninstall: async () => (await import("./uninstall.ts")).uninstall,
};

/** What each command may use beside memory and its own output. */
export const PERMISSIONS = {
  init: ["read", "write", "env"],
  add: ["read", "write", "env"],
  serve: ["net", "read", "write", "run", "env", "sys"],
  knock: ["net", "read", "run", "env"],
  check: ["read", "env"],
  plan: ["read", "run", "env"],
  guard: ["read", "write", "run", "env"],
  confirm: ["read", "write", "env"],
  uninstall: ["read", "write", "run", "env"],
  sessions: ["read", "write", "env"], // SQLite writes beside a database that it reads
} as const;
