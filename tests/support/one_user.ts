/** What a test may do depends on whether root is the machine's or an ordinary user's in a namespace of its own. */

/** Whether only one user exists here: an ordinary user's user namespace, where root lacks what only the machine's may. */
export const ONE_USER = Deno.build.os === "linux" &&
  Number((await readMap()).trim().split(/\s+/)[2]) < 65_536;

async function readMap(): Promise<string> {
  const { stdout } = await new Deno.Command("cat", { args: ["/proc/self/uid_map"] }).output();
  return new TextDecoder().decode(stdout);
}
