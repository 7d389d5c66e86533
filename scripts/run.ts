/** What the scripts share: running a program with this terminal. */

/** Runs a program to its end; gives its exit code. */
export async function run(
  program: string,
  args: string[],
  env: Record<string, string> = {},
  cwd = Deno.cwd(),
): Promise<number> {
  const { code } = await new Deno.Command(program, { args, env, cwd }).spawn().status;
  return code;
}

/** Runs a program and gives what it printed, `undefined` where it is missing or fails. */
export async function capture(program: string, args: string[]): Promise<string | undefined> {
  try {
    const { success, stdout } = await new Deno.Command(program, { args, stderr: "null" }).output();
    return success ? new TextDecoder().decode(stdout) : undefined;
  } catch {
    return undefined;
  }
}

/** One line on stdout. */
export function print(line: string): void {
  // deno-lint-ignore no-console
  console.log(line);
}
