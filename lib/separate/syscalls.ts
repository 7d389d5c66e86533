/**
 * The system calls that a process without rights gives up: those that native code in it could reach anything else by.
 * The kernel refuses them (seccomp(2)), in every thread and for good. Linux with glibc on x86_64 and aarch64.
 */

import { openLibc } from "../system/libc.ts";
import { OpenmeError } from "../values/errors.ts";

/** What the process is there for: to receive knocks, or to answer requests. */
export type Purpose = "fleet" | "knocks" | "health" | "metrics";
export type Architecture = typeof Deno.build.arch;

/** Refused whatever the arguments: the number on x86_64, the one on aarch64, and what the call would be for. */
const DENIED = {
  programs: "execve 59/221, execveat 322/281",
  processes: "fork 57/-, vfork 58/-, unshare 272/97, setns 308/268",
  sockets: "socket 41/198, socketpair 53/199, connect 42/203, bind 49/200, listen 50/201, " +
    "accept 43/202",
  // These also pass descriptors.
  sending: "sendmsg 46/211, sendmmsg 307/269",
  // Not even to read them: Deno and V8 have what they need by then.
  files: "open 2/-, openat 257/56, creat 85/-, name_to_handle_at 303/264, " +
    "open_by_handle_at 304/265, memfd_create 319/279, memfd_secret 447/447, truncate 76/45",
  names: "mkdir 83/-, mkdirat 258/34, mknod 133/-, mknodat 259/33, link 86/-, linkat 265/37, " +
    "symlink 88/-, symlinkat 266/36, unlink 87/-, unlinkat 263/35, rmdir 84/-, rename 82/-, " +
    "renameat 264/38, renameat2 316/276",
  mounts: "mount 165/40, umount2 166/39, pivot_root 155/41, chroot 161/51, open_tree 428/428, " +
    "move_mount 429/429, fsopen 430/430, fsconfig 431/431, fsmount 432/432, fspick 433/433, " +
    "mount_setattr 442/442, open_tree_attr 467/467",
  signals: "kill 62/129, tkill 200/130, rt_sigqueueinfo 129/138, rt_tgsigqueueinfo 297/240, " +
    "pidfd_send_signal 424/424, pidfd_open 434/434, pidfd_getfd 438/438",
  memoryOfOthers: "ptrace 101/117, process_vm_readv 310/270, process_vm_writev 311/271, " +
    "process_madvise 440/440, process_mrelease 448/448, kcmp 312/272",
  messages: "shmget 29/194, msgget 68/186, semget 64/190, mq_open 240/180",
  keys: "add_key 248/217, request_key 249/218, keyctl 250/219",
  // They carry out other calls, or have had many faults.
  kernel: "io_uring_setup 425/425, io_uring_enter 426/426, io_uring_register 427/427, " +
    "io_setup 206/0, bpf 321/280, perf_event_open 298/241, userfaultfd 323/282",
};
const DENIED_TO_THE_TAKER = "accept4 288/242, sendto 44/206";
/** Not refused to the fleet process as a whole: it connects, and the C library looks up names. */
const ALLOWED_TO_THE_FLEET = /\b(socket|connect|sendmmsg|open|openat) [^,]*(, |$)/g;
/** "There is no such call": glibc then takes the older one, whose arguments a filter can see. */
const MISSING = "clone3 435/435, openat2 437/437";

interface Condition {
  readonly call: string;
  /** The word of 32 bits with the argument, counted from the first argument: the lower half of each comes first. */
  readonly word: number;
  readonly test: "isNot" | "is" | "has" | "lacks";
  readonly value: number;
}

/** Refused for some arguments. `self` is the number of this process. */
function conditions(self: number, purpose: Purpose): readonly Condition[] {
  const all = 0xffff_ffff;
  // Read only: O_WRONLY, O_RDWR, O_CREAT, O_TRUNC.
  const writing = 0x243;
  const ofTheFleet: readonly Condition[] = [
    // AF_INET is 2 and AF_INET6 10.
    { call: "socket 41/198", word: 0, test: "lacks", value: 2 },
    { call: "socket 41/198", word: 0, test: "has", value: all - 10 },
    { call: "openat 257/56", word: 4, test: "has", value: writing },
    { call: "open 2/-", word: 2, test: "has", value: writing },
  ];
  return [
    ...purpose === "fleet" ? ofTheFleet : [],
    // A process that is no thread of this one.
    { call: "clone 56/220", word: 0, test: "lacks", value: 0x10000 }, // CLONE_THREAD
    // MSG_FASTOPEN, which connects, MSG_OOB, which no code here uses, and an address to send to.
    { call: "sendto 44/206", word: 6, test: "has", value: 0x2000_0001 },
    { call: "sendto 44/206", word: 8, test: "has", value: all },
    { call: "sendto 44/206", word: 9, test: "has", value: all },
    // A signal to another process. To this one, glibc sends one when it aborts.
    { call: "tgkill 234/131", word: 0, test: "isNot", value: self },
    // Signals to another process when a descriptor becomes ready: F_SETOWN, F_SETOWN_EX, FIOSETOWN, SIOCSPGRP.
    { call: "fcntl 72/25", word: 2, test: "is", value: 8 },
    { call: "fcntl 72/25", word: 2, test: "is", value: 15 },
    { call: "ioctl 16/29", word: 2, test: "is", value: 0x8901 },
    { call: "ioctl 16/29", word: 2, test: "is", value: 0x8902 },
    // Limits of another process.
    { call: "prlimit64 302/261", word: 0, test: "isNot", value: 0 },
  ];
}

// struct seccomp_data: the number of the call, the architecture, the instruction pointer (8 bytes), the arguments.
const NUMBER = 0;
const ARCHITECTURE = 4;
const ARGUMENTS = 16;

// Classic BPF (linux/filter.h), and what a filter returns (linux/seccomp.h).
const LOAD = 0x20;
const RETURN = 0x06;
const JUMP = { equal: 0x15, atLeast: 0x35, anyBit: 0x45 };
const ALLOW = 0x7fff_0000;
const EPERM = 0x0005_0001;
const ENOSYS = 0x0005_0026;
/** AUDIT_ARCH_X86_64, AUDIT_ARCH_AARCH64. */
const ARCHITECTURES = { "x86_64": 0xc000_003e, aarch64: 0xc000_00b7 };
/** x32's calls on x86_64 begin here. No other call is as high. */
const X32 = 0x4000_0000;

/** code, jump if true, jump if false, operand. */
export type Instruction = readonly [code: number, yes: number, no: number, operand: number];

/** The filter: a short program that the kernel runs before each system call. */
export function systemCallFilter(
  { arch, purpose, self }: { arch: Architecture; purpose: Purpose; self: number },
): Instruction[] {
  const load = (offset: number): Instruction => [LOAD, 0, 0, offset];
  const answer = (action: number): Instruction => [RETURN, 0, 0, action];
  const numbers = (calls: string) =>
    Array.from(
      calls.matchAll(/ (\d+|-)\/(\d+|-)/g),
      ([, x86, arm]) => arch === "x86_64" ? x86 : arm,
    )
      .filter((each) => each !== "-").map(Number);
  const refuse = (calls: string, action: number) =>
    numbers(calls).flatMap((number) => [[JUMP.equal, 0, 1, number] as const, answer(action)]);
  const refuseIf = ({ call, word, test, value }: Condition): Instruction[] => {
    const code = test === "is" || test === "isNot" ? JUMP.equal : JUMP.anyBit;
    const refuses = test === "is" || test === "has";
    const [number] = numbers(call);
    if (number === undefined) return [];
    return [
      load(NUMBER),
      [JUMP.equal, 0, 3, number],
      load(ARGUMENTS + 4 * word),
      [code, refuses ? 0 : 1, refuses ? 1 : 0, value],
      answer(EPERM),
    ];
  };
  return [
    load(ARCHITECTURE),
    [JUMP.equal, 1, 0, ARCHITECTURES[arch]],
    answer(EPERM),
    load(NUMBER),
    [JUMP.atLeast, 0, 1, X32],
    answer(EPERM),
    ...Object.values(DENIED).flatMap((calls) =>
      refuse(purpose === "fleet" ? calls.replaceAll(ALLOWED_TO_THE_FLEET, "") : calls, EPERM)
    ),
    ...purpose === "fleet" ? refuse(" accept4 288/242", EPERM) : [],
    ...purpose === "knocks" ? refuse(DENIED_TO_THE_TAKER, EPERM) : [],
    ...refuse(MISSING, ENOSYS),
    ...conditions(self, purpose).flatMap(refuseIf),
    answer(ALLOW),
  ];
}

const SYS_SECCOMP = { "x86_64": 317n, aarch64: 277n };
const SECCOMP_SET_MODE_FILTER = 1n;
const SECCOMP_FILTER_FLAG_TSYNC = 1n;
/** struct sock_fprog. */
const PROGRAM_SIZE = 16;

const LIBC = {
  syscall: { parameters: ["i64", "u64", "u64", "buffer"], result: "i64" },
} as const;

/**
 * Has the kernel refuse them from now on. To be called once the sockets are bound, and by a process that can gain no
 * rights (`no_new_privs`). Needs ffi. Throws `OpenmeError` where it cannot be had.
 */
export function giveUpSystemCalls(purpose: Purpose): void {
  const arch = Deno.build.arch;
  const filter = systemCallFilter({ arch, purpose, self: Deno.pid });
  const program = new DataView(new ArrayBuffer(PROGRAM_SIZE + 8 * filter.length));
  const bytes = new Uint8Array(program.buffer);
  const at = BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes)));
  program.setUint16(0, filter.length, true);
  program.setBigUint64(8, at + BigInt(PROGRAM_SIZE), true);
  filter.forEach(([code, yes, no, operand], i) => {
    const offset = PROGRAM_SIZE + 8 * i;
    program.setUint16(offset, code, true);
    program.setUint8(offset + 2, yes);
    program.setUint8(offset + 3, no);
    program.setUint32(offset + 4, operand, true);
  });
  // 0 for success; the number of a thread that it does not hold in.
  const outcome = openLibc(LIBC)?.syscall(
    ...[SYS_SECCOMP[arch], SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, bytes] as const,
  );
  if (outcome !== 0n) {
    const why = "the kernel takes no filter of its system calls (seccomp)";
    throw new OpenmeError("COMMAND", `this process cannot give up its rights: ${why}`);
  }
}
