/** What writes sets over netlink, for the namespace of a lab. */

import { openKernelSets } from "../../lib/firewall/nft/kernel_sets.ts";
import type { QuickSets } from "../../lib/firewall/backend.ts";

/** From sched.h. */
const CLONE_NEWNET = 0x40000000;

/** A socket stays in the namespace in which it was made: this thread is there for as long as that takes. */
export function kernelSetsIn(namespace: string): QuickSets | undefined {
  const libc = Deno.dlopen("libc.so.6", {
    open: { parameters: ["buffer", "i32"], result: "i32" },
    setns: { parameters: ["i32", "i32"], result: "i32" },
    close: { parameters: ["i32"], result: "i32" },
  });
  const { open, setns, close } = libc.symbols;
  const enter = (file: number) => {
    if (setns(file, CLONE_NEWNET) !== 0) throw new Error(`cannot enter ${namespace}`);
  };
  const [own, other] = ["/proc/thread-self/ns/net", `/run/netns/${namespace}`]
    .map((path) => open(new TextEncoder().encode(`${path}\0`), 0)) as [number, number];
  enter(other);
  try {
    return openKernelSets();
  } finally {
    enter(own);
    close(own);
    close(other);
    libc.close();
  }
}
