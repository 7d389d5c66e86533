/** Faults at the firewall program of a running server. */

import type { Lab } from "./lab.ts";

/** Sends a signal to the `nft -i` that serves a server; returns how many there were. */
export async function signalNft(lab: Lab, signal: "KILL" | "STOP" | "CONT"): Promise<number> {
  const script = `for pid in $(ip netns pids "$0"); do
    [ "$(cat /proc/$pid/comm 2>/dev/null)" = nft ] && kill -${signal} $pid && echo $pid
  done; true`;
  // From outside: `ip netns exec` has a /run of its own.
  const { stdout } = await new Deno.Command("sh", {
    args: ["-c", script, lab.namespace("server")],
    stderr: "null",
  }).output();
  return new TextDecoder().decode(stdout).split("\n").filter(Boolean).length;
}
