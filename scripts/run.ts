/** What the scripts share: running a program with this terminal, and network namespaces for whoever is not root. */

/** Runs a program to its end; gives its exit code. */
export async function run(
  program: string,
  args: string[],
  env: Record<string, string> = {},
): Promise<number> {
  const { code } = await new Deno.Command(program, { args, env }).spawn().status;
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

/**
 * The command line that runs `command` where network namespaces can be made: as it is for root, else in a user
 * namespace of its own (`ip netns` needs a writable /run there). `undefined` where the system allows neither.
 */
export async function inNamespaces(command: string[]): Promise<string[] | undefined> {
  if (Deno.uid() === 0) return command;
  const enter = [
    "unshare",
    "-Urnm",
    "sh",
    "-c",
    'mount -t tmpfs tmpfs /run && { ip link set lo up || :; } && exec "$@"',
    "sh",
  ];
  const works = await capture(enter[0]!, [...enter.slice(1), "true"]);
  return works === undefined ? undefined : [...enter, ...command];
}

/** One line on stdout. */
export function print(line: string): void {
  // deno-lint-ignore no-console
  console.log(line);
}
