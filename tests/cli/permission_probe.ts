/** Runs openme as it is, and tells on stderr at its exit which permissions it still has. */

const NAMES = ["net", "read", "write", "run", "env", "sys", "ffi"] as const;

const { exit } = Deno;
Deno.exit = (code) => {
  const left = NAMES.filter((name) => Deno.permissions.querySync({ name }).state === "granted");
  Deno.stderr.writeSync(new TextEncoder().encode(`left: ${left.join(" ")}\n`));
  return exit(code);
};
await import("../../main.ts");
