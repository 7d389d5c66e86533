/** SIGHUP: a terminal that was closed, or `systemctl reload`. */

import type { Log } from "../../system/log.ts";

/**
 * From now on SIGHUP does not end the process. Where it was started on a terminal, the signal says that the terminal was
 * closed, and is ignored; else it asks to read the configuration again, which what is returned does once it is known how.
 */
export function listenForHangup(isOnTerminal: boolean, log: Log): (read: () => void) => void {
  let reread = () => {};
  if (Deno.build.os !== "windows") {
    Deno.addSignalListener("SIGHUP", () => {
      if (isOnTerminal) log.warn("hangup", { why: "the terminal was closed", doing: "going on" });
      else reread();
    });
  }
  return (read) => reread = read;
}
