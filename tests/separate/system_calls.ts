/** System calls as native code makes them: by libc. Imported by the process that tries them and by a thread of it. */

const EPERM = 1;

const any = {
  parameters: ["i64", "i64", "i64", "i64", "i64", "i64", "i64"],
  result: "i64",
} as const;

/** Functions of libc that may do nothing any more, whatever they are given: here zeros. */
const FUNCTIONS = [
  ...["execve", "execveat", "unshare", "setns", "socket", "socketpair", "connect", "bind"],
  ...["listen", "accept", "sendmsg", "sendmmsg", "open", "openat", "creat", "name_to_handle_at"],
  ...["open_by_handle_at", "memfd_create", "truncate", "mkdir", "mkdirat", "mknod", "mknodat"],
  ...["link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat", "rmdir", "rename"],
  ...["renameat", "renameat2", "mount", "umount2", "chroot", "kill", "ptrace"],
  ...["process_vm_readv", "process_vm_writev", "shmget", "msgget", "semget"],
] as const;
/** Those that would start another process of Deno: only where they are refused. */
const FORKING = ["fork", "vfork"] as const;
/** Calls that libc has no function for: with their numbers on x86_64 and aarch64. */
const NUMBERS: Readonly<Record<string, readonly [number, number]>> = {
  ...{ keyctl: [250, 219], add_key: [248, 217], request_key: [249, 218] },
  ...{ bpf: [321, 280], perf_event_open: [298, 241], userfaultfd: [323, 282], kcmp: [312, 272] },
  ...{ io_uring_setup: [425, 425], io_uring_enter: [426, 426], io_uring_register: [427, 427] },
  ...{ io_setup: [206, 0], tkill: [200, 130], rt_sigqueueinfo: [129, 138] },
  ...{ rt_tgsigqueueinfo: [297, 240], pidfd_send_signal: [424, 424], pidfd_open: [434, 434] },
  ...{ pidfd_getfd: [438, 438], process_madvise: [440, 440], mq_open: [240, 180] },
  ...{ fsopen: [430, 430], open_tree: [428, 428], move_mount: [429, 429], pivot_root: [155, 41] },
};
const CLONE = Deno.build.arch === "x86_64" ? 56 : 220;
const CLONE3 = 435;
const OPENAT2 = 437;
const SIGCHLD = 17;

const SOME = ["tgkill", "sendto", "accept4", "fcntl", "ioctl", "prlimit"] as const;

/**
 * The calls that were not refused, by their errno, 0 where they were done. Without the filter: those that were refused,
 * and such as would start processes are left out.
 */
export function trySystemCalls(isConfined: boolean): Record<string, number> {
  const names = [...FUNCTIONS, ...FORKING, ...SOME];
  const functions = Deno.dlopen(
    "libc.so.6",
    Object.fromEntries(names.map((name) => [name, any])) as Record<
      typeof names[number],
      typeof any
    >,
  ).symbols;
  const { __errno_location, syscall } = Deno.dlopen("libc.so.6", {
    __errno_location: { parameters: [], result: "pointer" },
    syscall: any,
  }).symbols;
  const outcomes: Record<string, number> = {};
  const attempt = (name: string, call: typeof syscall, ...args: number[]) => {
    const [a, b, c, d, e, f, g] = args.map(BigInt);
    const result = call(a ?? 0n, b ?? 0n, c ?? 0n, d ?? 0n, e ?? 0n, f ?? 0n, g ?? 0n);
    // Of an int only the lower half says something.
    const failed = BigInt.asIntN(32, result) === -1n;
    const errno = failed ? new Deno.UnsafePointerView(__errno_location()!).getInt32() : 0;
    if ((errno === EPERM) !== isConfined) outcomes[name] = errno;
  };
  for (const name of isConfined ? [...FUNCTIONS, ...FORKING] : FUNCTIONS) {
    attempt(name, functions[name]);
  }
  for (const [name, numbers] of Object.entries(NUMBERS)) {
    attempt(name, syscall, numbers[Deno.build.arch === "x86_64" ? 0 : 1]);
  }
  if (isConfined) attempt("clone", syscall, CLONE, SIGCHLD);
  attempt("clone3", syscall, CLONE3);
  attempt("openat2", syscall, OPENAT2);
  const { tgkill, sendto, accept4, fcntl, ioctl, prlimit } = functions;
  attempt("tgkill of its parent", tgkill, Deno.ppid, Deno.ppid);
  attempt("tgkill of itself", tgkill, Deno.pid, Deno.pid);
  attempt("accept4", accept4, -1);
  attempt("sendto", sendto, -1);
  attempt("sendto an address", sendto, -1, 0, 0, 0, 1);
  attempt("sendto a high address", sendto, -1, 0, 0, 0, 2 ** 32);
  attempt("sendto with MSG_FASTOPEN", sendto, -1, 0, 0, 0x2000_0000);
  attempt("sendto with MSG_OOB", sendto, -1, 0, 0, 1);
  attempt("F_SETOWN", fcntl, -1, 8);
  attempt("F_SETOWN_EX", fcntl, -1, 15);
  attempt("FIOSETOWN", ioctl, -1, 0x8901);
  attempt("SIOCSPGRP", ioctl, -1, 0x8902);
  attempt("limits of its parent", prlimit, Deno.ppid);
  attempt("its own limits", prlimit, 0);
  return outcomes;
}
