/** Running programs for real: what comes back, what an error says, and that nothing hangs. */

import assert from "node:assert/strict";
import { OpenmeError } from "../../lib/values/errors.ts";
import { type ProgramRun, runProgram } from "../../lib/system/run_program.ts";
import { isAlive } from "../support/spawned.ts";
import { waitFor } from "../support/wait.ts";

/** Runs a shell line; `$1` and on are the given arguments. */
function sh(line: string, { args = [], ...run }: Partial<ProgramRun> = {}): Promise<string> {
  return runProgram({
    program: "sh",
    args: ["-c", line, "sh", ...args],
    timeoutMs: 10_000,
    ...run,
  });
}

/** The error that a run ends in. */
async function failureOf(run: Promise<string>): Promise<OpenmeError> {
  const error = await run.then(() => assert.fail("it succeeded"), (error) => error);
  assert.ok(error instanceof OpenmeError, String(error));
  assert.equal(error.code, "COMMAND");
  return error;
}

Deno.test("runProgram() gives what was printed", async () => {
  assert.equal(await sh("printf 'a\\nb'; echo complaint >&2"), "a\nb");
  assert.equal(await sh("exit 0"), "");
  assert.equal(
    await sh("printf '\\303\\244\\377'"),
    "ä\ufffd",
    "UTF-8, and no error about what is not",
  );
});

Deno.test("runProgram() takes arguments as they are: no shell, no words", async () => {
  const odd = ["a b", "$(id)", "`id`", "; id", "*", "", "-n", '"', "\n"];
  const run = { program: "printf", args: ["%s|", ...odd], timeoutMs: 10_000 };
  const stdout = await runProgram(run);
  assert.equal(stdout, odd.map((each) => each + "|").join(""));
});

Deno.test("runProgram() gives the text on stdin, however long, and nothing without one", async () => {
  const text = "add element inet openme granted4 { ä }\n".repeat(20_000);
  assert.equal(await sh("cat", { stdin: text }), text);
  assert.equal(await sh("cat; echo end"), "end\n");
  // A program that reads none of it is no failure.
  assert.equal(await sh("echo done", { stdin: text }), "done\n");
});

Deno.test("runProgram() speaks the programs' own language, and finds what is in the system's folders", async () => {
  assert.equal(await sh('printf %s "$LC_ALL"'), "C");
  const path = await sh('printf %s "$PATH"');
  assert.ok(path.endsWith(":/usr/sbin:/sbin:/usr/bin:/bin"), path);
});

Deno.test("runProgram() tells how a program failed, and the first lines of why", async () => {
  const failed = await failureOf(
    sh("echo ' one ' >&2; echo two >&2; echo three >&2; echo four >&2; exit 7"),
  );
  assert.match(failed.message, /^sh -c .* failed with exit code 7: one; two; three$/s);
  assert.equal(failed.hint, undefined);
  assert.match((await failureOf(sh("exit 1"))).message, / failed with exit code 1$/);
  assert.match((await failureOf(sh("kill -TERM $$"))).message, / was ended by SIGTERM$/);
  const { message } = await failureOf(sh(`printf '%01000d' 0 >&2; exit 1`));
  assert.match(message, /: 0{400}\.\.\.$/);
});

Deno.test("runProgram() makes a complaint fit to print", async () => {
  const { message } = await failureOf(
    sh(String.raw`printf '\033[31mred\007\r\302\233' >&2; exit 1`),
  );
  assert.match(message, /: \\u001b\[31mred\\u0007\\u000d\\u009b$/);
});

Deno.test("runProgram() hints at the missing right", async () => {
  for (
    const complaint of ["Operation not permitted", "cache initialization failed: Permission denied"]
  ) {
    const { hint } = await failureOf(sh(`echo "$1" >&2; exit 1`, { args: [complaint] }));
    assert.equal(hint, "run openme as root, or give it the capability CAP_NET_ADMIN");
  }
});

Deno.test("runProgram() says that there is no such program, and how to get it", async () => {
  const run = { program: "no-such-program-here", args: ["x"], timeoutMs: 1000 };
  const missing = await failureOf(runProgram({ ...run, missingHint: "install it" }));
  assert.equal(missing.message, "cannot run no-such-program-here: there is no such program");
  assert.equal(missing.hint, "install it");
  assert.equal((await failureOf(runProgram(run))).hint, undefined);
});

/** Kills what a test has left running, if it has. */
function killIfAlive(pid: number): void {
  try {
    Deno.kill(pid, "SIGKILL");
  } catch {
    // It has ended.
  }
}

Deno.test("runProgram() kills what does not finish in time", async () => {
  const path = await Deno.makeTempFile();
  const startMs = performance.now();
  const error = await failureOf(
    sh('echo $$ >"$1"; trap "" TERM; exec sleep 60', { args: [path], timeoutMs: 200 }),
  );
  assert.match(error.message, /^sh -c .* did not finish within 0\.2 s and was killed$/s);
  assert.ok(performance.now() - startMs < 10_000);
  const pid = Number(await Deno.readTextFile(path));
  try {
    await waitFor("the program to be gone", () => !isAlive(pid), { everyMs: 10 });
  } finally {
    killIfAlive(pid);
    await Deno.remove(path);
  }
});

Deno.test("runProgram() is killed also while it is still being fed, or while it floods", async () => {
  const text = "x".repeat(1_000_000);
  for (const line of ["exec sleep 60", "exec 0<&-; exec sleep 60", "exec yes >&2"]) {
    const error = await failureOf(sh(line, { stdin: text, timeoutMs: 200 }));
    assert.match(error.message, / did not finish within 0\.2 s and was killed$/);
  }
});

Deno.test({
  name: "runProgram() does not wait for a grandchild that holds the pipes, and lets go of them",
  sanitizeOps: true,
  sanitizeResources: true,
  fn: async () => {
    const path = await Deno.makeTempFile();
    const startMs = performance.now();
    const error = await failureOf(
      sh('sleep 3 & echo $! >"$1"; echo started', { args: [path], timeoutMs: 300 }),
    );
    const pid = Number(await Deno.readTextFile(path));
    await Deno.remove(path);
    assert.match(error.message, / did not finish within 0\.3 s and was killed$/);
    assert.ok(performance.now() - startMs < 2500);
    assert.ok(isAlive(pid), "it ends by itself, soon after this test");
  },
});

Deno.test({
  name: "runProgram() kills the children too, where they would act later",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    const path = await Deno.makeTempFile();
    const error = await failureOf(
      sh('sleep 60 & echo $! >"$1"; wait', { args: [path], timeoutMs: 300, killsChildren: true }),
    );
    assert.match(error.message, / did not finish within 0\.3 s and was killed$/);
    const pid = Number(await Deno.readTextFile(path));
    try {
      await waitFor("the child to be gone", () => !isAlive(pid), { everyMs: 10 });
    } finally {
      killIfAlive(pid);
      await Deno.remove(path);
    }
  },
});

Deno.test("runProgram() bounds what it keeps of an output, and of a complaint", async () => {
  const mebibyte = 1024 * 1024;
  const much = await sh(`head -c ${8 * mebibyte} /dev/zero`);
  assert.equal(much.length, 8 * mebibyte, "a large ruleset is no flood");
  const { message } = await failureOf(sh("exec cat /dev/zero"));
  assert.match(message, /^sh -c exec cat \/dev\/zero sh printed more than 64 MB and was killed$/);
  const complaint = await failureOf(
    sh(`echo first >&2; head -c ${80 * mebibyte} /dev/zero >&2; exit 3`),
  );
  assert.match(complaint.message, / failed with exit code 3: first; /);
});

Deno.test("runProgram() waits for an unheard program's own end alone", async () => {
  const path = await Deno.makeTempFile();
  const startMs = performance.now();
  const left = 'sleep 30 & echo $! >"$1"; echo unheard';
  assert.equal(await sh(left, { args: [path], isUnheard: true }), "");
  assert.ok(performance.now() - startMs < 5000);
  const pid = Number(await Deno.readTextFile(path));
  assert.ok(isAlive(pid), "what it left in the background runs on");
  killIfAlive(pid);
  await Deno.remove(path);
  // A flood of output holds it up as little.
  assert.equal(await sh("head -c 100000000 /dev/zero", { isUnheard: true }), "");
  assert.match(
    (await failureOf(sh("echo why >&2; exit 5", { isUnheard: true }))).message,
    / failed with exit code 5$/,
  );
});
