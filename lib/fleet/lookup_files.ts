/**
 * The files by which a name is looked up. systemd gives a process those that there are at its start, one by one
 * (openme-fleet@.service), and a program that replaces one (dhclient, NetworkManager, systemd-resolved) puts a new file in
 * its place: the process would read the old one for ever.
 */

export const LOOKUP_PATHS = ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf"];

/** Which files they are now, and of when: another text once one was replaced or written. */
export function lookupFiles(): string {
  return LOOKUP_PATHS.map((path) => {
    try {
      const { dev, ino, mtime } = Deno.statSync(path);
      return `${dev} ${ino} ${mtime?.getTime()}`;
    } catch {
      return "none";
    }
  }).join();
}
