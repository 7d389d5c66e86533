/** Runs a command as on a machine where a program is missing. */

/** Lets a program of this folder be missing, in a mount namespace of whoever runs it. */
const HIDE = `set -e
dir=$1 name=$2; shift 2
all=$(mktemp -d); mount --bind "$dir" "$all"; mount -t tmpfs tmpfs "$dir"
PATH="$all:$PATH" ln -s "$all"/* "$dir"/; rm "$dir/$name"
exec "$@"`;
/** What stands before the command that is not to find the program at this path. */
export function hide(path: string): string[] {
  const [, dir, name] = /^(.*)\/(.*)$/.exec(path)!;
  return ["sh", "-c", HIDE, "sh", dir!, name!];
}
