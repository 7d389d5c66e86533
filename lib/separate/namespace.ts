/** The network namespace of a process: two that are to work on the same packets must be in the same. */

import { openLibc } from "../system/libc.ts";

const LIBC = {
  readlink: { parameters: ["buffer", "buffer", "usize"], result: "isize" },
} as const;

/** Its name, such as `net:[4026531840]` (namespaces(7)); `""` where it cannot be had. */
export function networkNamespace(): string {
  // By libc: Deno reads nothing under /proc without every permission.
  const libc = openLibc(LIBC);
  const name = new Uint8Array(64);
  const path = new TextEncoder().encode("/proc/self/ns/net\0");
  const length = Number(libc?.readlink(path, name, BigInt(name.length)) ?? 0);
  return new TextDecoder().decode(name.subarray(0, Math.max(0, length)));
}
