/** The system calls that a process without rights has given up: by the kernel, in every thread; and what it lives on with. */

import assert from "node:assert/strict";
import { type StartedProcess, startProcess } from "../../lib/separate/process.ts";
import {
  type Architecture,
  type Instruction,
  type Purpose,
  systemCallFilter,
} from "../../lib/separate/syscalls.ts";
import { runToEnd } from "../e2e/lab.ts";
import { isAlive } from "../support/spawned.ts";
import { waitFor } from "../support/wait.ts";
import { CONFINED_PROCESS, end, next, rootTest } from "./processes.ts";

const ENOSYS = 38;

const start = async (purpose?: Purpose) => {
  const started = await startProcess({ setpriv: true }, {
    said: () => {},
    command: [...CONFINED_PROCESS, ...purpose ? [purpose] : []],
  });
  const { pid, error } = await next(started);
  assert.equal(error, undefined);
  return { started, pid: Number(pid) };
};
const ask = async (started: StartedProcess, task: string) => {
  started.channel.send({ do: task });
  return await next(started);
};

const EBADF = 9;

const EFAULT = 14;
const ENOTSOCK = 88;

for (const purpose of ["knocks", "health", "fleet"] as const) {
  rootTest(["setpriv"], `the kernel refuses system calls in every thread: ${purpose}`, async () => {
    const { started, pid } = await start(purpose);
    const { main, thread } = await ask(started, "try") as Record<string, Record<string, number>>;
    assert.deepEqual(thread, main);
    assert.deepEqual(main, {
      ...{ clone3: ENOSYS, openat2: ENOSYS },
      ...{ "tgkill of itself": 0, "its own limits": 0 },
      ...purpose === "health" ? { accept4: EBADF, sendto: EBADF } : {},
      ...purpose === "fleet"
        ? { connect: ENOTSOCK, sendmmsg: ENOTSOCK, open: EFAULT, openat: EFAULT, sendto: EBADF }
        : {},
    });
    assert.deepEqual(await ask(started, "live"), { lives: true });
    const threads = [...Deno.readDirSync(`/proc/${pid}/task`)];
    assert.ok(threads.length > 20, "no threads were started under the filter");
    for (const { name } of threads) {
      assert.match(Deno.readTextFileSync(`/proc/${pid}/task/${name}/status`), /^Seccomp:\t2$/m);
    }
    await end(started);
    await waitFor("its end", () => !isAlive(pid));
  });
}

rootTest(
  ["setpriv"],
  "without the filter they are not refused",
  async () => {
    const { started } = await start();
    const { main, thread } = await ask(started, "try") as Record<string, Record<string, number>>;
    assert.deepEqual(thread, main);
    // A container may refuse some more than these.
    for (const name of ["execve", "socket", "connect", "sendmsg", "sendto", "openat", "kill"]) {
      assert.equal(main![name], undefined);
    }
    await end(started);
  },
);

rootTest(["setpriv"], "an uncaught error and an abort end a process under the filter", async () => {
  for (const task of ["throw", "abort"]) {
    const { started, pid } = await start("knocks");
    started.channel.send({ do: task });
    await Array.fromAsync(started.channel.messages);
    await waitFor("its end", () => !isAlive(pid));
  }
});

rootTest([], "giveUpSystemCalls() throws where the kernel takes no filter", async () => {
  // It may still gain rights, and is not root.
  const args = ["--reuid=61165", "--regid=61165", "--clear-groups", "--bounding-set=-all"];
  const { stdout } = await runToEnd("setpriv", [...args, ...CONFINED_PROCESS, "knocks"]);
  assert.match(stdout, /cannot give up its rights/);
});

const ARCHITECTURES = { "x86_64": 0xc000_003e, aarch64: 0xc000_00b7 };
const I386 = 0x4000_0003;

/** What the kernel would make of a call: its own way to run such a program. */
function verdictOf(
  filter: readonly Instruction[],
  { arch, number, args = [] }: { arch: number; number: number; args?: readonly bigint[] },
): string {
  const data = new DataView(new ArrayBuffer(64));
  data.setUint32(0, number, true);
  data.setUint32(4, arch, true);
  args.forEach((each, i) => data.setBigUint64(16 + 8 * i, each, true));
  let value = 0;
  for (let at = 0;; at++) {
    const [code, yes, no, operand] = filter[at]!;
    if (code === 0x06) {
      return { 0x7fff0000: "allowed", 0x50001: "EPERM", 0x50026: "ENOSYS" }[operand]!;
    }
    if (code === 0x20) value = data.getUint32(operand, true);
    else {
      const holds = {
        0x15: value === operand,
        0x35: value >= operand,
        0x45: (value & operand) !== 0,
      }[code]!;
      at += holds ? yes : no;
    }
  }
}

Deno.test("systemCallFilter() refuses every call of another architecture, and x32's", () => {
  for (const [name, own] of Object.entries(ARCHITECTURES)) {
    const filter = systemCallFilter({ arch: name as Architecture, purpose: "health", self: 7 });
    for (let number = 0; number < 1000; number++) {
      for (const arch of [I386, ...Object.values(ARCHITECTURES).filter((each) => each !== own)]) {
        assert.equal(verdictOf(filter, { arch, number }), "EPERM");
      }
      const x32 = number + 0x4000_0000;
      assert.equal(verdictOf(filter, { arch: own, number: x32 }), "EPERM");
    }
  }
});

Deno.test("systemCallFilter() looks at the arguments on both architectures", () => {
  for (
    const [arch, [clone, sendto, tgkill, read, socket, openat]] of [
      ["x86_64", [56, 44, 234, 0, 41, 257]],
      ["aarch64", [220, 206, 131, 63, 198, 56]],
    ] as const
  ) {
    const verdict = (purpose: Purpose, number: number, ...args: bigint[]) =>
      verdictOf(systemCallFilter({ arch, purpose, self: 7 }), {
        ...{ arch: ARCHITECTURES[arch], number, args },
      });
    assert.equal(verdict("knocks", read), "allowed");
    assert.equal(verdict("knocks", 435), "ENOSYS");
    assert.equal(verdict("knocks", 437), "ENOSYS");
    assert.equal(verdict("knocks", clone, 17n), "EPERM");
    assert.equal(verdict("knocks", clone, 0x3d0f00n), "allowed");
    assert.equal(verdict("knocks", tgkill, 7n, 9n), "allowed");
    assert.equal(verdict("knocks", tgkill, 8n, 8n), "EPERM");
    assert.equal(verdict("knocks", sendto), "EPERM");
    assert.equal(verdict("health", sendto, 3n, 1n, 1n, 0x4000n, 0n), "allowed");
    assert.equal(verdict("health", sendto, 3n, 1n, 1n, 0x2000_4000n, 0n), "EPERM");
    assert.equal(verdict("health", sendto, 3n, 1n, 1n, 0n, 1n << 12n), "EPERM");
    assert.equal(verdict("health", sendto, 3n, 1n, 1n, 0n, 1n << 40n), "EPERM");
    // UNIX, INET, INET6, NETLINK, PACKET, ALG, VSOCK; then O_CLOEXEC, and what writes or makes a file.
    const families = [1n, 2n, 10n, 16n, 17n, 38n, 40n];
    assert.deepEqual(families.filter((family) => verdict("fleet", socket, family) === "allowed"), [
      ...[2n, 10n],
    ]);
    assert.equal(verdict("health", socket, 2n), "EPERM");
    assert.equal(verdict("fleet", openat, 0n, 1n, 0x80000n), "allowed");
    for (const flag of [1n, 2n, 0x40n, 0x200n]) {
      assert.equal(verdict("fleet", openat, 0n, 1n, 0x80000n | flag), "EPERM");
    }
  }
});
