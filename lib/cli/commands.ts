/**
 * The subcommands by name, each loaded only when it is called: `knock` must not wait for what `serve` needs.
 */

import type { Command } from "./context.ts";

export const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  init: async () => (await import("./init.ts")).init,
  add: async () => (await import("./add.ts")).add,
  serve: async () => (await import("./serve.ts")).serve,
  knock: async () => (await import("./knock.ts")).knock,
  close: async () => (await import("./close.ts")).close,
  connect: async () => (await import("./connect.ts")).connect,
  status: async () => (await import("./status.ts")).status,
  doctor: async () => (await import("./doctor.ts")).doctor,
  sessions: async () => (await import("./sessions.ts")).sessions,
};

/** What each command may use beside memory and its own output. */
export const PERMISSIONS = {
  init: ["read", "write", "env"],
  add: ["read", "write", "env"],
  serve: ["net", "read", "write", "run", "env", "sys"],
  knock: ["net", "read", "run", "env"],
  close: ["net", "read", "write", "env"],
  connect: ["net", "read", "env"],
  status: ["net", "read", "env"],
  doctor: ["net", "read", "write", "run", "env"],
  sessions: ["read", "write", "env"], // SQLite writes beside a database that it reads
} as const;
