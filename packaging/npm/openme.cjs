#!/usr/bin/env node
/**
 * Runs openme with the executable of the package `deno`, which gets the permissions of the subcommand and no others.
 * How it is run is in run.json, made from openme's own table of subcommands by scripts/package/npm.ts.
 */

"use strict";

const { spawn } = require("node:child_process");
const { closeSync, openSync } = require("node:fs");
const { constants } = require("node:os");
const { dirname, join } = require("node:path");
const { flags, valueFlags, permissions } = require("./run.json");

/** The first argument that is neither a flag nor its value, as main.ts finds it: before it stand flags of every command. */
function subcommandOf(args) {
  for (let at = 0; at < args.length; at++) {
    if (!args[at].startsWith("-")) return args[at];
    if (valueFlags.includes(args[at])) at++;
  }
}

/** Deno's executable is in a package for this system alone, on which `deno` depends. Throws where there is none. */
function findDeno() {
  const { platform, arch } = process;
  const system = `${platform}-${arch}${platform === "linux" ? "-glibc" : ""}`;
  const from = dirname(require.resolve("deno/package.json"));
  const path = require.resolve(`@deno/${system}/package.json`, { paths: [from] });
  return join(dirname(path), platform === "win32" ? "deno.exe" : "deno");
}

/** Whether Ctrl-C reaches openme by itself: a terminal sends it to all of its programs. Windows has no other SIGINT. */
function hasTerminal() {
  if (process.platform === "win32") return true;
  try {
    closeSync(openSync("/dev/tty", "r"));
    return true;
  } catch {
    return false;
  }
}

function fail(why) {
  console.error(`openme: error: cannot start Deno: ${why}`);
  console.error(
    "openme: hint: the package deno has it for Linux with glibc, macOS and Windows, on x64 and arm64; " +
      "install openme with its optional dependencies",
  );
  process.exitCode = 1;
}

function run(args) {
  const name = subcommandOf(args);
  const own = Object.hasOwn(permissions, name) ? permissions[name] : permissions.help;
  const program = join(__dirname, "program", "main.js");
  const child = spawn(findDeno(), [...flags, ...own, program, ...args], {
    stdio: "inherit",
    env: { ...process.env, DENO_NO_UPDATE_CHECK: "1" },
  });
  // A second SIGINT would end openme before it has put everything back.
  const forward = (signal) => signal === "SIGINT" && hasTerminal() || child.kill(signal);
  // SIGUSR1, by which serve stops for a restart, would open Node's debugger to every local user.
  const signals = ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"];
  for (const signal of signals) process.on(signal, forward);
  child.on("error", ({ message }) => fail(message));
  child.on("exit", (code, signal) => {
    process.exitCode = code ?? 128 + constants.signals[signal];
    if (signal === null) return;
    for (const each of signals) process.removeAllListeners(each);
    process.kill(process.pid, signal);
  });
}

try {
  run(process.argv.slice(2));
} catch ({ message }) {
  fail(message.split("\n", 1)[0]);
}
